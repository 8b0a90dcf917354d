"""`clipcore models`: what can be named with --model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clipcore.cli.options import Json
from clipcore.cli.output import print_json
from clipcore.models.checkpoint import is_on_this_machine
from clipcore.models.known_models import KnownModel, list_models

_LEGEND = """
here: on this machine already. text: it encodes texts as well as images.
dim: of its embeddings. input: the edge of its input square, in pixels.
context: tokens that a text may have. size: millions of parameters."""


def register(app: typer.Typer) -> None:
    app.command("models")(models)


def models(as_json: Json = False) -> None:
    """List the models that are known by name. Any other checkpoint of these families works as well."""
    here = {model.name for model in list_models() if is_on_this_machine(model.name)}
    if as_json:
        print_json([_as_json(model, model.name in here) for model in list_models()])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "here", "text"):
        table.add_column(heading, no_wrap=True)
    for heading in ("dim", "input", "context", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("languages", "licence"):
        table.add_column(heading)
    for model in list_models():
        table.add_row(*_cells(model, model.name in here))
    Console().print(table)
    print(_LEGEND)


def _cells(model: KnownModel, here: bool) -> tuple[str, ...]:
    return (
        model.name,
        "yes" if here else "",
        "yes" if model.reads_text else "no",
        str(model.dimension),
        str(model.input_size),
        str(model.context_length) if model.reads_text else "",
        f"{model.parameters / 1e6:.0f} M",
        ", ".join(model.languages).replace("mul", "many"),
        model.licence,
    )


def _as_json(model: KnownModel, here: bool) -> dict[str, Any]:
    return {
        **asdict(model),
        "languages": list(model.languages),
        "repository": model.repository or (model.id if "/" in model.id else None),
        "reads_text": model.reads_text,
        "on_this_machine": here,
    }
