from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from bot.logging import JsonFormatter, TextFormatter, configure_logging, outline
from bot.settings import LogFormat, LogLevel

SECRET = "what a person wrote"


@pytest.fixture
def own_logging() -> Iterator[None]:
    """The log set up anew, and put back as the other tests have it."""
    names = ("bot", "clipcore", "__main__", "discord.http", "discord.webhook.async_")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in names}
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def record(**extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "bot.x", "levelname": "INFO", "msg": "picture %d is ready", "args": (7,)})
    made.__dict__.update(extra)
    return made


def failure() -> ValueError:
    try:
        int(SECRET)
    except ValueError as error:
        return error
    raise AssertionError


def test_a_json_line_is_one_line_that_parses_with_its_ids() -> None:
    line = JsonFormatter().format(record(interaction_id=5, exc_info=(ValueError, failure(), None)))
    assert "\n" not in line
    event = json.loads(line)
    assert event["message"] == "picture 7 is ready"
    assert event["logger"] == "bot.x"
    assert event["interaction_id"] == 5
    assert set(event) == {"time", "level", "logger", "message", "interaction_id", "exception"}


def test_a_text_line_ends_with_its_ids() -> None:
    line = TextFormatter().format(record(image_id=7, guild_id=8))
    assert line.endswith("INFO    bot.x: picture 7 is ready image_id=7 guild_id=8")


def test_an_outline_says_what_failed_and_where_and_quotes_nobody() -> None:
    try:
        raise RuntimeError(SECRET) from failure()
    except RuntimeError as error:
        told = outline(error)
    assert told.startswith("RuntimeError < test_logs.py:")
    assert "because of ValueError < test_logs.py:" in told
    assert "failure" in told
    assert SECRET not in told
    assert "\n" not in told


@pytest.mark.parametrize("form", list(LogFormat))
def test_libraries_that_log_bodies_and_addresses_stay_silent_at_the_chattiest_level(
    own_logging: None, form: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LogLevel.DEBUG, form)
    logging.getLogger("bot.cogs").debug("ours")
    for library in ("discord.http", "discord.webhook.async_"):
        logging.getLogger(library).warning(SECRET)
    for library in ("discord.gateway", "discord.client", "discord.state", "aiohttp.client", "sqlalchemy.engine"):
        logging.getLogger(library).info(SECRET)
    said = capsys.readouterr().err
    assert "ours" in said
    assert SECRET not in said
