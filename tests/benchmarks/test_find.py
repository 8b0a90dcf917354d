"""What the measurements of questions say, and what they ask in."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import find, under_load
from benchmarks.bot_in_town import plant
from benchmarks.loop_lag import Heartbeats, measured_lag
from benchmarks.million import database_of
from benchmarks.random_vectors import DIMENSION
from benchmarks.scale import Scale
from benchmarks.stages import SEARCH, TEXT, WHOLE, Stages
from benchmarks.town import open_town
from benchmarks.town_server import Photo, Post


def measured(**seconds: list[float]) -> Stages:
    named = {"whole": WHOLE, "text": TEXT, "search": SEARCH}
    return Stages({named[name]: values for name, values in seconds.items()})


@pytest.mark.parametrize(("whole", "met"), [(0.084, True), (0.086, False)])
def test_all_but_search_and_text_encoding_may_take_25_milliseconds(whole: float, met: bool) -> None:
    stages = measured(whole=[whole] * 3, text=[0.020] * 3, search=[0.040] * 3)
    [bar] = find.outcome(stages, [0.1], Scale(quick=True)).figures[0].against
    assert bar.met(1000 * whole) is met


async def test_the_stopwatch_counts_each_call_and_gives_back_what_was_answered() -> None:
    stages = Stages()

    async def doubled(number: int) -> int:
        return 2 * number

    watched = stages.around("doubling", doubled)
    assert [await watched(1), await watched(2)] == [2, 4]
    assert len(stages.seconds["doubling"]) == 2


@pytest.mark.parametrize(("p99", "met"), [(0.34, True), (0.36, False)])
def test_under_load_a_question_may_take_three_times_as_long_and_wait_for_one_batch(p99: float, met: bool) -> None:
    found = under_load.Found([0.05] * 3, [p99] * 3, [0.001], [0.2], 50.0, 40.0, Heartbeats(2, [0.02, 0.02]))
    figure = under_load.outcome(found, 1.0).figures[1]
    assert figure.against[0].met(figure.value) is met


def test_a_heartbeat_that_nobody_acknowledged_is_told() -> None:
    found = under_load.Found([0.05], [0.05], [0.001], [0.2], 50.0, 40.0, Heartbeats(3, [0.02, 0.02]))
    figure = under_load.outcome(found, 1.0).figures[3]
    assert figure.against[0].met(figure.value) is False


async def test_a_loop_that_was_blocked_was_late() -> None:
    async with measured_lag() as lag:
        await asyncio.sleep(0.01)
        time.sleep(0.1)  # noqa: ASYNC251 - this is what is to be seen
        await asyncio.sleep(0.01)
    assert max(lag) > 0.05


async def test_the_town_has_posts_in_every_channel_and_half_of_them_are_readable() -> None:
    async with open_town(channels=6, posts=12) as town:
        assert town.facts.readable == 3
        assert len({post.channel_id for post in town.facts.posts}) == 6
        assert sum(post.readable for post in town.facts.posts) == 6


def test_no_two_photos_of_the_town_are_the_same_file() -> None:
    first, second = (Photo(id_, 1, "photo.jpg", "image/jpeg", b"image") for id_ in (1, 2))
    assert first.data.startswith(b"image")
    assert first.data != second.data


def test_planted_images_lie_near_the_question_and_belong_to_the_model(tmp_path: Path) -> None:
    near = np.zeros(DIMENSION, np.float32)
    near[0] = 1.0
    database = Path(shutil.copy(database_of(20, channels=2), tmp_path))
    [channel] = sqlite3.connect(database).execute("SELECT min(id) FROM channels").fetchone()
    plant(database, "another model", [Post(channel, 1, 2, 3, readable=True)], near)
    with sqlite3.connect(database) as connection:
        [[key]] = connection.execute("SELECT key FROM models").fetchall()
        [[blob]] = connection.execute("SELECT vector FROM vectors ORDER BY image_id DESC LIMIT 1").fetchall()
    assert key == "another model"
    assert np.frombuffer(blob, np.float16)[0] > 0.9
