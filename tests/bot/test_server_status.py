"""What /magpie status makes of its numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import discord
import pytest

from bot.discord_io.permissions import INVITED
from bot.features.status import Pace, ServerStatus, Unreadable, status_view
from bot.i18n import CHINESE, ENGLISH, Texts
from bot.models import BackfillMode, BackfillState
from bot.monitoring.metrics import Recent
from bot.store import retagging
from bot.store.backfills import Backfill, Progress
from bot.store.images import ENCODING_FAILED, FORBIDDEN, INTERRUPTED
from clipcore.errors import RejectReason

QUIET = ServerStatus(
    ready=3,
    pending=0,
    parked=0,
    reasons={},
    unverified=0,
    by_channel=[(2, 3)],
    elsewhere=0,
    unreadable=[],
    unreadable_elsewhere=0,
    by_day={20_000: 3},
    paused=False,
    backfill=None,
    backfill_waits=False,
    retagging=None,
)
PACE = Pace("bundled", on_cpu=True, images_per_minute=30.0, query_seconds=0.0321)


def words(status: ServerStatus, texts: Texts = ENGLISH, pace: Pace = PACE) -> str:
    view = status_view(status, pace, texts, owner=1)
    return "\n".join(item.content for item in view.walk_children() if isinstance(item, discord.ui.TextDisplay))


def test_a_backlog_says_how_long_it_takes_at_the_present_speed() -> None:
    assert "about 10 minutes at the present speed" in words(replace(QUIET, pending=300))
    assert "at the present speed" not in words(replace(QUIET, pending=300, paused=True))
    assert "at the present speed" not in words(replace(QUIET, pending=300), pace=replace(PACE, images_per_minute=0.0))


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_a_change_of_the_model_is_told_as_long_as_it_lasts(texts: Texts) -> None:
    sentence = texts.status.next_model.format(percent=41)
    assert sentence in words(QUIET, texts, replace(PACE, next_model=41))
    assert "41" not in words(QUIET, texts)


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_every_reason_that_the_indexer_gives_has_words(texts: Texts) -> None:
    keys = [*RejectReason, "too_large", "unreachable", "queue_full", FORBIDDEN, ENCODING_FAILED, INTERRUPTED]
    for key in keys:
        assert texts.status.reasons[key] in words(replace(QUIET, parked=1, reasons={key: 1}), texts)
    unknown = replace(QUIET, parked=2, reasons={"": 1, "unexpected_ValueError": 1})
    assert texts.status.reason.format(reason=texts.status.reason_unexpected, count="2") in words(unknown, texts)
    assert "ValueError" not in words(unknown, texts)


def test_reasons_with_the_same_words_are_counted_together() -> None:
    told = words(replace(QUIET, parked=5, reasons={"too_large": 2, "too_many_bytes": 1, "broken": 2}))
    assert "**5** were given up: too many megabytes (3) · damaged file (2)" in told


def test_what_is_under_way_is_told() -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    began = Backfill(1, None, BackfillMode.QUICK, BackfillState.RUNNING, True, 9, day, None, None)
    progress = Progress(began, 4, 1, 0, 100, 400, 90, 10, 0, 0, 0.25)
    told = words(replace(QUIET, backfill=progress, retagging=retagging.Progress(40, 100), unverified=7, unread=8))
    assert ENGLISH.backfill.heading[BackfillState.RUNNING].format(place="the whole server") in told
    assert "25 %" in told
    assert ENGLISH.labels.retagging.format(100, done="40") in told
    assert "**7** come from a backup" in told
    assert "words in **8** pictures are yet" in told


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_the_longest_status_keeps_to_discords_limits(texts: Texts) -> None:
    big = 1_222_333_444_555_666_777
    day = datetime(2026, 3, 1, tzinfo=UTC)
    began = Backfill(1, big, BackfillMode.QUICK, BackfillState.PAUSED, False, 9, day, None, None)
    missing = ("read_message_history", "connect")
    status = replace(
        QUIET,
        pending=10**6,
        parked=10**6,
        reasons=dict.fromkeys(texts.status.reasons, 10**6),
        unverified=10**6,
        unread=10**6,
        by_channel=[(big + at, 10**6) for at in range(500)],
        elsewhere=10**6,
        unreadable=[Unreadable(big + at, missing) for at in range(500)],
        unreadable_elsewhere=500,
        paused=True,
        backfill=Progress(began, 10**4, 10**4, 10**4, 10**7, 10**7, 10**6, 10**6, 10**6, 10**6, 0.5),
        retagging=retagging.Progress(10**6, 10**7),
    )
    view = status_view(status, replace(PACE, model="o" * 100), texts, owner=big)
    assert view.content_length() <= 4000


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_recent_events_are_counted_by_the_minute_and_forgotten() -> None:
    clock = Clock()
    recent = Recent(most=100, over_s=300, clock=clock)
    assert (recent.per_minute(), recent.median()) == (0.0, None)
    clock.now += 60  # it has run for one minute only
    for value in (1.0, 5.0, 2.0):
        recent.note(value)
    assert (recent.per_minute(), recent.median()) == (3.0, 2.0)
    clock.now += 240
    assert recent.per_minute() == pytest.approx(0.6)
    clock.now += 61
    assert (recent.per_minute(), recent.median()) == (0.0, None)


def test_more_events_than_are_kept_do_not_slow_the_count() -> None:
    clock = Clock()
    recent = Recent(most=100, over_s=300, clock=clock)
    for _ in range(1000):
        clock.now += 0.1
        recent.note()
    assert recent.per_minute() == pytest.approx(600, rel=0.02)


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_every_permission_that_can_be_missing_has_a_name_and_a_use(texts: Texts) -> None:
    needed = {"view_channel", "connect"} | {name for name, wanted in INVITED if wanted and name != "read_messages"}
    assert needed == set(texts.setup.uses)
    assert needed <= set(texts.errors.permissions)


def test_the_invitation_asks_for_what_the_setup_looks_for() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"permissions={INVITED.value}" in readme
