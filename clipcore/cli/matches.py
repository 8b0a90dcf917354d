"""Search results as tables, lines, paths, JSON and contact sheets, and the options that choose among them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clipcore.cli.output import Skips, let_any_name_pass, print_json, say
from clipcore.errors import BadInput
from clipcore.folder_search.contact_sheet import Cell, QueryCard, check_sheet, draw_sheet
from clipcore.folder_search.paths import EVERYWHERE, path_of, shown, visible
from clipcore.folder_search.search import Match, SearchResult, Term, describe_terms

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


@dataclass(frozen=True, slots=True)
class Showing:
    """How a person wants to see the result. Raises BadInput where a wish cannot be fulfilled, before any work."""

    top: int
    as_json: bool = False
    paths: bool = False
    null: bool = False
    sheet: Path | None = None
    open: bool = False

    def __post_init__(self) -> None:
        if self.as_json and (self.paths or self.null):
            raise BadInput("Choose either --json or --paths.")
        if self.sheet is not None:
            check_sheet(self.sheet, self.top)


def show(result: SearchResult, terms: Sequence[Term], root: bytes, model: str, showing: Showing, skips: Skips) -> None:
    if showing.as_json:
        print_json(as_json(result, terms, root, model, showing, skips))
    elif showing.paths or showing.null:
        _print_paths(result.matches, "\0" if showing.null else "\n")
    elif sys.stdout.isatty():
        Console().print(table(result, terms))
    else:
        _print_lines(result.matches)
    _say_what_is_weak(result, root)
    if showing.sheet is not None:
        _draw(result, terms, showing.sheet)
    if showing.open:
        _open(result, showing.sheet)


def table(result: SearchResult, terms: Sequence[Term]) -> Table:
    """Above it how a query of several parts was understood; faint what the model hardly means."""
    asked = escape(" ".join(describe_terms(terms))) if len(terms) > 1 else None
    shape = Table("", "score", "image", title=asked, title_justify="left", box=None, pad_edge=False)
    shape.columns[0].justify = shape.columns[1].justify = "right"
    shape.columns[2].overflow = "fold"
    for rank, match in enumerate(result.matches, start=1):
        more = f"  (and {len(match.files) - 1} more with the same content)" if len(match.files) > 1 else ""
        name = escape(f"{_near_name(match)}{more}")
        shape.add_row(str(rank), f"{match.score:.3f}", name, style="dim" if match.weak else None)
    return shape


def as_json(
    result: SearchResult, terms: Sequence[Term], root: bytes, model: str, showing: Showing, skips: Skips
) -> dict[str, Any]:
    return {
        "query": [_term_as_json(term) for term in terms],
        "folder": None if root == EVERYWHERE else shown(root),
        "model": model,
        "searched": result.searched,
        "threshold": result.threshold,
        "nothing_alike": all(match.weak for match in result.matches),
        "matches": [_match_as_json(rank, match) for rank, match in enumerate(result.matches, start=1)],
        "sheet": None if showing.sheet is None else str(showing.sheet.absolute()),
        "skipped": skips.as_json(),
    }


def _term_as_json(term: Term) -> dict[str, Any]:
    what = {"words": term.text} if term.image is None else {"image": shown(str(term.image.absolute()))}
    return {**what, "weight": term.weight}


def _match_as_json(rank: int, match: Match) -> dict[str, Any]:
    first, *copies = match.files
    return {
        "rank": rank,
        "score": round(match.score, 6),
        "weak": match.weak,
        "path": shown(first.path),
        "copies": [shown(copy.path) for copy in copies],
        "width": first.width,
        "height": first.height,
        "bytes": first.size,
    }


def _print_lines(matches: Sequence[Match]) -> None:
    let_any_name_pass()
    for match in matches:
        print(f"{match.score:.3f}\t{os.fsdecode(match.files[0].path)}")


def _print_paths(matches: Sequence[Match], end: str) -> None:
    let_any_name_pass()
    for match in matches:
        print(os.fsdecode(match.files[0].path), end=end)


def _say_what_is_weak(result: SearchResult, root: bytes) -> None:
    where = "in the index" if root == EVERYWHERE else f"below {visible(root)}"
    if not result.matches:
        say(f"Nothing {where} scores high enough.")
    elif all(match.weak for match in result.matches):
        best = result.matches[0].score
        threshold = f"matches begin at {result.threshold:.3f}"
        say(f"Nothing {where} is clearly like that: the best scores {best:.3f}, {threshold}.")
    if result.gone:
        say(f"Left out: {result.gone} better matches whose files are gone; `clipcore index` updates the index.")


def _near_name(match: Match) -> str:
    """Short where the file lies below the current folder."""
    path = path_of(match.files[0].path)
    here = Path.cwd()
    return visible(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _draw(result: SearchResult, terms: Sequence[Term], sheet: Path) -> None:
    image = next((term.image for term in terms if term.image is not None), None)
    cells = [Cell(path_of(match.files[0].path), _note(match), match.weak) for match in result.matches]
    if missing := draw_sheet(QueryCard(describe_terms(terms), image), cells, sheet):
        say(f"No font here can draw {missing!r}; install one such as Noto Sans CJK for a complete sheet.")
    say(f"Sheet: {sheet}")


def _note(match: Match) -> str:
    more = len(match.files) - 1
    return f"{match.score:.3f}" + (f" · {more} more" if more else "") + (" · weak" if match.weak else "")


def _open(result: SearchResult, sheet: Path | None) -> None:
    if sheet is None and not result.matches:
        return
    path = path_of(result.matches[0].files[0].path) if sheet is None else sheet.absolute()
    if typer.launch(str(path)):
        say(f"No viewer could be started for {shown(str(path))}.")
