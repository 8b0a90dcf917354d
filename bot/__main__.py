"""`python -m bot`: the production start. What the person at the terminal can mend ends with one sentence and code 2."""

from __future__ import annotations

import asyncio
import sys

from bot.errors import StartupError
from bot.settings import load_settings


def main() -> int:
    try:
        settings = load_settings()
        # Imported only now: the model's libraries take seconds to load, and a missing token should be told at once.
        from bot.app import run
        from bot.logs import configure_logging

        configure_logging(settings.log_level, settings.log_format)
        asyncio.run(run(settings))
    except StartupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
