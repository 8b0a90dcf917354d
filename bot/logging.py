"""How the log looks: one line an event, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bot.settings import LogFormat, LogLevel

# What every record has by itself; the rest was given as `extra=` and is an id worth showing.
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_FRAMES = 6


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = _when(record).strftime("%Y-%m-%d %H:%M:%S")
        ids = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = f"{when} {record.levelname:<7} {record.name}: {record.getMessage()}{ids}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": _when(record).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False, default=str)


def outline(error: BaseException) -> str:
    """An error's types and where it arose, on one line. Its message is left out: it may quote what a person wrote."""
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    told = " < ".join([type(error).__name__, *reversed(frames[-_FRAMES:])])
    return f"{told}; because of {outline(error.__cause__)}" if error.__cause__ is not None else told


def configure_logging(level: LogLevel, form: LogFormat) -> None:
    """Sends the whole log to stderr. Libraries speak from WARNING on, whatever our own level is."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for speaks_of_urls in ("discord.http", "discord.webhook.async_"):
        # Their warnings about rate limits name addresses, some with an interaction's token in them.
        logging.getLogger(speaks_of_urls).setLevel(logging.ERROR)
    for ours in ("bot", "clipcore", "__main__"):
        logging.getLogger(ours).setLevel(level.value)


def _when(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}
