"""`clipcore search` and `clipcore similar`: the remembered images that fit words or images best."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from clipcore.cli.commands import StrictCommand
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
    Update,
    lazy_model,
    open_store,
    reach_of,
)
from clipcore.cli.output import DONE, let_any_name_pass, print_json, say, tracked
from clipcore.errors import BadInput
from clipcore.folder_search.duplicates import Copy, Group, find_duplicates, find_identical, near_threshold
from clipcore.folder_search.paths import distinct, root_of, shown, true_path, visible
from clipcore.folder_search.store import Census, FolderStore
from clipcore.folder_search.sync import Became
from clipcore.models.catalogue import ModelName, resolve

if TYPE_CHECKING:
    from typer._click.core import Context
from clipcore.cli.options import UpdateFirst
from clipcore.cli.output import AtLeast, Null, Open, Paths, Sheet, Showing, Top, show
from clipcore.folder_search.paths import EVERYWHERE
from clipcore.folder_search.search import parse_image, parse_query, search_folder


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


def register_duplicates(app: typer.Typer) -> None:
    app.command("duplicates")(duplicates)


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


SIGNS = {"+": "--plus", "-": "--minus"}


class Miswritten(typer.TyperException):
    """One sentence about how the query was written, and the command whose help tells more."""

    def __init__(self, message: str, ctx: Context | None = None) -> None:
        super().__init__(message)
        self.ctx = ctx


class QueryCommand(StrictCommand):
    """Rewrites signed parts to `--plus` and `--minus` before the options are parsed, and nothing else."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        names = {name: not getattr(param, "is_flag", False) for param in self.params for name in param.opts}
        names |= dict.fromkeys(
            (*ctx.help_option_names, *(name for p in self.params for name in p.secondary_opts)), False
        )
        try:
            return super().parse_args(ctx, unsigned(args, names))
        except Miswritten as error:
            error.ctx = ctx
            raise


def unsigned(arguments: Sequence[str], options: Mapping[str, bool]) -> list[str]:
    """options: every option's name, and whether a value follows it.

    `+x` and `-x`, or the sign alone with the part after it, become `--plus=x` and `--minus=x`. Two dashes always begin
    an option, and so do one dash and one Latin letter, so a mistyped option stays an error; and so does what can only
    be meant as one, such as `-f0`, `-t5` and `-mRN50`, while `-tiger` is a part. After `--` all are words.
    Raises Miswritten where words follow a signed part, since it is unclear what they belong to, and for options after
    `--`.
    """
    found: list[str] = []
    signed = False
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*found, argument, *_words(rest, options)]
        if _is_option(argument, options):
            found.append(argument)
            if options.get(argument, False):
                found.extend(islice(rest, 1))
        elif argument[:1] in SIGNS:
            part = argument[1:] or next(rest, "")
            _check_part(argument, part, options)
            found.append(f"{SIGNS[argument[0]]}={part}")
            signed = True
        elif signed:
            raise Miswritten(f"Put words that belong together in quotes: {argument!r} stands alone")
        else:
            found.append(argument)
    return found


def _words(rest: Iterable[str], options: Mapping[str, bool]) -> Iterator[str]:
    """An option that is passed over in silence would search elsewhere than a person thinks."""
    for word in rest:
        if _names(word, options):
            raise Miswritten(f"After -- all are words, and {word!r} is an option: put it before --")
        yield word


def _names(word: str, options: Mapping[str, bool]) -> bool:
    return word in options or (word.startswith("--") and word.partition("=")[0] in options)


def _is_option(argument: str, options: Mapping[str, bool]) -> bool:
    if argument.startswith("--") or argument in options:
        return True
    if argument[:1] != "-":
        return False
    option, rest = argument[:2], argument[2:]
    if option not in options:
        return len(argument) == 2 and argument.isascii() and argument[1].isalpha()
    if options[option]:
        return rest.isdigit() or rest.startswith("=") or (option == "-m" and _is_model(rest))
    return all(options.get(f"-{letter}") is False for letter in rest)


