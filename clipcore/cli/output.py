"""What a command says, where it says it, and the code it ends with.

stdout carries the result alone, for people or, with --json, as one JSON document; progress and complaints go to stderr.
"""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from clipcore.encoding.batch import Problem, SkippedImage
from clipcore.errors import BadInput
from clipcore.evaluation.classification import Classification
from clipcore.evaluation.published import TO_IMAGE, TO_TEXT, TOP_1, TOP_5, Published
from clipcore.evaluation.retrieval import Recall, Retrieval
from clipcore.folder_search.contact_sheet import Asked, Cell, check_sheet, draw_sheet
from clipcore.folder_search.paths import EVERYWHERE, path_of, shown, visible
from clipcore.folder_search.search import Answer, Match, Term, written

DONE, FAILED, MISUSED, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


class Skips:
    """Names each skipped image or row at once, and remembers them for the end."""

    def __init__(self) -> None:
        self.names_and_reasons: list[tuple[str, str]] = []

    def image(self, skipped: SkippedImage) -> None:
        self.add(skipped.source.name, skipped.reason)

    def add(self, name: str, reason: str) -> None:
        self.names_and_reasons.append((shown(name), reason))
        say_skipped(name, reason)

    def problem(self, problem: Problem) -> None:
        self.add(problem.name, problem.reason)

    def problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.problem(problem)

    @property
    def exit_code(self) -> int:
        return SKIPPED if self.names_and_reasons else DONE

    def as_json(self) -> list[dict[str, str]]:
        return [{"name": name, "reason": reason} for name, reason in self.names_and_reasons]


def say(line: str) -> None:
    """To a person, beside the result."""
    print(line, file=sys.stderr, flush=True)


def say_skipped(name: str, reason: str) -> None:
    say(f"skipped {visible(name)}: {reason}")


def let_any_name_pass() -> None:
    """A pipe gets the very bytes of a file's name, UTF-8 or not. For results that are no JSON."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    print(json.dumps(result, ensure_ascii=False, indent=2))


T = TypeVar("T")


class _Rate(ProgressColumn):
    """Things a second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


def tracked(things: Iterable[T], doing: str, total: int | None = None) -> Iterator[T]:
    """The same things, with a bar beside them. total: None where it is not known."""
    with _bar() as progress:
        yield from progress.track(things, total=total, description=doing)


