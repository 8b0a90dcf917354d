"""`clipcore index`, `clipcore duplicates`, and the update of the index before each search."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from clipcore.cli.options import (
    BATCH_SIZE,
    DEFAULT_MODEL_NAME,
    BatchSize,
    Device,
    Exclude,
    Hidden,
    IndexFile,
    Json,
    Model,
    UpdateIndex,
    load_model,
)
from clipcore.cli.output import DONE, Skips, counted, let_any_name_pass, print_json, say, tracked, watched
from clipcore.errors import BadInput
from clipcore.folder_search.duplicates import Copy, Group, find_duplicates, find_identical, near_threshold
from clipcore.folder_search.paths import distinct, root_of, shown, true_path, visible
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import FolderStore, default_location
from clipcore.folder_search.sync import FileStatus, Step, index_folder
from clipcore.images.walk import ImageFile, WalkFilter, walk
from clipcore.runtime.cores import usable_cores


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
    """Index the images below folders for search, similar and duplicates.

    Only new and changed files are read; copies, renamed and moved files cost
    no inference. Files that are gone, or left out now, are forgotten, unless a
    folder has no image at all: its drive may not be mounted. Links to folders
    are not followed. Stop it at any time: the same command resumes.
    """
    folders = folders or [Path()]
    with open_store(index_file) as store:
        if forget:
            return _forget(store, folders, as_json)
        roots = distinct([root_of(folder) for folder in folders], walk_filter(hidden, exclude))
        encoder = lazy_model(model, device)
        update = Update()
        for root in roots:
            update.run(store, root, encoder, walk_filter(hidden, exclude), batch_size)
        images_below = {root: store.count_images(root)[encoder.key] for root in roots}
    if as_json:
        print_json(_index_as_json(images_below, update, store, encoder.key))
    else:
        for root, count in images_below.items():
            images = "1 image" if count == 1 else f"{count} images"
            print(f"{images} below {visible(root)} can be searched.")
        print(_summary(update))
    return update.skips.exit_code


def duplicates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, with all below it.", show_default=False)],
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            min=0,
            max=1,
            help="The cosine from which images are alike; lower it for crops and other colours.",
            show_default="the model's",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Identical files only, byte by byte; needs neither model nor index.")
    ] = False,
    update_index: UpdateIndex = True,
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
    need a lower --min-score. What to delete is up to you.
    """
    if not update_index and (hidden or exclude):
        raise BadInput("--no-index does not read the folder; leave out --hidden and --exclude.")
    root, filter_, update = root_of(folder), walk_filter(hidden, exclude), Update()
    if exact:
        groups, threshold, none = find_identical(root, filter_), None, "No identical files."
    else:
        encoder = lazy_model(model, device)
        threshold = near_threshold(encoder.calibration) if min_score is None else min_score
        with open_store(index_file) as store:
            if update_index:
                update.run(store, root, encoder, filter_, batch_size)
            groups = find_duplicates(store, root, encoder.key, min_score=threshold, track=_with_bar)
            none = f"No duplicates among {store.count_images(root)[encoder.key]} images."
    if as_json:
        print_json(_duplicates_as_json(groups, root, threshold, update))
    else:
        _print_groups(groups, root, threshold, none)
    return update.skips.exit_code


def _forget(store: FolderStore, folders: list[Path], as_json: bool) -> int:
    """Removes folders from the index; they need not exist any more."""
    roots = [true_path(folder) for folder in folders]
    forgotten = sum(store.forget_below(root) for root in roots)
    if not forgotten:
        raise BadInput(f"Nothing is indexed below {', '.join(visible(root) for root in roots)}; check the path.")
    if as_json:
        print_json({"forgotten": forgotten, "index": str(store.path)})
    else:
        print(f"{forgotten} files forgotten.")
    return DONE


def _summary(update: Update) -> str:
    counts = update.counts
    words = [
        (FileStatus.ENCODED, "new"),
        (FileStatus.REUSED, "copied or moved"),
        (FileStatus.UNCHANGED, "unchanged"),
        (FileStatus.FORGOTTEN, "gone and forgotten"),
        (FileStatus.BROKEN, "broken"),
        (FileStatus.UNREADABLE, "unreadable"),
    ]
    return ", ".join(f"{counts[status]} {word}" for status, word in words if counts[status]) or "Nothing to do."


