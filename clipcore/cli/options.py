"""The options that every command shares, and the loading of the model that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.features import DEFAULT_BATCH_SIZE

if TYPE_CHECKING:
    from clipcore.model import ClipModel

DEFAULT_MODEL_NAME = "ViT-B/32"

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", envvar="CLIPCORE_MODEL", help="A name from `clipcore models`, a hub id, a directory or a file."
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Pictures or texts encoded at a time.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]

BATCH_SIZE = DEFAULT_BATCH_SIZE


def load_model(name: str, device: str) -> ClipModel:
    """Imports torch, so commands call it only when a vector is really needed. Raises ModelUnavailable."""
    from clipcore.model import ClipModel

    return ClipModel.load(name, device=device)
