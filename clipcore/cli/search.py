"""`clipcore search` and `clipcore similar`: the remembered pictures that fit words or pictures best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcore.cli.folder_options import (
    Exclude,
    Hidden,
    IndexFile,
    Update,
    UpdateFirst,
    lazy_model,
    open_store,
    reach_of,
)
from clipcore.cli.matches import AtLeast, Null, Open, Paths, Sheet, Showing, Top, show
from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model
from clipcore.cli.query_arguments import Miswritten, QueryCommand
from clipcore.folder.paths import EVERYWHERE, root_of
from clipcore.folder.query import parse_picture, parse_query
from clipcore.folder.searching import search_folder

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
            help="Words, or a picture's file; 2:WORDS counts twice.",
            show_default=False,
        ),
    ] = None,
    plus: Annotated[
        list[str] | None, typer.Option("--plus", help="Words or a picture to add; also +WORDS.", show_default=False)
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option("--minus", help="Words or a picture to take away; also -WORDS.", show_default=False),
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
    """Find the pictures below a folder that fit words, a picture, or a mixture of both best.

    The score is the cosine. What lies below the model's threshold is shown faint,
    and said to be weak.
    """
    if not (words or plus or minus):
        raise Miswritten("Say what to look for: words, or the path of a picture", context)
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
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The picture to compare with.", show_default=False)],
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
    """Find the pictures that look most like one picture, which need not be indexed itself.

    Its own copies elsewhere are found too; the file itself is no answer.
    """
    if update_first and folder is None:
        raise Miswritten("--index needs a folder: give it with --in", context)
    asked = parse_picture(image)
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
            besides=asked.picture,
            reach=reach,
            updated=update_first,
        )
    show(answer, [asked], root, looking.key, showing, update.skips)
    return update.skips.exit_code
