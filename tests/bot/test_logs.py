from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from structlog.contextvars import bound_contextvars

from bot.errors import StoreBusy
from bot.logging import LogFormat, configure_logging, get_logger, outline

SECRET = "what a person wrote"
BOTH_FORMATS = pytest.mark.parametrize("form", ["text", "json"])


@pytest.fixture(autouse=True)
def original_logging() -> Iterator[None]:
    """Restores the loggers that `configure_logging` changes."""
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


def failure() -> ValueError:
    try:
        int(SECRET)
    except ValueError as error:
        return error
    raise AssertionError


def test_a_json_line_is_one_object_with_the_ids_as_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    get_logger("bot.x").info("image indexed", image_id=7, exc_info=failure())
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    event = json.loads(line)
    assert set(event) == {"time", "level", "logger", "message", "image_id", "exception"}
    assert event["message"] == "image indexed"
    assert event["level"] == "INFO"
    assert event["logger"] == "bot.x"
    assert event["image_id"] == 7


def test_a_text_line_has_the_level_the_logger_and_the_ids(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "text")
    get_logger("bot.x").info("image indexed", image_id=7, guild_id=8)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert all(part in line for part in ("info", "image indexed", "bot.x", "image_id=7", "guild_id=8"))


@BOTH_FORMATS
def test_a_bound_id_is_on_every_line_of_its_block_also_on_those_of_other_loggers(
    capsys: pytest.CaptureFixture[str], form: LogFormat
) -> None:
    configure_logging("INFO", form)
    with bound_contextvars(interaction_id=1234):
        get_logger("bot.x").info("ours")
        logging.getLogger("somebody.else").warning("theirs %d", 1)
    get_logger("bot.x").info("after")
    ours, theirs, after = capsys.readouterr().err.splitlines()
    assert "1234" in ours
    assert "1234" in theirs and "theirs 1" in theirs
    assert "1234" not in after


@BOTH_FORMATS
def test_a_traceback_never_shows_the_values_of_variables(capsys: pytest.CaptureFixture[str], form: LogFormat) -> None:
    configure_logging("INFO", form)
    query = "a " + "secret"  # the source line that a traceback quotes has it in two parts
    try:
        raise RuntimeError(len(query))
    except RuntimeError:
        get_logger("bot.x").exception("the search failed")
    logged = capsys.readouterr().err
    assert "RuntimeError" in logged
    assert "a secret" not in logged


@BOTH_FORMATS
def test_an_error_that_is_no_bug_is_one_line_with_its_sentence(
    capsys: pytest.CaptureFixture[str], form: LogFormat
) -> None:
    configure_logging("INFO", form)
    try:
        raise StoreBusy("The database is locked.") from failure()
    except StoreBusy as error:
        get_logger("bot.x").exception("tried again", image_id=7)
        get_logger("bot.x").error("tried again", image_id=7, error=outline(error))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "StoreBusy: The database is locked." in line and "image_id" in line
        assert SECRET not in line


def test_an_outline_tells_what_failed_and_where_without_messages() -> None:
    try:
        raise RuntimeError(SECRET) from failure()
    except RuntimeError as error:
        outlined = outline(error)
    assert outlined.startswith("RuntimeError < test_logs.py:")
    assert "caused by ValueError < test_logs.py:" in outlined
    assert "failure" in outlined
    assert SECRET not in outlined
    assert "\n" not in outlined


@BOTH_FORMATS
def test_libraries_that_log_bodies_and_urls_stay_silent_at_the_lowest_level(
    form: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("DEBUG", form)
    get_logger("bot.features").debug("ours")
    for library in ("discord.http", "discord.webhook.async_"):
        logging.getLogger(library).warning(SECRET)
    for library in ("discord.gateway", "discord.client", "discord.state", "aiohttp.client", "sqlalchemy.engine"):
        logging.getLogger(library).info(SECRET)
    logged = capsys.readouterr().err
    assert "ours" in logged
    assert SECRET not in logged
