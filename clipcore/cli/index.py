"""`clipcore index`: remembers what the pictures of folders look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clipcore.cli.folder_options import Exclude, Hidden, IndexFile, Update, lazy_model, open_store, reach_of
from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model
from clipcore.cli.outcome import DONE, print_json
from clipcore.errors import BadInput
from clipcore.folder.indexing import Became
from clipcore.folder.paths import root_of, shown, true_path, visible
from clipcore.folder.store import Census, FolderStore
from clipcore.folder.walk import distinct


def register(app: typer.Typer) -> None:
    app.command("index")(index)


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
    """Remember what the pictures below folders look like, for search, similar and duplicates.

    Only new and changed files are read; copies, renamed and moved files cost
    no inference. Files that are gone, or left out now, are forgotten, unless a
    folder shows no picture at all: its drive may not be mounted. Links to
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
            pictures = "1 picture" if census.pictures == 1 else f"{census.pictures} pictures"
            print(f"{pictures} below {visible(root)} can be searched.")
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
            {"folder": shown(root), "pictures": census.pictures} for root, census in zip(roots, censuses, strict=True)
        ],
        "files": update.as_json(),
        "unread_formats": dict(update.foreign),
        "skipped": update.skips.as_json(),
        "model": key,
        "index": str(store.path),
    }
