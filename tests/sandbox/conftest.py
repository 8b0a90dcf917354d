"""One running sandbox a test, and people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sandbox.realm import Limits
from sandbox.server import Sandbox
from tests.sandbox.person import Person


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox.serve(limits=Limits(interaction_deadline_s=1.0)) as running:
        yield running


@pytest.fixture
async def person(sandbox: Sandbox) -> AsyncIterator[Callable[[str], Awaitable[Person]]]:
    """`await person("cem")` gives that member, connected."""
    people: list[Person] = []

    async def connect(username: str) -> Person:
        someone = Person(sandbox.url, sandbox.user(username).token)
        people.append(someone)
        await someone.connect()
        return someone

    yield connect
    for someone in people:
        await someone.close()
