"""The town, as a benchmark holds it: a small Discord in another process, in which somebody asks."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.town_server import ASKERS, Facts, Post, Seen

_ROOT = Path(__file__).parent.parent
_LONGEST_LINE = 1 << 26


class Town:
    """Made by `open_town`."""

    def __init__(self, facts: Facts, process: asyncio.subprocess.Process) -> None:
        self.facts = facts
        self._process = process
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Seen]] = {}

    async def ask(self, question: str) -> Seen:
        """`/find question`, by a member who may see every second channel, to the whole answer."""
        return await self._order(ask=question)

    async def post(self, images: int, delete: int = 0) -> None:
        """Posts so many images, each in a message of its own, and deletes some of those posted."""
        await self._order(post=images, delete=delete)

    async def _order(self, **what: str | int) -> Seen:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None  # noqa: S101 - asked for below
        self._process.stdin.write(json.dumps({"number": number, **what}).encode() + b"\n")
        seen: Seen = await answer
        return seen

    async def listen(self) -> None:
        """Hands out answers until the town is closed."""
        assert self._process.stdout is not None  # noqa: S101 - asked for below
        while line := await self._process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            answer = self._waiting.pop(said.pop("number"))
            if "error" in said:
                answer.set_exception(RuntimeError(f"the town's asker failed: {said['error']}"))
            else:
                answer.set_result(Seen(**said))


@asynccontextmanager
async def open_town(
    *, channels: int, posts: int, askers: int = ASKERS, heartbeat_s: float = 41.25
) -> AsyncIterator[Town]:
    """posts: messages with an image that stand there from the beginning, over all channels in turn."""
    options = ["--channels", str(channels), "--posts", str(posts), "--askers", str(askers)]
    options += ["--heartbeat", str(heartbeat_s)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.town_server", *options),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        assert process.stdout is not None and process.stdin is not None  # noqa: S101 - asked for above
        facts = json.loads(await process.stdout.readline())
        posted = [Post(**post) for post in facts.pop("posts")]
        town = Town(Facts(**facts, posts=posted), process)
        listening = asyncio.create_task(town.listen())
        yield town
        process.stdin.close()
        await process.wait()
        await listening
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
