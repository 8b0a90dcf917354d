"""What the commands of folder search share: where the index is, what is walked, and bringing it up to date."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from clipcore.cli.options import load_model
from clipcore.cli.outcome import Skips, say
from clipcore.cli.progress import counted, watched
from clipcore.cores import usable_cores
from clipcore.folder.database import default_location
from clipcore.folder.indexing import Became, Step, index_folder
from clipcore.folder.lazy_model import LazyModel
from clipcore.folder.paths import shown
from clipcore.folder.store import FolderStore
from clipcore.folder.walk import Reach, SeenFile, walk

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
                f"It shows no pictures, but {kept} are remembered below it; they stay, in case a drive is not mounted. "
                f"If they are gone for good, run `clipcore index {folder} --forget`.",
            )
        if foreign:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in foreign.most_common())
            say(f"Left alone below {folder}, in formats that are not read: {kinds}.")


def _workers() -> int:
    """Decoding keeps a model fed; each thread may hold one large picture."""
    return min(8, max(2, usable_cores()))


def _files_below(root: bytes, reach: Reach) -> int:
    return sum(isinstance(sight, SeenFile) for sight in walk(root, reach))
