"""The options that every command shares, and the loading of the model that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.batching import DEFAULT_BATCH_SIZE

if TYPE_CHECKING:
    from clipcore.model import ClipModel
import sys
from pathlib import Path

from clipcore.errors import BadInput

DEFAULT_MODEL_NAME = "ViT-B/32"

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", envvar="CLIPCORE_MODEL", help="A name from `clipcore models`, a hub id, a directory or a file."
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images or texts encoded at a time.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]

BATCH_SIZE = DEFAULT_BATCH_SIZE


def load_model(name: str, device: str) -> ClipModel:
    """Imports torch, so commands call it only when a vector is really needed. Raises ModelUnavailable."""
    from clipcore.model import ClipModel

    return ClipModel.load(name, device=device)


TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", help="Name or number of the column of texts or classes; guessed if not given."),
]
ImageColumn = Annotated[
    str | None, typer.Option("--image-column", help="Name or number of the column of images; guessed if not given.")
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first row names the columns; guessed if not given."),
]


TextsFile = Annotated[
    Path | None, typer.Option("--texts", help="A file with one text a line; - for stdin.", allow_dash=True)
]


def read_texts(path: Path) -> str:
    """Raises BadInput."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is not UTF-8; save it as that, one text a line.") from error
