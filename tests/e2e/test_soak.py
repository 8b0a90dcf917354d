"""A few rounds of the soak; `make soak` makes hundreds."""

from __future__ import annotations

from random import Random

import pytest

from tests.e2e.harness import House
from tests.e2e.soak import Soak


async def test_kill_after_kill_the_bot_remembers_what_there_is_and_nothing_else(
    home: House, pytestconfig: pytest.Config
) -> None:
    seed = pytestconfig.getoption("--seed")
    await Soak(home, Random(seed)).run(pytestconfig.getoption("--rounds"), print)
