"""`clipcore index`, `clipcore duplicates`, and the update of the index before each search."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from clipcore.cli.options import Commands, EncodingOptions, Json, option
from clipcore.cli.output import Skips, counted, finish, let_any_name_pass, say, table_of, tracked, watched
from clipcore.encoding.batch import Problem
from clipcore.errors import BadInput
from clipcore.folder_search.duplicates import Group, find_duplicates, find_identical, near_threshold
from clipcore.folder_search.paths import distinct, root_of, shown, true_path, visible
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import FolderStore, default_location
from clipcore.folder_search.sync import FileStatus, Step, index_folder
from clipcore.images.walk import ImageFile, WalkFilter, walk
from clipcore.runtime.cores import usable_cores

commands = Commands()


@dataclass(frozen=True, slots=True)
class IndexOptions(EncodingOptions):
    hidden: bool = option(False, help="Index files and folders whose names begin with a dot as well.")
    exclude: list[str] | None = option(
        None,
        help="Names of folders or files to leave out, such as thumbs or '*_small.jpg'; may be given several times.",
    )
    index_file: Path | None = option(
        None,
        envvar="CLIPCORE_INDEX",
        dir_okay=False,
        help="The SQLite file of the index. Default: one in your cache folder.",
    )

    @property
    def filter(self) -> WalkFilter:
        return WalkFilter(self.hidden, tuple(self.exclude or ()))

    def lazy_model(self) -> LazyModel:
        return LazyModel.named(self.model, self.load)

    def open_store(self) -> FolderStore:
        return FolderStore(self.index_file or default_location())


@dataclass(frozen=True, slots=True)
class UpdateOptions(IndexOptions):
    update: bool = option(
        True, "--index/--no-index", help="Index new and changed files first, or use the index as it is."
    )


@commands.command()
def index(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Folders, with all below them.", show_default="the current one"),
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Forget everything below these folders instead.")] = False,
    *,
    options: IndexOptions,
    as_json: Json = False,
) -> int:
    """Index the images below folders for search, similar and duplicates.

    Only new and changed files are read; copies, renamed and moved files cost
    no inference. Files that are gone, or left out now, are forgotten, unless a
    folder has no image at all: its drive may not be mounted. Links to folders
    are not followed. Stop it at any time: the same command resumes.
    """
    folders = folders or [Path()]
    skips, counts, unsupported = Skips(), Counter[FileStatus](), Counter[str]()
    with options.open_store() as store:
        if forget:
            return _forget(store, folders, as_json)
        roots = distinct([root_of(folder) for folder in folders], options.filter)
        model = options.lazy_model()
        for root in roots:
            root_counts, root_unsupported = update_index(store, root, model, options, skips)
            counts += root_counts
            unsupported += root_unsupported
        images_below = {root: store.count_images(root)[model.key] for root in roots}
    result = {
        "folders": [{"folder": shown(root), "images": images} for root, images in images_below.items()],
        "files": {status.value: counts[status] for status in FileStatus},
        "unread_formats": dict(unsupported),
        "model": model.key,
        "index": str(store.path),
    }
    return finish(result, lambda: _show_update(images_below, counts), skips, as_json=as_json)


@commands.command()
def duplicates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, with all below it.")],
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The cosine from which images are alike; lower it for crops and other colours.",
            show_default="the model's",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Identical files only, byte by byte; needs neither model nor index.")
    ] = False,
    *,
    options: UpdateOptions,
    as_json: Json = False,
) -> int:
    """Group the images below a folder that are identical, or that look all but the same.

    The first of a group has the most pixels, and the others resemble it.
    Resized and recompressed copies are found; crops and other colours often
    need a lower --min-score. What to delete is up to you.
    """
    if not options.update and (options.hidden or options.exclude):
        raise BadInput("--no-index does not read the folder; leave out --hidden and --exclude.")
    root, skips = root_of(folder), Skips()
    if exact:
        groups, threshold, none = find_identical(root, options.filter), None, "No identical files."
    else:
        model = options.lazy_model()
        threshold = near_threshold(model.calibration) if min_score is None else min_score
        with options.open_store() as store:
            if options.update:
                update_index(store, root, model, options, skips)
            track = partial(tracked, doing="comparing")
            groups = find_duplicates(store, root, model.key, min_score=threshold, track=track)
            none = f"No duplicates among {store.count_images(root)[model.key]} images."
    result = {
        "folder": shown(root),
        "threshold": threshold,
        "spare_bytes": sum(group.spare_bytes for group in groups),
        "groups": [_group_as_json(group) for group in groups],
    }
    return finish(result, lambda: _print_groups(groups, root, threshold, none), skips, as_json=as_json)


def _forget(store: FolderStore, folders: list[Path], as_json: bool) -> int:
    """Removes folders from the index; they need not exist any more."""
    roots = [true_path(folder) for folder in folders]
    forgotten = sum(store.forget_below(root) for root in roots)
    if not forgotten:
        raise BadInput(f"Nothing is indexed below {', '.join(visible(root) for root in roots)}; check the path.")
    result = {"forgotten": forgotten, "index": str(store.path)}
    return finish(result, lambda: print(f"{forgotten} files forgotten."), Skips(), as_json=as_json)


def _show_update(images_below: Mapping[bytes, int], counts: Counter[FileStatus]) -> None:
    for root, images in images_below.items():
        print(f"{'1 image' if images == 1 else f'{images} images'} below {visible(root)} can be searched.")
    words = [
        (FileStatus.ENCODED, "new"),
        (FileStatus.REUSED, "copied or moved"),
        (FileStatus.UNCHANGED, "unchanged"),
        (FileStatus.FORGOTTEN, "gone and forgotten"),
        (FileStatus.BROKEN, "broken"),
        (FileStatus.UNREADABLE, "unreadable"),
    ]
    print(", ".join(f"{counts[status]} {word}" for status, word in words if counts[status]) or "Nothing to do.")


def update_index(
    store: FolderStore,
    root: bytes,
    model: LazyModel,
    options: IndexOptions,
    skips: Skips,
    *,
    before_search: bool = False,
) -> tuple[Counter[FileStatus], Counter[str]]:
    """Updates the index of a folder and names the files that were skipped. Returns the number of files with each
    status, and with each unsupported suffix.

    before_search: whether it only precedes a search. Then files that the filter leaves out stay in the index, and what
    an earlier run has reported is not reported again.
    """
    folder = shown(root)
    total = sum(isinstance(entry, ImageFile) for entry in walk(root, options.filter)) if watched() else None
    counts: Counter[FileStatus] = Counter()
    unsupported: Counter[str] = Counter()
    with counted("indexing", total) as done:

        def observe(step: Step) -> None:
            counts[step.status] += 1
            if step.status is FileStatus.UNSUPPORTED:
                unsupported[step.reason] += 1
            elif step.status not in (FileStatus.FORGOTTEN, FileStatus.KEPT):
                done()
            is_problem = step.status in (FileStatus.BROKEN, FileStatus.UNREADABLE)
            if is_problem and not (before_search and step.known):
                skips.add(Problem(shown(step.path), step.reason))

        index_folder(
            store,
            root,
            model,
            observe,
            filter_=options.filter,
            batch_size=options.batch_size,
            # Enough to keep the model busy; each thread may hold one large image.
            workers=min(8, max(2, usable_cores())),
            keep_filtered=before_search,
        )
    if kept := counts[FileStatus.KEPT]:
        reason = (
            f"It contains no images, but {kept} are indexed below it; they are kept in case a drive is missing. "
            f"If they are really gone, run `clipcore index {folder} --forget`."
        )
        skips.add(Problem(folder, reason))
    if unsupported and not before_search:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in unsupported.most_common())
        say(f"Skipped below {folder}, in unsupported formats: {kinds}.")
    return counts, unsupported


def _group_as_json(group: Group) -> dict[str, Any]:
    files = [
        {
            "path": shown(copy.file.path),
            "is": group.relation(copy),
            "cosine": round(copy.cosine, 6),
            "bytes": copy.file.size,
            "width": copy.file.width or None,
            "height": copy.file.height or None,
            "sha256": copy.file.hash.hex(),
            "links": [shown(link) for link in copy.links],
        }
        for copy in group.copies
    ]
    return {"kind": group.kind, "spare_bytes": group.spare_bytes, "files": files}


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
    rows = []
    for copy in group.copies:
        file = copy.file
        links = f"  (also named {', '.join(visible(link) for link in copy.links)})" if copy.links else ""
        pixels = f"{file.width} x {file.height}" if file.width else ""
        name = escape(visible(file.path) + links)
        rows.append((group.relation(copy), f"{copy.cosine:.3f}", pixels, decimal(file.size), name))
    return table_of([*4 * ">", ""], rows, show_header=False, pad_edge=True)
