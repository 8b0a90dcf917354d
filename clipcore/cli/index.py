"""`clipcore index` and `clipcore duplicates`, and the updating of the index that every search begins with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model, load_model
from clipcore.cli.output import (
    DONE,
    let_any_name_pass,
    print_json,
    say,
    tracked,
)
from clipcore.errors import BadInput
from clipcore.folder_search.duplicates import Copy, Group, find_duplicates, find_identical, near_threshold
from clipcore.folder_search.paths import distinct, root_of, shown, true_path, visible
from clipcore.folder_search.store import Census, FolderStore
from clipcore.folder_search.sync import Became

if TYPE_CHECKING:
    pass
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clipcore.cli.output import Skips, counted, watched
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import default_location
from clipcore.folder_search.sync import Step, index_folder
from clipcore.images.walk import Reach, SeenFile, walk
from clipcore.runtime.cores import usable_cores

if TYPE_CHECKING:
    pass


def register(app: typer.Typer) -> None:
    app.command("index")(index)
    app.command("duplicates")(duplicates)


def index(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Folders, with all below them.", show_default="the current one"),
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Forget everything below these folders instead.")] = False,
    hidden: Hidden = False,
    exclude: Exclude = None,
    index_file: IndexFile = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Remember what the images below folders look like, for search, similar and duplicates.

    Only new and changed files are read; copies, renamed and moved files cost
    no inference. Files that are gone, or left out now, are forgotten, unless a
    folder shows no image at all: its drive may not be mounted. Links to
    folders are not followed. Stop it whenever you like: the same command goes on.
    """
    folders = folders or [Path()]
    with open_store(index_file) as store:
        if forget:
            return _forget(store, folders, as_json)
        roots = distinct([root_of(folder) for folder in folders], reach_of(hidden, exclude))
        looking = lazy_model(model, device)
        update = Update()
        for root in roots:
            update.run(store, root, looking, reach_of(hidden, exclude), batch_size)
        censuses = [store.census(root, looking.key) for root in roots]
    if as_json:
        print_json(_as_json(roots, censuses, update, store, looking.key))
    else:
        for root, census in zip(roots, censuses, strict=True):
            images = "1 image" if census.images == 1 else f"{census.images} images"
            print(f"{images} below {visible(root)} can be searched.")
        print(_summary(update))
    return update.skips.exit_code


def _forget(store: FolderStore, folders: list[Path], as_json: bool) -> int:
    """The folders need not exist any more."""
    roots = [true_path(folder) for folder in folders]
    forgotten = sum(store.forget_below(root) for root in roots)
    if not forgotten:
        raise BadInput(f"Nothing was remembered below {', '.join(visible(root) for root in roots)}; check the path.")
    if as_json:
        print_json({"forgotten": forgotten, "index": str(store.path)})
    else:
        print(f"{forgotten} files forgotten.")
    return DONE


def _summary(update: Update) -> str:
    counts = update.counts
    words = [
        (Became.ENCODED, "new"),
        (Became.REUSED, "copied or moved"),
        (Became.UNCHANGED, "unchanged"),
        (Became.FORGOTTEN, "gone and forgotten"),
        (Became.BROKEN, "broken"),
        (Became.UNREADABLE, "unreadable"),
    ]
    return ", ".join(f"{counts[became]} {word}" for became, word in words if counts[became]) or "Nothing to do."


def _as_json(
    roots: list[bytes], censuses: list[Census], update: Update, store: FolderStore, key: str
) -> dict[str, Any]:
    return {
        "folders": [
            {"folder": shown(root), "images": census.images} for root, census in zip(roots, censuses, strict=True)
        ],
        "files": update.as_json(),
        "unread_formats": dict(update.foreign),
        "skipped": update.skips.as_json(),
        "model": key,
        "index": str(store.path),
    }


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


