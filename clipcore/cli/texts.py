"""The option that names a file of texts, and the reading of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clipcore.errors import BadInput

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
