"""A sandbox for each test, and users connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sandbox.server import Sandbox
from tests.sandbox.person import Person


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox.serve() as running:
        yield running


@pytest.fixture
async def person(sandbox: Sandbox) -> AsyncIterator[Callable[[str], Awaitable[Person]]]:
    """`await person("cem")` returns that member's client, connected."""
    people: list[Person] = []

    async def connect(username: str) -> Person:
        someone = Person(sandbox.url, sandbox.user(username).token)
        people.append(someone)
        await someone.connect()
        return someone

    yield connect
    for someone in people:
        await someone.close()
