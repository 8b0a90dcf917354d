"""The options that every command shares, and the loading of the model that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.batching import DEFAULT_BATCH_SIZE

if TYPE_CHECKING:
    from clipcore.model import ClipModel
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipcore.cli.output import Skips, counted, say, watched
from clipcore.errors import BadInput
from clipcore.folder_search.paths import shown
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import FolderStore, default_location
from clipcore.folder_search.sync import Became, Step, index_folder
from clipcore.images.walk import Reach, SeenFile, walk
from clipcore.runtime.cores import usable_cores

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
    typer.Option("--text-column", help="Which column has the texts or classes: a name or a number; else judged."),
]
ImageColumn = Annotated[str | None, typer.Option("--image-column", help="Which column has the images, likewise.")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="Whether the first row names the columns; else judged.")
]


IndexFile = Annotated[
    Path | None,
    typer.Option(
        "--index-file",
        envvar="CLIPCORE_INDEX",
        dir_okay=False,
        help="The SQLite file that remembers. Default: one in your cache folder.",
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
UpdateFirst = Annotated[bool, typer.Option("--index", help="Bring the index of the folder up to date first.")]


def open_store(index_file: Path | None) -> FolderStore:
    return FolderStore(index_file or default_location())


def lazy_model(name: str, device: str) -> LazyModel:
    return LazyModel.named(name, lambda: load_model(name, device))


def reach_of(hidden: bool, exclude: list[str] | None) -> Reach:
    return Reach(hidden, tuple(exclude or ()))


@dataclass
class Update:
    """Brings folders up to date, counts what became of their files, and names what was skipped."""

    skips: Skips = field(default_factory=Skips)
    counts: Counter[Became] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)

    def run(self, store: FolderStore, root: bytes, model: LazyModel, reach: Reach, batch_size: int) -> None:
        total = _files_below(root, reach) if watched() else None
        kept, foreign = self.counts[Became.KEPT], self.foreign.copy()
        with counted("indexing", total) as done:

            def observe(step: Step) -> None:
                self._count(step)
                if step.became not in (Became.FOREIGN, Became.FORGOTTEN, Became.KEPT):
                    done()

            index_folder(store, root, model, observe, reach=reach, batch_size=batch_size, workers=_workers())
        self._tell(shown(root), self.counts[Became.KEPT] - kept, self.foreign - foreign)

    def as_json(self) -> dict[str, Any]:
        return {became.value: self.counts[became] for became in Became}

    def _count(self, step: Step) -> None:
        self.counts[step.became] += 1
        if step.became in (Became.BROKEN, Became.UNREADABLE):
            self.skips.add(shown(step.path), step.reason)
        elif step.became is Became.FOREIGN:
            self.foreign[step.reason] += 1

    def _tell(self, folder: str, kept: int, foreign: Counter[str]) -> None:
        if kept:
            self.skips.add(
                folder,
                f"It shows no images, but {kept} are remembered below it; they stay, in case a drive is not mounted. "
                f"If they are gone for good, run `clipcore index {folder} --forget`.",
            )
        if foreign:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in foreign.most_common())
            say(f"Left alone below {folder}, in formats that are not read: {kinds}.")


def _workers() -> int:
    """Decoding keeps a model fed; each thread may hold one large image."""
    return min(8, max(2, usable_cores()))


def _files_below(root: bytes, reach: Reach) -> int:
    return sum(isinstance(sight, SeenFile) for sight in walk(root, reach))


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
