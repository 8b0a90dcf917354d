"""The options that several commands share, and the reading of what they name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.errors import BadInput

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
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images or texts encoded at a time.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]
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

# Folder search.
IndexFile = Annotated[
    Path | None,
    typer.Option(
        "--index-file",
        envvar="CLIPCORE_INDEX",
        dir_okay=False,
        help="The SQLite file of the index. Default: one in your cache folder.",
        show_default=False,
    ),
]
Hidden = Annotated[bool, typer.Option("--hidden", help="Index files and folders whose names begin with a dot as well.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        help="Names of folders or files to leave out, such as thumbs or '*_small.jpg'; may be given several times.",
        show_default=False,
    ),
]
UpdateIndex = Annotated[
    bool,
    typer.Option("--index/--no-index", help="Index new and changed files first, or use the index as it is."),
]
Top = Annotated[int, typer.Option("--top", "-t", min=1, help="How many images to show at most.")]
MinScore = Annotated[
    float,
    typer.Option("--min-score", min=-1, max=1, help="Show nothing below this score (cosine).", show_default=False),
]
Sheet = Annotated[
    Path | None,
    typer.Option("--sheet", dir_okay=False, help="Draw a contact sheet: a .png or .jpg.", show_default=False),
]
Open = Annotated[bool, typer.Option("--open", help="Open the sheet, or else the best match, in the desktop's viewer.")]
Paths = Annotated[bool, typer.Option("--paths", "-f", help="Print paths alone, for pipes.")]
Null = Annotated[bool, typer.Option("--null", "-0", help="End each path with a NUL, for xargs -0; implies --paths.")]

BATCH_SIZE = DEFAULT_BATCH_SIZE


def load_model(name: str, device: str) -> ClipModel:
    """Imports torch, so commands call it only when something must be encoded. Raises ModelUnavailable."""
    from clipcore.model import ClipModel

    return ClipModel.load(name, device=device)


def read_texts(path: Path) -> str:
    """Raises BadInput."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is not UTF-8; save it as that, one text a line.") from error