def _is_model(name: str) -> bool:
    """Whether it is known, lies on this machine, or is called as on the hub."""
    return "/" in name or resolve(name) != ModelName(name)


def _check_part(argument: str, part: str, options: Mapping[str, bool]) -> None:
    if not part.strip() or _names(part, options):
        raise Miswritten(f"After {argument!r} words or an image are missing")
    if f"-{argument}" in options:
        raise Miswritten(f"Write -{argument} for the option, or --minus={part} for words to leave out")


_EXAMPLES = """Examples: clipcore search "a red car"

clipcore search sofa +cat -"at night"

clipcore search ./beach.jpg +"2:sunset" --sheet found.png

clipcore search -0 dog | xargs -0 cp -t dogs/"""


def register_search(app: typer.Typer) -> None:
    app.command("search", cls=QueryCommand, epilog=_EXAMPLES)(search)
    app.command("similar")(similar)


def search(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORDS|IMAGE [+MORE] [-LESS]",
            help="Words, or an image's file; 2:WORDS counts twice.",
            show_default=False,
        ),
    ] = None,
    plus: Annotated[
        list[str] | None, typer.Option("--plus", help="Words or an image to add; also +WORDS.", show_default=False)
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option("--minus", help="Words or an image to take away; also -WORDS.", show_default=False),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--in", help="Search below this folder.", show_default="the current one")
    ] = Path(),
    top: Top = 10,
    at_least: AtLeast = -1.0,
    sheet: Sheet = None,
    open_: Open = False,
    paths: Paths = False,
    null: Null = False,
    update_first: UpdateFirst = False,
    hidden: Hidden = False,
    exclude: Exclude = None,
    index_file: IndexFile = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Find the images below a folder that fit words, an image, or a mixture of both best.

    The score is the cosine. What lies below the model's threshold is shown faint,
    and said to be weak.
    """
    if not (words or plus or minus):
        raise Miswritten("Say what to look for: words, or the path of an image", context)
    terms = parse_query(words or (), plus or (), minus or ())
    reach = reach_of(hidden, exclude)
    showing = Showing(top, as_json, paths, null, sheet, open_)
    root = root_of(folder)
    looking = lazy_model(model, device)
    update = Update()
    with open_store(index_file) as store:
        if update_first:
            update.run(store, root, looking, reach, batch_size)
        answer = search_folder(
            store, root, looking, terms, top=top, at_least=at_least, reach=reach, updated=update_first
        )
    show(answer, terms, root, looking.key, showing, update.skips)
    return update.skips.exit_code


def similar(
    context: typer.Context,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image to compare with.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--in", help="Search below this folder.", show_default="all that is indexed")
    ] = None,
    top: Top = 10,
    at_least: AtLeast = -1.0,
    sheet: Sheet = None,
    open_: Open = False,
    paths: Paths = False,
    null: Null = False,
    update_first: UpdateFirst = False,
    hidden: Hidden = False,
    exclude: Exclude = None,
    index_file: IndexFile = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Find the images that look most like one image, which need not be indexed itself.

    Its own copies elsewhere are found too; the file itself is no answer.
    """
    if update_first and folder is None:
        raise Miswritten("--index needs a folder: give it with --in", context)
    asked = parse_image(image)
    reach = reach_of(hidden, exclude)
    showing = Showing(top, as_json, paths, null, sheet, open_)
    root = EVERYWHERE if folder is None else root_of(folder)
    looking = lazy_model(model, device)
    update = Update()
    with open_store(index_file) as store:
        if update_first:
            update.run(store, root, looking, reach, batch_size)
        answer = search_folder(
            store,
            root,
            looking,
            [asked],
            top=top,
            at_least=at_least,
            besides=asked.image,
            reach=reach,
            updated=update_first,
        )
    show(answer, [asked], root, looking.key, showing, update.skips)
    return update.skips.exit_code
