"""`clipcore search` and `clipcore similar`: the indexed images that fit a query best."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperOption

from clipcore.cli.index import UpdateOptions, update_index
from clipcore.cli.options import JSON_HELP, Commands, StrictCommand, option
from clipcore.cli.output import Skips, finish, let_any_name_pass, say, table_of
from clipcore.errors import BadInput
from clipcore.folder_search.contact_sheet import check_sheet, draw_sheet
from clipcore.folder_search.paths import EVERYWHERE, root_of, shown, visible
from clipcore.folder_search.search import (
    Match,
    SearchResult,
    Term,
    describe_terms,
    parse_image,
    parse_query,
    search_folder,
)
from clipcore.models.known_models import ModelName, resolve

if TYPE_CHECKING:
    from typer._click.core import Context

commands = Commands()


@dataclass(frozen=True, slots=True)
class ShowOptions:
    top: int = option(10, "--top", "-t", min=1, help="How many images to show at most.")
    min_score: float = option(-1.0, min=-1, max=1, help="Show nothing below this score (cosine).", show_default=False)
    sheet: Path | None = option(None, dir_okay=False, help="Draw a contact sheet: a .png or .jpg.")
    open: bool = option(False, help="Open the sheet, or else the best match, in the desktop's viewer.")
    paths: bool = option(False, "--paths", "-f", help="Print paths alone, for pipes.")
    null: bool = option(False, "--null", "-0", help="End each path with a NUL, for xargs -0; implies --paths.")
    as_json: bool = option(False, "--json", help=JSON_HELP)

    def __post_init__(self) -> None:
        """Raises BadInput for options that contradict each other, or a sheet with a wrong path."""
        if self.as_json and (self.paths or self.null):
            raise BadInput("Choose either --json or --paths.")
        if self.sheet is not None:
            check_sheet(self.sheet, self.top)


class QueryCommand(StrictCommand):
    """Rewrites `+PART` and `-PART` to `--plus` and `--minus` before the options are parsed."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        options = [param for param in self.get_params(ctx) if isinstance(param, TyperOption)]
        takes_value = {name: not each.is_flag for each in options for name in (*each.opts, *each.secondary_opts)}
        try:
            rewritten = rewrite_signed(args, takes_value)
        except BadInput as error:
            ctx.fail(str(error))
        return super().parse_args(ctx, rewritten)


def rewrite_signed(arguments: Sequence[str], options: Mapping[str, bool]) -> list[str]:
    """Rewrites `+x`, `-x`, `+ x` and `- x` to `--plus=x` and `--minus=x`.

    options: the name of every option, and whether it takes a value. Two dashes always begin an option, and so does one
    dash with one Latin letter, so that a mistyped option is an error. `-f0`, `-t5` and `-mRN50` are options as well,
    but `-tiger` is a part. After `--` everything is text. Raises BadInput for text after a signed part, where it is
    unclear what it belongs to.
    """
    rewritten: list[str] = []
    signed = False
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*rewritten, argument, *rest]
        if _is_option(argument, options):
            rewritten.append(argument)
            if options.get(argument, False):
                rewritten.extend(islice(rest, 1))
        elif argument[:1] in ("+", "-"):
            part = argument[1:] or next(rest, "")
            if not part.strip() or part in options or part.startswith("--"):
                raise BadInput(f"After {argument!r} words or an image are missing")
            if f"-{argument}" in options:
                raise BadInput(f"Write -{argument} for the option, or --minus={part} for words to leave out")
            rewritten.append(f"--{'plus' if argument[0] == '+' else 'minus'}={part}")
            signed = True
        elif signed:
            raise BadInput(f"Put words that belong together in quotes: {argument!r} stands alone")
        else:
            rewritten.append(argument)
    return rewritten


def _is_option(argument: str, options: Mapping[str, bool]) -> bool:
    if argument.startswith("--") or argument in options:
        return True
    name, value = argument[:2], argument[2:]
    if argument[:1] != "-" or name not in options:
        return len(argument) == 2 and argument[0] == "-" and argument.isascii() and argument[1].isalpha()
    if not options[name]:  # flags in one word
        return all(options.get(f"-{letter}") is False for letter in value)
    # A model is known by name, a path of this machine, or OWNER/NAME as on the hub.
    is_model = name == "-m" and ("/" in value or resolve(value) != ModelName(value))
    return value.isdigit() or value.startswith("=") or is_model


