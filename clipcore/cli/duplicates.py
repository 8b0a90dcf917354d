"""`clipcore duplicates`: groups of identical and of all but identical pictures. Deletes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from clipcore.cli.folder_options import Exclude, Hidden, IndexFile, Update, lazy_model, open_store, reach_of
from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model
from clipcore.cli.outcome import let_any_name_pass, print_json, say
from clipcore.cli.progress import tracked
from clipcore.errors import BadInput
from clipcore.folder.duplicates import Copy, Group, find_duplicates, find_identical, near_threshold
from clipcore.folder.paths import root_of, shown, visible


def register(app: typer.Typer) -> None:
    app.command("duplicates")(duplicates)


def duplicates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, with all below it.", show_default=False)],
    at_least: Annotated[
        float | None,
        typer.Option(
            "--at-least",
            min=0,
            max=1,
            help="The cosine from which pictures are alike; lower it for crops and other colours.",
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
    """Group the pictures below a folder that are identical, or that look all but the same.

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
            none = f"No duplicates among {store.census(root, looking.key).pictures} pictures."
    if as_json:
        print_json(_as_json(groups, root, least, update))
    else:
        _print(groups, root, least, none)
    return update.skips.exit_code


def _bar(blocks: range) -> Iterator[int]:
    return tracked(blocks, "comparing", len(blocks))


def _as_json(groups: list[Group], root: bytes, least: float | None, update: Update) -> dict[str, Any]:
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
