"""`clipcore search` and `clipcore similar`: the remembered images that fit words or images best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.cli.commands import StrictCommand
from clipcore.cli.index import Exclude, Hidden, IndexFile, Update, UpdateIndex, lazy_model, open_store, walk_filter
from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model
from clipcore.folder_search.paths import root_of
from clipcore.models.catalogue import ModelName, resolve

if TYPE_CHECKING:
    from typer._click.core import Context
from clipcore.cli.matches import MinScore, Null, Open, Paths, Sheet, Showing, Top, show
from clipcore.folder_search.paths import EVERYWHERE
from clipcore.folder_search.search import parse_image, parse_query, search_folder

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


def register(app: typer.Typer) -> None:
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
    min_score: MinScore = -1.0,
    sheet: Sheet = None,
    open_: Open = False,
    paths: Paths = False,
    null: Null = False,
    update_index: UpdateIndex = True,
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
    filter_ = walk_filter(hidden, exclude)
    showing = Showing(top, as_json, paths, null, sheet, open_)
    root = root_of(folder)
    looking = lazy_model(model, device)
    update = Update(before_search=True)
    with open_store(index_file) as store:
        if update_index:
            update.run(store, root, looking, filter_, batch_size)
        answer = search_folder(
            store, root, looking, terms, top=top, min_score=min_score, filter_=filter_, updated=update_index
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
    min_score: MinScore = -1.0,
    sheet: Sheet = None,
    open_: Open = False,
    paths: Paths = False,
    null: Null = False,
    update_index: UpdateIndex = True,
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
    asked = parse_image(image)
    filter_ = walk_filter(hidden, exclude)
    showing = Showing(top, as_json, paths, null, sheet, open_)
    root = EVERYWHERE if folder is None else root_of(folder)
    looking = lazy_model(model, device)
    update = Update(before_search=True)
    with open_store(index_file) as store:
        if update_index and folder is not None:
            update.run(store, root, looking, filter_, batch_size)
        answer = search_folder(
            store,
            root,
            looking,
            [asked],
            top=top,
            min_score=min_score,
            exclude_file=asked.image,
            filter_=filter_,
            updated=update_index and folder is not None,
        )
    show(answer, [asked], root, looking.key, showing, update.skips)
    return update.skips.exit_code