_EXAMPLES = """Examples: clipcore search "a red car"

clipcore search sofa +cat -"at night"

clipcore search ./beach.jpg +"2:sunset" --sheet found.png

clipcore search -0 dog | xargs -0 cp -t dogs/"""


@commands.command(cls=QueryCommand, epilog=_EXAMPLES)
def search(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORDS|IMAGE [+MORE] [-LESS]",
            help="Words, or an image's file; 2:WORDS counts twice.",
        ),
    ] = None,
    plus: Annotated[list[str] | None, typer.Option(help="Words or an image to add; also +WORDS.")] = None,
    minus: Annotated[list[str] | None, typer.Option(help="Words or an image to take away; also -WORDS.")] = None,
    folder: Annotated[
        Path, typer.Option("--in", help="Search below this folder.", show_default="the current one")
    ] = Path(),
    *,
    showing: ShowOptions,
    options: UpdateOptions,
) -> int:
    """Find the images below a folder that fit words, an image, or a mixture of both best.

    The score is the cosine. Matches below the model's threshold are weak, and
    shown dim.
    """
    if not (words or plus or minus):
        context.fail("Say what to look for: words, or the path of an image")
    terms = parse_query(words or (), plus or (), minus or ())
    return _search(terms, root_of(folder), showing, options)


@commands.command()
def similar(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image to compare with.")],
    folder: Annotated[
        Path | None, typer.Option("--in", help="Search below this folder.", show_default="all that is indexed")
    ] = None,
    *,
    showing: ShowOptions,
    options: UpdateOptions,
) -> int:
    """Find the images that look most like one image, which need not be indexed itself.

    Copies of it elsewhere are found too; the file itself is not.
    """
    term = parse_image(image)
    root = EVERYWHERE if folder is None else root_of(folder)
    return _search([term], root, showing, options, exclude_file=term.image)


def _search(
    terms: Sequence[Term],
    root: bytes,
    showing: ShowOptions,
    options: UpdateOptions,
    exclude_file: Path | None = None,
) -> int:
    model, skips = options.lazy_model(), Skips()
    updates = options.update and root != EVERYWHERE
    with options.open_store() as store:
        if updates:
            update_index(store, root, model, options, skips, before_search=True)
        result = search_folder(
            store,
            root,
            model,
            terms,
            top=showing.top,
            min_score=showing.min_score,
            exclude_file=exclude_file,
            filter_=options.filter,
            updated=updates,
        )
    told = {
        "query": [_term_as_json(term) for term in terms],
        "folder": None if root == EVERYWHERE else shown(root),
        "model": model.key,
        "searched": result.searched,
        "threshold": result.threshold,
        "nothing_alike": all(match.weak for match in result.matches),
        "matches": [_match_as_json(rank, match) for rank, match in enumerate(result.matches, start=1)],
        "sheet": None if showing.sheet is None else str(showing.sheet.absolute()),
    }
    code = finish(told, lambda: _print(result, terms, showing), skips, as_json=showing.as_json)
    _explain(result, root)
    if showing.sheet is not None:
        if missing := draw_sheet(showing.sheet, terms, result.matches):
            say(f"No font here can draw {missing!r}; install one such as Noto Sans CJK for a complete sheet.")
        say(f"Sheet: {showing.sheet}")
    if showing.open:
        _open(result, showing.sheet)
    return code


def _print(result: SearchResult, terms: Sequence[Term], showing: ShowOptions) -> None:
    if sys.stdout.isatty() and not (showing.paths or showing.null):
        Console().print(table(result, terms))
        return
    let_any_name_pass()
    for match in result.matches:
        if showing.paths or showing.null:
            print(match.path, end="\0" if showing.null else "\n")
        else:
            print(f"{match.score:.3f}\t{match.path}")


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
    path = match.path
    here = Path.cwd()
    return visible(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _open(result: SearchResult, sheet: Path | None) -> None:
    if sheet is None and not result.matches:
        return
    path = result.matches[0].path if sheet is None else sheet.absolute()
    if typer.launch(str(path)):
        say(f"No viewer could be started for {shown(str(path))}.")
