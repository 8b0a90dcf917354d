"""The `clipcore` command: finds the subcommand, and turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from clipcore.cli.options import Commands
from clipcore.cli.output import DONE, FAILED, INTERRUPTED, MISUSED, say
from clipcore.errors import ClipError

# Each command and its module.
COMMANDS = {
    "classify": "classify",
    "dataset": "dataset",
    "duplicates": "index",
    "encode": "encode",
    "evaluate": "evaluate",
    "extract": "encode",
    "index": "index",
    "models": "models",
    "search": "search",
    "similar": "search",
    "tokenize": "encode",
    "train": "train",
}


def build(arguments: Sequence[str] = ()) -> typer.Typer:
    """The application with the command that the arguments name, or with all of them: importing all takes a third of a
    second.
    """
    app = Commands(
        name="clipcore",
        help="Encode, search, classify, evaluate and train with CLIP models.",
        epilog="Exit codes: 0 done; 1 failed, the reason on stderr; 2 wrong usage; 3 done, but some images or rows "
        "were skipped, each named on stderr; 130 stopped by Ctrl-C: what writes or indexes resumes when run again.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    named = COMMANDS.get(arguments[0]) if arguments else None
    for module in [named] if named else dict.fromkeys(COMMANDS.values()):
        app.add_typer(import_module(f"clipcore.cli.{module}").commands)
    return app


def _root(
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    if show_version:
        print(version("magpie"))
        raise typer.Exit(DONE)


# Commands that keep no progress; all others resume.
_KEEPS_NOTHING = ("classify", "evaluate", "models", "similar", "tokenize")


def run(arguments: list[str]) -> int:
    """Returns the exit code; see the epilog above. Commands return their own, or None for success."""
    try:
        code = int(build(arguments)(arguments, prog_name="clipcore", standalone_mode=False) or DONE)
        sys.stdout.flush()
    except typer.TyperException as error:
        # typer's errors are all usage errors; some carry the command they belong to. Those without a message have
        # shown the help instead.
        context = getattr(error, "ctx", None)
        if message := error.format_message().strip():
            stop = "" if message.endswith((".", "?", "!")) else "."
            say(f"{message}{stop} See `{context.command_path if context else 'clipcore'} --help`.")
        return MISUSED
    except ClipError as error:
        say(str(error))
        return FAILED
    except typer.Abort:
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # typer exits with 1 by itself when a pipe breaks.
        broken = isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)
        if not (broken and _reader_has_left()):
            raise
        return DONE
    except OSError as error:
        # Errors of the file system are the user's to fix: disk full, no such folder, no permission.
        if error.filename is not None and error.strerror:
            say(f"{os.fsdecode(error.filename)!r} cannot be read or written: {error.strerror}.")
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            say("The disk is full; free some space, and the same command resumes from here.")
        else:
            raise
        return FAILED
    if code == INTERRUPTED:
        resumes = bool(arguments) and arguments[0] not in _KEEPS_NOTHING
        say("Stopped. The same command resumes from here." if resumes else "Stopped.")
    return code


def _reader_has_left() -> bool:
    """Whether stdout's pipe broke, as with `| head`. If so, stdout is redirected to the null device, since Python would
    report the error again on exit.
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
