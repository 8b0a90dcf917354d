"""`python -m bot`. A problem that the operator can solve is printed as one sentence, and the exit code is 2."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bot.errors import StartupError
from bot.settings import ENV_FILE, load_settings
from clipcore.runtime.cores import let_idle_threads_sleep


def main(arguments: Sequence[str] | None = None) -> int:
    let_idle_threads_sleep()
    asked = _parser().parse_args(arguments)
    try:
        settings = load_settings(needs_token=asked.command is None)
        # Imported only now: discord.py and SQLAlchemy take a second to load, and a missing token is reported before.
        from bot.logging import configure_logging, get_logger

        configure_logging(settings.log_level, settings.log_format)
        if is_readable_by_others(ENV_FILE):
            get_logger(__name__).warning("other users of this machine can read .env: run chmod 600 .env")
        if asked.command == "backup":
            from bot.store.backup import back_up

            print(back_up(settings.database_url, asked.file))
        elif asked.command == "restore":
            from bot.store.backup import restore

            print(asyncio.run(restore(settings.database_url, asked.file)))
        elif asked.command == "reindex":
            from bot.app import ask_for_model

            print(ask_for_model(settings, asked.model))
        else:
            from bot.app import run

            asyncio.run(run(settings))
    except StartupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bot",
        description="Runs Magpie, configured by the environment and .env (see README.md). Without a command: the bot.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    backup = commands.add_parser("backup", help="copy the database, also while the bot is running")
    backup.add_argument("file", type=Path, metavar="FILE", help="a file that does not exist yet")
    restore = commands.add_parser("restore", help="replace the database with a backup, while the bot is stopped")
    restore.add_argument("file", type=Path, metavar="FILE", help="what the backup command made")
    reindex = commands.add_parser("reindex", help="have another model take over, also while the bot is running")
    reindex.add_argument("--model", required=True, metavar="ID", help="as for CLIP_MODEL")
    return parser


def is_readable_by_others(path: Path) -> bool:
    """False where there is no such file, and on systems without POSIX's permissions."""
    try:
        return os.name == "posix" and path.stat().st_mode & 0o077 != 0
    except OSError:
        return False


def exit_process(code: int) -> NoReturn:
    """Ends the process, also while an abandoned thread is still loading a model.

    Everything is closed by then, but the interpreter's own shutdown could deadlock on a lock that such a thread holds
    while it imports torch.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    exit_process(main())
