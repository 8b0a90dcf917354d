"""`clipcore search` and `clipcore similar`: the indexed images that fit a query best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.cli.index import IndexOptions, Update, UpdateIndex
from clipcore.cli.matches import ShowOptions, show
from clipcore.cli.options import Commands, EncodingOptions, Json, StrictCommand
from clipcore.errors import BadInput
from clipcore.folder_search.paths import EVERYWHERE, root_of
from clipcore.folder_search.search import LazyModel, Term, parse_image, parse_query, search_folder
from clipcore.models.known_models import ModelName, resolve

if TYPE_CHECKING:
    from typer._click.core import Context

commands = Commands()


class QueryCommand(StrictCommand):
    """Rewrites `+PART` and `-PART` to `--plus` and `--minus` before the options are parsed."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        takes_value = {name: not getattr(param, "is_flag", False) for param in self.params for name in param.opts}
        flags = [*ctx.help_option_names, *(name for param in self.params for name in param.secondary_opts)]
        try:
            rewritten = rewrite_signed(args, takes_value | dict.fromkeys(flags, False))
        except BadInput as error:
            ctx.fail(str(error))
        return super().parse_args(ctx, rewritten)


def rewrite_signed(arguments: Sequence[str], options: Mapping[str, bool]) -> list[str]:
    """Rewrites `+x`, `-x`, `+ x` and `- x` to `--plus=x` and `--minus=x`.

    options: the name of every option, and whether it takes a value. Two dashes always begin an option, and so does one
    dash with one Latin letter, so that a mistyped option is an error. `-f0`, `-t5` and `-mRN50` are options as well,
    but `-tiger` is a part. After `--` everything is text. Raises BadInput for text after a signed part, where it is
    unclear what it belongs to, and for options after `--`, which would be ignored.
    """
    rewritten: list[str] = []
    signed = False
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            texts = list(rest)
            if option := next((text for text in texts if _names_option(text, options)), None):
                raise BadInput(f"After -- all are words, and {option!r} is an option: put it before --")
            return [*rewritten, argument, *texts]
        if _is_option(argument, options):
            rewritten.append(argument)
            if options.get(argument, False):
                rewritten.extend(islice(rest, 1))
        elif argument[:1] in ("+", "-"):
            part = argument[1:] or next(rest, "")
            if not part.strip() or _names_option(part, options):
                raise BadInput(f"After {argument!r} words or an image are missing")
            if f"-{argument}" in options:
                raise BadInput(f"Write -{argument} for the option, or --minus={part} for words to leave out")
            rewritten.append(f"--{'plus' if argument[0] == '+' else 'minus'}={part}")
            signed = True
        elif signed:
            raise BadInput(f"Put words that belong together in quotes: {argument!r} stands alone")
        else:
            rewritten.append(argument)
    return rewritten


def _names_option(argument: str, options: Mapping[str, bool]) -> bool:
    return argument in options or (argument.startswith("--") and argument.partition("=")[0] in options)


def _is_option(argument: str, options: Mapping[str, bool]) -> bool:
    if argument.startswith("--") or argument in options:
        return True
    name, value = argument[:2], argument[2:]
    if argument[:1] != "-" or name not in options:
        return len(argument) == 2 and argument[0] == "-" and argument.isascii() and argument[1].isalpha()
    if not options[name]:  # flags in one word
        return all(options.get(f"-{letter}") is False for letter in value)
    # A model is known by name, a path of this machine, or OWNER/NAME as on the hub.
    is_model = name == "-m" and ("/" in value or resolve(value) != ModelName(value))
    return value.isdigit() or value.startswith("=") or is_model


_EXAMPLES = """Examples: clipcore search "a red car"

clipcore search sofa +cat -"at night"

clipcore search ./beach.jpg +"2:sunset" --sheet found.png

clipcore search -0 dog | xargs -0 cp -t dogs/"""


@commands.command(cls=QueryCommand, epilog=_EXAMPLES)
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
        list[str] | None, typer.Option(help="Words or an image to add; also +WORDS.", show_default=False)
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="Words or an image to take away; also -WORDS.", show_default=False)
    ] = None,
    folder: Annotated[
        Path, typer.Option("--in", help="Search below this folder.", show_default="the current one")
    ] = Path(),
    *,
    showing: ShowOptions,
    update_index: UpdateIndex = True,
    options: IndexOptions,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Find the images below a folder that fit words, an image, or a mixture of both best.

    The score is the cosine. Matches below the model's threshold are weak, and
    shown dim.
    """
    if not (words or plus or minus):
        context.fail("Say what to look for: words, or the path of an image")
    terms = parse_query(words or (), plus or (), minus or ())
    update = Update(options, encoding, before_search=True)
    return _search(terms, root_of(folder), showing, update, update_index=update_index, as_json=as_json)


@commands.command()
def similar(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image to compare with.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--in", help="Search below this folder.", show_default="all that is indexed")
    ] = None,
    *,
    showing: ShowOptions,
    update_index: UpdateIndex = True,
    options: IndexOptions,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Find the images that look most like one image, which need not be indexed itself.

    Copies of it elsewhere are found too; the file itself is not.
    """
    term = parse_image(image)
    root = EVERYWHERE if folder is None else root_of(folder)
    update = Update(options, encoding, before_search=True)
    update_index = update_index and folder is not None
    return _search([term], root, showing, update, update_index=update_index, as_json=as_json, exclude_file=term.image)


def _search(
    terms: Sequence[Term],
    root: bytes,
    showing: ShowOptions,
    update: Update,
    *,
    update_index: bool,
    as_json: bool,
    exclude_file: Path | None = None,
) -> int:
    showing.check(as_json)
    model = LazyModel.named(update.encoding.model, update.encoding.load)
    with update.options.open_store() as store:
        if update_index:
            update.run(store, root, model)
        result = search_folder(
            store,
            root,
            model,
            terms,
            top=showing.top,
            min_score=showing.min_score,
            exclude_file=exclude_file,
            filter_=update.options.filter,
            updated=update_index,
        )
    return show(result, terms, root, model.key, showing, update.skips, as_json=as_json)
