"""The options that say where a table keeps its texts and pictures, for commands that read one."""

from __future__ import annotations

from typing import Annotated

import typer

TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", help="Which column has the texts or classes: a name or a number; else judged."),
]
PictureColumn = Annotated[str | None, typer.Option("--picture-column", help="Which column has the pictures, likewise.")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="Whether the first row names the columns; else judged.")
]
