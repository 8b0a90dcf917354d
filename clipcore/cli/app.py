"""The command, its subcommands, and what becomes of their errors."""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from clipcore.cli import classify, dataset, encode, evaluate, models, search, train
from clipcore.cli.commands import Commands
from clipcore.cli.output import DONE, FAILED, INTERRUPTED, MISUSED, say
from clipcore.errors import ClipError

app = Commands(
    name="clipcore",
    help="Encode, search, classify, measure and train with CLIP models.",
    epilog="Exit codes: 0 done; 1 failed, the reason on stderr; 2 wrong use; 3 done, but some images or rows were "
    "skipped, each named on stderr; 130 stopped by Ctrl-C; what writes or indexes goes on from there when given again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, help="Show the version and stop.")] = False,
) -> None:
    if show_version:
        print(version("magpie"))
        raise typer.Exit(DONE)


classify.register(app)
dataset.register(app)
search.register_duplicates(app)
encode.register(app)
evaluate.register(app)
encode.register_extract(app)
search.register(app)
models.register(app)
search.register_search(app)
encode.register_tokenize(app)
train.register(app)


# What keeps nothing of what it has done so far; all else writes it down.
_BEGIN_ANEW = ("classify", "evaluate", "models", "similar", "tokenize")


def run(arguments: list[str]) -> int:
    """Returns the exit code; see the epilog above. Commands return theirs, or nothing when all is well."""
    try:
        code = int(app(arguments, prog_name="clipcore", standalone_mode=False) or DONE)
        sys.stdout.flush()
    except typer.TyperException as error:
        # typer's errors are all about how the command was written; those that know the command say which.
        context = getattr(error, "ctx", None)
        if words := _words(error):
            say(f"{words} See `{context.command_path if context else 'clipcore'} --help`.")
        return MISUSED
    except ClipError as error:
        say(str(error))
        return FAILED
    except typer.Abort:
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # typer ends the process itself where a pipe broke, and says 1.
        broken = isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)
        if not (broken and _reader_has_left()):
            raise
        return DONE
    except OSError as error:
        # What a disk complains of is a person's to act on: no room, no such folder, no right to write there.
        if error.filename is not None and error.strerror:
            say(f"{os.fsdecode(error.filename)!r} cannot be read or written: {error.strerror}.")
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            say("There is no room left to write; make some, and the same command goes on from here.")
        else:
            raise
        return FAILED
    if code == INTERRUPTED:
        goes_on = bool(arguments) and arguments[0] not in _BEGIN_ANEW
        say("Stopped. The same command goes on from here." if goes_on else "Stopped.")
    return code


def _reader_has_left() -> bool:
    """Whether it was stdout's pipe that broke, as when `head` has seen enough. It is led to nowhere then, since Python
    would complain once more at the very end.
    """
    if sys.__stdout__ is None:
        return False
    stdout = sys.__stdout__.fileno()
    try:
        os.write(stdout, b"\n")
    except BrokenPipeError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stdout)
        return True
    return False


def _words(error: typer.TyperException) -> str:
    """A sentence; none where typer has shown the help instead."""
    message = str(getattr(error, "format_message", error.__str__)()).strip()
    return message if not message or message.endswith((".", "?", "!")) else f"{message}."