@contextmanager
def counted(doing: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A bar for what is pushed: call what this gives once for each thing done."""
    with _bar() as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)


def watched() -> bool:
    """Whether a bar would be seen, and so whether counting for it is worth the while."""
    return Console(stderr=True).is_terminal


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        transient=True,
        # Results printed meanwhile go above the bar on a terminal, and never to stderr when they go to a file or pipe.
        redirect_stdout=sys.stdout.isatty(),
    )


# More classes than a screen holds are shown by the worst of them.
_MOST_CLASSES = 40
_MOST_CONFUSIONS = 10


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def show_classification(result: Classification, published: Sequence[Published]) -> None:
    print(f"{result.images} images of {len(result.classes)} classes")
    print(f"  top-1                  {percent(result.top_1):>8}")
    print(f"  top-5                  {percent(result.top_5):>8}")
    print(f"  mean per-class recall  {percent(result.mean_recall):>8}")
    _show_classes(result)
    if wrong := result.confusions(_MOST_CONFUSIONS):
        rows = [(str(one.images), one.true, one.taken) for one in wrong]
        _print_table("Most frequent mistakes", [">images", "is", "taken for"], rows)
    show_published(published, (TOP_1, TOP_5), (result.top_1, result.top_5))


def classification_as_json(result: Classification) -> dict[str, Any]:
    return {
        "images": result.images,
        "top_1": result.top_1,
        "top_5": result.top_5,
        "mean_per_class_recall": result.mean_recall,
        "per_class": [
            {
                "class": one.name,
                "images": one.images,
                "taken_for": one.taken_for,
                "recall": one.recall,
                "precision": one.precision,
            }
            for one in result.per_class
        ],
        "confusions": [
            {"class": one.true, "taken_for": one.taken, "images": one.images}
            for one in result.confusions(result.counts.size)
        ],
    }


def show_retrieval(result: Retrieval, published: Sequence[Published]) -> None:
    rows = [
        ("image → text", *_recall_cells(result.image_to_text)),
        ("text → image", *_recall_cells(result.text_to_image)),
    ]
    headings = ["", ">queries", ">R@1", ">R@5", ">R@10", ">mean", ">median rank"]
    _print_table(f"Mean recall {percent(result.mean)}", headings, rows)
    measured = [*result.image_to_text.at.values(), *result.text_to_image.at.values()]
    show_published(published, (*TO_TEXT, *TO_IMAGE), measured)


def retrieval_as_json(result: Retrieval) -> dict[str, Any]:
    return {
        "mean_recall": result.mean,
        "image_to_text": _recall_as_json(result.image_to_text),
        "text_to_image": _recall_as_json(result.text_to_image),
    }


def show_published(published: Sequence[Published], names: Sequence[str], measured: Sequence[float | None]) -> None:
    """Beside one's own, which come first; nothing where the data set is not known."""
    if not published:
        return
    kept = [at for at, name in enumerate(names) if any(name in one.figures for one in published)]
    own = ["this run", *(_figure(measured[at]) for at in kept), ""]
    sources = {source: mark for mark, source in enumerate(dict.fromkeys(_source(one) for one in published), start=1)}
    others = [
        [one.model, *(f"{one.figures[names[at]]:.1f}" if names[at] in one.figures else "" for at in kept)]
        + [f"[{sources[_source(one)]}]"]
        for one in published
    ]
    _print_table(
        "Beside published figures, in percent", ["", *(f">{_short(names[at])}" for at in kept), ""], [own, *others]
    )
    for source, mark in sources.items():
        print(textwrap.fill(f"[{mark}] {source}", 78, initial_indent="  ", subsequent_indent="      "))


def published_as_json(published: Iterable[Published]) -> list[dict[str, Any]]:
    """Figures in percent, as printed in their sources."""
    return [
        {"model": one.model, "percent": one.figures, "source": one.source, **({"note": one.note} if one.note else {})}
        for one in published
    ]


def _show_classes(result: Classification) -> None:
    ordered = sorted(result.per_class, key=lambda one: (one.recall is None, one.recall or 0.0, one.name))
    rows = [
        (one.name, str(one.images), str(one.taken_for), percent(one.recall), percent(one.precision))
        for one in ordered[:_MOST_CLASSES]
    ]
    more = len(ordered) > _MOST_CLASSES
    title = f"The {_MOST_CLASSES} worst classes; --json has all" if more else "Classes, the worst first"
    _print_table(title, ["class", ">images", ">taken for", ">recall", ">precision"], rows)


def _recall_cells(recall: Recall) -> list[str]:
    return [str(recall.queries), *map(percent, recall.at.values()), percent(recall.mean), f"{recall.median_rank:g}"]


def _recall_as_json(recall: Recall) -> dict[str, Any]:
    at = {f"recall_at_{cutoff}": share for cutoff, share in recall.at.items()}
    return {"queries": recall.queries, **at, "mean": recall.mean, "median_rank": recall.median_rank}


def _source(one: Published) -> str:
    return f"{one.source}; {one.note}" if one.note else one.source


def _figure(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _short(name: str) -> str:
    """`image→text R@1` takes six columns of eighty."""
    return name.replace("image→text ", "i→t ").replace("text→image ", "t→i ").replace(" R@", " ")


def _print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A heading that begins with > stands above figures, to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if heading.startswith(">") else "left",
            no_wrap=heading.startswith(">"),
        )
    for row in rows:
        table.add_row(*row)
    # Names are people's words: square brackets in them are no markup.
    Console(file=sys.stdout, highlight=False, markup=False, emoji=False).print(table, markup=False)


Top = Annotated[int, typer.Option("--top", "-t", min=1, help="How many images to show at most.")]
AtLeast = Annotated[
    float,
    typer.Option("--at-least", min=-1, max=1, help="Show nothing below this score (cosine).", show_default=False),
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
    """How a person wants to see the answer. Raises BadInput where a wish cannot be fulfilled, before any work."""

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


def show(answer: Answer, terms: Sequence[Term], root: bytes, model: str, showing: Showing, skips: Skips) -> None:
    if showing.as_json:
        print_json(as_json(answer, terms, root, model, showing, skips))
    elif showing.paths or showing.null:
        _print_paths(answer.matches, "\0" if showing.null else "\n")
    elif sys.stdout.isatty():
        Console().print(table(answer, terms))
    else:
        _print_lines(answer.matches)
    _say_what_is_weak(answer, root)
    if showing.sheet is not None:
        _draw(answer, terms, showing.sheet)
    if showing.open:
        _open(answer, showing.sheet)


def table(answer: Answer, terms: Sequence[Term]) -> Table:
    """Above it how a query of several parts was understood; faint what the model hardly means."""
    asked = escape(" ".join(written(terms))) if len(terms) > 1 else None
    shape = Table("", "score", "image", title=asked, title_justify="left", box=None, pad_edge=False)
    shape.columns[0].justify = shape.columns[1].justify = "right"
    shape.columns[2].overflow = "fold"
    for rank, match in enumerate(answer.matches, start=1):
        more = f"  (and {len(match.files) - 1} more with the same content)" if len(match.files) > 1 else ""
        name = escape(f"{_near_name(match)}{more}")
        shape.add_row(str(rank), f"{match.score:.3f}", name, style="dim" if match.weak else None)
    return shape


def as_json(
    answer: Answer, terms: Sequence[Term], root: bytes, model: str, showing: Showing, skips: Skips
) -> dict[str, Any]:
    return {
        "query": [_term_as_json(term) for term in terms],
        "folder": None if root == EVERYWHERE else shown(root),
        "model": model,
        "searched": answer.searched,
        "threshold": answer.least,
        "nothing_alike": all(match.weak for match in answer.matches),
        "matches": [_match_as_json(rank, match) for rank, match in enumerate(answer.matches, start=1)],
        "sheet": None if showing.sheet is None else str(showing.sheet.absolute()),
        "skipped": skips.as_json(),
    }


def _term_as_json(term: Term) -> dict[str, Any]:
    what = {"words": term.words} if term.image is None else {"image": shown(str(term.image.absolute()))}
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


def _say_what_is_weak(answer: Answer, root: bytes) -> None:
    where = "in the index" if root == EVERYWHERE else f"below {visible(root)}"
    if not answer.matches:
        say(f"Nothing {where} scores high enough.")
    elif all(match.weak for match in answer.matches):
        best = answer.matches[0].score
        say(f"Nothing {where} is clearly like that: the best scores {best:.3f}, matches begin at {answer.least:.3f}.")
    if answer.gone:
        say(f"Left out: {answer.gone} better matches whose files are gone; `clipcore index` brings it up to date.")


def _near_name(match: Match) -> str:
    """Short where the file lies below the current folder."""
    path = path_of(match.files[0].path)
    here = Path.cwd()
    return visible(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _draw(answer: Answer, terms: Sequence[Term], sheet: Path) -> None:
    image = next((term.image for term in terms if term.image is not None), None)
    cells = [Cell(path_of(match.files[0].path), _note(match), match.weak) for match in answer.matches]
    if missing := draw_sheet(Asked(written(terms), image), cells, sheet):
        say(f"No font here can draw {missing!r}; install one such as Noto Sans CJK for a complete sheet.")
    say(f"Sheet: {sheet}")


def _note(match: Match) -> str:
    more = len(match.files) - 1
    return f"{match.score:.3f}" + (f" · {more} more" if more else "") + (" · weak" if match.weak else "")


def _open(answer: Answer, sheet: Path | None) -> None:
    if sheet is None and not answer.matches:
        return
    path = path_of(answer.matches[0].files[0].path) if sheet is None else sheet.absolute()
    if typer.launch(str(path)):
        say(f"No viewer could be started for {shown(str(path))}.")
