"""`clipcore search sofa +cat -"at night"`: parts of a query that begin like options, told from real options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand

from clipcore.registry import ModelName, resolve

if TYPE_CHECKING:
    from typer._click.core import Context

SIGNS = {"+": "--plus", "-": "--minus"}


class Miswritten(typer.TyperException):
    """One sentence about how the query was written, and the command whose help tells more."""

    def __init__(self, message: str, ctx: Context | None = None) -> None:
        super().__init__(message)
        self.ctx = ctx


class QueryCommand(TyperCommand):
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
        raise Miswritten(f"After {argument!r} words or a picture are missing")
    if f"-{argument}" in options:
        raise Miswritten(f"Write -{argument} for the option, or --minus={part} for words to leave out")
