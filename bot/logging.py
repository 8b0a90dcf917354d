"""Structured logs: one event a line, with ids as fields, as text for people or as JSON for machines.

Log lines carry no message content, no query text and no URLs. `bound_contextvars` of structlog adds ids to every line
that is logged within it, those of libraries included.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Literal

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from bot.errors import MagpieError

LogFormat = Literal["text", "json"]

_FRAMES = 6

# Our loggers hand their events to the standard library's, where libraries' lines and pytest's caplog are too.
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.render_to_log_kwargs,
    ],
    wrapper_class=BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)


def get_logger(name: str) -> BoundLogger:
    """log.info("image indexed", image_id=7): a fixed sentence, and what varies as fields."""
    logger: BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure_logging(level: str, form: LogFormat) -> None:
    """Sends the whole log to stderr. Libraries log from WARNING on, whatever our own level is."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(form, colors=sys.stderr.isatty()))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for library in ("discord.http", "discord.webhook.async_"):
        # Their warnings about rate limits contain URLs, some with an interaction's token in them.
        logging.getLogger(library).setLevel(logging.ERROR)
    for package in ("bot", "clipcore", "__main__"):
        logging.getLogger(package).setLevel(level)


def formatter(form: LogFormat, *, colors: bool = False) -> ProcessorFormatter:
    fields: list[Processor] = [
        structlog.contextvars.merge_contextvars,  # for the lines of libraries
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_logger_name,
        _known_error_in_one_line,
    ]
    if form == "json":
        rendering: list[Processor] = [
            _level_in_capitals,
            structlog.processors.TimeStamper(fmt="iso", key="time"),
            structlog.processors.EventRenamer("message"),
            structlog.processors.format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        rendering = [
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S"),
            ProcessorFormatter.remove_processors_meta,
            # Its default traceback shows local variables, and with them what people wrote.
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
        ]
    return ProcessorFormatter(foreign_pre_chain=fields, processors=rendering)


def outline(error: BaseException) -> str:
    """An error's types and where it was raised, in one line. Its message is left out: it may quote a person. One of our
    own is its sentence.
    """
    if isinstance(error, MagpieError):
        return ": ".join(filter(None, (type(error).__name__, str(error))))
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    outlined = " < ".join([type(error).__name__, *reversed(frames[-_FRAMES:])])
    return f"{outlined}; caused by {outline(error.__cause__)}" if error.__cause__ is not None else outlined


def _known_error_in_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A locked database or a silent Discord is no bug: its traceback, at each attempt, would bury everything else."""
    if isinstance(event.get("exc_info"), tuple) and isinstance(error := event["exc_info"][1], MagpieError):
        del event["exc_info"]
        event.setdefault("error", outline(error))
    return event


def _level_in_capitals(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["level"] = event["_record"].levelname
    return event
