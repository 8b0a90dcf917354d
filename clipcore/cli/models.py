"""`clipcore models`: what can be named with --model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from clipcore.cli.options import Commands, Json
from clipcore.cli.output import print_json, table_of
from clipcore.models.checkpoint import is_on_this_machine
from clipcore.models.known_models import KnownModel, list_models

_HEADINGS = ("name", "here", "text", ">dim", ">input", ">context", ">size", "languages", "licence")
_LEGEND = """
here: on this machine already. text: it encodes texts as well as images.
dim: of its embeddings. input: the edge of its input square, in pixels.
context: tokens that a text may have. size: millions of parameters."""

commands = Commands()


@commands.command()
def models(as_json: Json = False) -> None:
    """List the models that are known by name. Any other checkpoint of these families works as well."""
    known = {model: is_on_this_machine(model.name) for model in list_models()}
    if as_json:
        print_json([_as_json(model, here) for model, here in known.items()])
        return
    table = table_of(_HEADINGS, [_cells(model, here) for model, here in known.items()])
    table.columns[0].no_wrap = True
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
    repository = model.repository or (model.id if "/" in model.id else None)
    return asdict(model) | {"repository": repository, "reads_text": model.reads_text, "on_this_machine": here}