def _index_as_json(images_below: dict[bytes, int], update: Update, store: FolderStore, key: str) -> dict[str, Any]:
    return {
        "folders": [{"folder": shown(root), "images": images} for root, images in images_below.items()],
        "files": update.as_json(),
        "unread_formats": dict(update.foreign),
        "skipped": update.skips.as_json(),
        "model": key,
        "index": str(store.path),
    }


def open_store(index_file: Path | None) -> FolderStore:
    return FolderStore(index_file or default_location())


def lazy_model(name: str, device: str) -> LazyModel:
    return LazyModel.named(name, lambda: load_model(name, device))


def walk_filter(hidden: bool, exclude: list[str] | None) -> WalkFilter:
    return WalkFilter(hidden, tuple(exclude or ()))


@dataclass
class Update:
    """Updates the index of folders, counts files by status, and names those that were skipped.

    before_search: whether it only precedes a search. Then files that the filter leaves out stay in the index, and what
    an earlier run has reported is not reported again.
    """

    before_search: bool = False
    skips: Skips = field(default_factory=Skips)
    counts: Counter[FileStatus] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)

    def run(self, store: FolderStore, root: bytes, model: LazyModel, filter_: WalkFilter, batch_size: int) -> None:
        total = sum(isinstance(entry, ImageFile) for entry in walk(root, filter_)) if watched() else None
        kept, foreign = self.counts[FileStatus.KEPT], self.foreign.copy()
        with counted("indexing", total) as done:

            def observe(step: Step) -> None:
                self._count(step)
                if step.status not in (FileStatus.UNSUPPORTED, FileStatus.FORGOTTEN, FileStatus.KEPT):
                    done()

            index_folder(
                store,
                root,
                model,
                observe,
                filter_=filter_,
                batch_size=batch_size,
                # Enough to keep the model busy; each thread may hold one large image.
                workers=min(8, max(2, usable_cores())),
                keep_filtered=self.before_search,
            )
        self._report(shown(root), self.counts[FileStatus.KEPT] - kept, self.foreign - foreign)

    def as_json(self) -> dict[str, Any]:
        return {status.value: self.counts[status] for status in FileStatus}

    def _count(self, step: Step) -> None:
        self.counts[step.status] += 1
        if step.status in (FileStatus.BROKEN, FileStatus.UNREADABLE):
            if self.before_search and step.known:
                return
            self.skips.add(shown(step.path), step.reason)
        elif step.status is FileStatus.UNSUPPORTED:
            self.foreign[step.reason] += 1

    def _report(self, folder: str, kept: int, foreign: Counter[str]) -> None:
        if kept:
            self.skips.add(
                folder,
                f"It contains no images, but {kept} are indexed below it; they are kept in case a drive is missing. "
                f"If they are really gone, run `clipcore index {folder} --forget`.",
            )
        if foreign and not self.before_search:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in foreign.most_common())
            say(f"Skipped below {folder}, in unsupported formats: {kinds}.")


def _with_bar(blocks: range) -> Iterator[int]:
    return tracked(blocks, "comparing", len(blocks))


def _duplicates_as_json(groups: list[Group], root: bytes, threshold: float | None, update: Update) -> dict[str, Any]:
    return {
        "folder": shown(root),
        "threshold": threshold,
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


def _print_groups(groups: list[Group], root: bytes, threshold: float | None, none: str) -> None:
    """Prints tables on a terminal; in a pipe one line a file: group, relation to the first, cosine, bytes, path."""
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
    alike = "" if threshold is None else f" Alike begins at {threshold:.3f} (--min-score)."
    groups_in_words = "1 group" if len(groups) == 1 else f"{len(groups)} groups"
    console.print(f"{groups_in_words} below {escape(visible(root))}, {decimal(spare)} beside the first of each.{alike}")


def _table(group: Group) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=True)
    for _ in range(4):
        grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for copy in group.copies:
        file = copy.file
        links = f"  (also named {', '.join(visible(link) for link in copy.links)})" if copy.links else ""
        pixels = f"{file.width} x {file.height}" if file.width else ""
        grid.add_row(
            group.relation(copy), f"{copy.cosine:.3f}", pixels, decimal(file.size), escape(visible(file.path) + links)
        )
    return grid