def duplicates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, with all below it.", show_default=False)],
    at_least: Annotated[
        float | None,
        typer.Option(
            "--at-least",
            min=0,
            max=1,
            help="The cosine from which images are alike; lower it for crops and other colours.",
            show_default="the model's",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Identical files alone, byte by byte; needs neither model nor index.")
    ] = False,
    no_index: Annotated[bool, typer.Option("--no-index", help="Trust the index as it is.")] = False,
    hidden: Hidden = False,
    exclude: Exclude = None,
    index_file: IndexFile = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Group the images below a folder that are identical, or that look all but the same.

    The first of a group has the most pixels, and the others resemble it.
    Resized and recompressed copies are found; crops and other colours often
    need a lower --at-least. What to delete is up to you.
    """
    if no_index and (hidden or exclude):
        raise BadInput("With --no-index nothing is looked for in the folder; leave --hidden and --exclude away.")
    root, reach, update = root_of(folder), reach_of(hidden, exclude), Update()
    if exact:
        groups, least, none = find_identical(root, reach), None, "No identical files."
    else:
        looking = lazy_model(model, device)
        least = near_threshold(looking.calibration) if at_least is None else at_least
        with open_store(index_file) as store:
            if not no_index:
                update.run(store, root, looking, reach, batch_size)
            groups = find_duplicates(store, root, looking.key, least=least, track=_bar)
            none = f"No duplicates among {store.census(root, looking.key).images} images."
    if as_json:
        print_json(_as_json_duplicates(groups, root, least, update))
    else:
        _print(groups, root, least, none)
    return update.skips.exit_code


def _bar(blocks: range) -> Iterator[int]:
    return tracked(blocks, "comparing", len(blocks))


def _as_json_duplicates(groups: list[Group], root: bytes, least: float | None, update: Update) -> dict[str, Any]:
    return {
        "folder": shown(root),
        "threshold": least,
        "spare_bytes": sum(group.spare_bytes for group in groups),
        "groups": [
            {
                "kind": group.kind,
                "spare_bytes": group.spare_bytes,
                "files": [_copy_as_json(copy, group.relation(copy)) for copy in group.copies],
            }
            for group in groups
        ],
        "skipped": update.skips.as_json(),
    }


def _copy_as_json(copy: Copy, relation: str) -> dict[str, Any]:
    file = copy.file
    return {
        "path": shown(file.path),
        "is": relation,
        "cosine": round(copy.cosine, 6),
        "bytes": file.size,
        "width": file.width or None,
        "height": file.height or None,
        "sha256": file.hash.hex(),
        "links": [shown(link) for link in copy.links],
    }


def _print(groups: list[Group], root: bytes, least: float | None, none: str) -> None:
    """Tables for people; for pipes one line a file: group, what it is beside the first, cosine, bytes, path."""
    if not sys.stdout.isatty():
        if not groups:
            say(none)
        let_any_name_pass()
        for number, group in enumerate(groups, start=1):
            for copy in group.copies:
                relation, path = group.relation(copy), os.fsdecode(copy.file.path)
                print(number, relation, f"{copy.cosine:.3f}", copy.file.size, path, sep="\t")
        return
    console = Console(highlight=False)
    for number, group in enumerate(groups, start=1):
        console.print(f"[bold]{number}[/] {group.kind}, {decimal(group.spare_bytes)} beside the first")
        console.print(_table(group))
    spare = sum(group.spare_bytes for group in groups)
    alike = "" if least is None else f" Alike begins at {least:.3f} (--at-least)."
    groups_in_words = "1 group" if len(groups) == 1 else f"{len(groups)} groups"
    console.print(f"{groups_in_words} below {escape(visible(root))}, {decimal(spare)} beside the first of each.{alike}")


def _table(group: Group) -> Table:
    shape = Table(box=None, show_header=False, pad_edge=True)
    for _ in range(4):
        shape.add_column(justify="right", no_wrap=True)
    shape.add_column(overflow="fold")
    for copy in group.copies:
        file = copy.file
        links = f"  (also named {', '.join(visible(link) for link in copy.links)})" if copy.links else ""
        pixels = f"{file.width} x {file.height}" if file.width else ""
        shape.add_row(
            group.relation(copy), f"{copy.cosine:.3f}", pixels, decimal(file.size), escape(visible(file.path) + links)
        )
    return shape
