"""`clipcore tokenize`: the numbers that CLIP reads in place of words."""

from __future__ import annotations

from typing import Annotated

import typer

from clipcore.bpe import CONTEXT_LENGTH, END, TokenIds, text_of, token_ids
from clipcore.cli.options import Json
from clipcore.cli.outcome import print_json
from clipcore.cli.texts import TextsFile, read_texts
from clipcore.encode_inputs import lines_of
from clipcore.errors import BadInput


def register(app: typer.Typer) -> None:
    app.command("tokenize")(tokenize)


def tokenize(
    given: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; with --decode, tokens.")] = None,
    texts_file: TextsFile = None,
    context_length: Annotated[
        int, typer.Option("--context-length", min=2, help="Tokens a text may have, both marks included.")
    ] = CONTEXT_LENGTH,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut what is longer instead of refusing it.")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="The other way: tokens into words.")] = False,
    as_json: Json = False,
) -> None:
    """Show CLIP's tokens, one text a line: 49406, the text, 49407. Works without any model."""
    texts = [*(given or []), *(each.name for each in (lines_of(read_texts(texts_file)) if texts_file else []))]
    if not texts:
        raise typer.BadParameter("Give texts, or --texts FILE.")
    if decode:
        words = text_of(_numbers(texts))
        print_json({"text": words}) if as_json else print(words)
        return
    rows = token_ids(texts, context_length, truncate=truncate)
    if as_json:
        told = [{"text": text, "tokens": _used(row)} for text, row in zip(texts, rows, strict=True)]
        print_json({"context_length": context_length, "texts": told})
        return
    for row in rows:
        print(*_used(row))


def _used(row: TokenIds) -> list[int]:
    """Without the zeros behind the end mark, which stands last even where the text itself holds one."""
    last = len(row) - 1 - row[::-1].tolist().index(END)
    used: list[int] = row[: last + 1].tolist()
    return used


def _numbers(texts: list[str]) -> list[int]:
    try:
        numbers = [int(number) for text in texts for number in text.replace(",", " ").split()]
    except ValueError as error:
        raise BadInput("Tokens are numbers, such as 320 2368; give texts without --decode.") from error
    if any(not 0 <= number <= END for number in numbers):
        raise BadInput(f"CLIP's tokens are numbers from 0 to {END}.")
    return numbers
