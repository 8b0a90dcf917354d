"""Search results as tables, lines, paths, JSON and contact sheets."""

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

from clipcore.cli.output import Skips, finish, let_any_name_pass, say, table_of
from clipcore.errors import BadInput
from clipcore.folder_search.contact_sheet import Cell, check_sheet, draw_sheet
from clipcore.folder_search.paths import EVERYWHERE, path_of, shown, visible
from clipcore.folder_search.search import Match, SearchResult, Term, describe_terms


@dataclass(frozen=True, slots=True)
class ShowOptions:
    top: Annotated[int, typer.Option("--top", "-t", min=1, help="How many images to show at most.")] = 10
    min_score: Annotated[
        float, typer.Option(min=-1, max=1, help="Show nothing below this score (cosine).", show_default=False)
    ] = -1.0
    sheet: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw a contact sheet: a .png or .jpg.", show_default=False)
    ] = None
    open: Annotated[
        bool, typer.Option("--open", help="Open the sheet, or else the best match, in the desktop's viewer.")
    ] = False
    paths: Annotated[bool, typer.Option("--paths", "-f", help="Print paths alone, for pipes.")] = False
    null: Annotated[
        bool, typer.Option("--null", "-0", help="End each path with a NUL, for xargs -0; implies --paths.")
    ] = False

    def check(self, as_json: bool) -> None:
        """Raises BadInput for options that contradict each other, or a sheet with a wrong path."""
        if as_json and (self.paths or self.null):
            raise BadInput("Choose either --json or --paths.")
        if self.sheet is not None:
            check_sheet(self.sheet, self.top)


def show(
    result: SearchResult,
    terms: Sequence[Term],
    root: bytes,
    model: str,
    showing: ShowOptions,
    skips: Skips,
    *,
    as_json: bool,
) -> int:
    """Shows the result, and what else one should know of it on stderr. Returns the exit code."""
    told = {
        "query": [_term_as_json(term) for term in terms],
        "folder": None if root == EVERYWHERE else shown(root),
        "model": model,
        "searched": result.searched,
        "threshold": result.threshold,
        "nothing_alike": all(match.weak for match in result.matches),
        "matches": [_match_as_json(rank, match) for rank, match in enumerate(result.matches, start=1)],
        "sheet": None if showing.sheet is None else str(showing.sheet.absolute()),
    }
    code = finish(told, lambda: _print(result, terms, showing), skips, as_json=as_json)
    _explain(result, root)
    if showing.sheet is not None:
        _draw(result, terms, showing.sheet)
    if showing.open:
        _open(result, showing.sheet)
    return code


def _print(result: SearchResult, terms: Sequence[Term], showing: ShowOptions) -> None:
    if sys.stdout.isatty() and not (showing.paths or showing.null):
        Console().print(table(result, terms))
        return
    let_any_name_pass()
    for match in result.matches:
        path = os.fsdecode(match.files[0].path)
        if showing.paths or showing.null:
            print(path, end="\0" if showing.null else "\n")
        else:
            print(f"{match.score:.3f}\t{path}")


def table(result: SearchResult, terms: Sequence[Term]) -> Table:
    """The title shows how a query of several parts was understood; weak matches are dim."""
    title = escape(" ".join(describe_terms(terms))) if len(terms) > 1 else None
    grid = table_of([">", ">score", "image"], (), title=title, title_justify="left")
    for rank, match in enumerate(result.matches, start=1):
        more = f"  (and {len(match.files) - 1} more with the same content)" if len(match.files) > 1 else ""
        name = escape(f"{_relative_name(match)}{more}")
        grid.add_row(str(rank), f"{match.score:.3f}", name, style="dim" if match.weak else None)
    return grid


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


def _explain(result: SearchResult, root: bytes) -> None:
    where = "in the index" if root == EVERYWHERE else f"below {visible(root)}"
    if not result.matches:
        say(f"Nothing {where} scores high enough.")
    elif all(match.weak for match in result.matches):
        best = result.matches[0].score
        threshold = f"matches begin at {result.threshold:.3f}"
        say(f"Nothing {where} is clearly like that: the best scores {best:.3f}, {threshold}.")
    if result.gone:
        say(f"Left out: {result.gone} better matches whose files are gone; `clipcore index` updates the index.")


def _relative_name(match: Match) -> str:
    """The path relative to the current folder, where the file is below it."""
    path = path_of(match.files[0].path)
    here = Path.cwd()
    return visible(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _draw(result: SearchResult, terms: Sequence[Term], sheet: Path) -> None:
    image = next((term.image for term in terms if term.image is not None), None)
    cells = [Cell(path_of(match.files[0].path), _note(match), match.weak) for match in result.matches]
    if missing := draw_sheet(sheet, describe_terms(terms), cells, image=image):
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
