"""Bytes in hand: never more than allowed but for one file alone; everybody has a turn, in order; nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.indexing.worker import ByteBudget
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import image_ref, until

MOST = 10


@dataclass(eq=False)
class File:
    """One that asks for room, holds it until it is told to end, and may be smaller than was said."""

    size: int
    task: asyncio.Task[None] | None = None
    inside: bool = False

    def begin(self, budget: ByteBudget) -> None:
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget))

    async def _run(self, budget: ByteBudget) -> None:
        with budget.share() as self.share:
            await self.share.take(self.size)
            self.inside = True
            try:
                await self.end.wait()
            finally:
                self.inside = False

    @property
    def waits(self) -> bool:
        return not self.inside and self.task is not None and not self.task.done()


async def turns() -> None:
    """Whatever can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


def check(budget: ByteBudget, files: list[File]) -> None:
    inside = [file.size for file in files if file.inside]
    assert budget.held == sum(inside)
    assert budget.held <= MOST or len([size for size in inside if size]) == 1
    waiting = [file for file in files if file.waits]
    if waiting:
        assert inside, "somebody waits though nobody is in"
        assert budget.held + waiting[0].size > MOST, "the first in line waits though there is room"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 14)),
        st.tuples(st.sampled_from(["end", "cancel", "shrink", "end and cancel"]), st.integers(0, 30)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_the_bytes_in_hand_keep_to_the_budget_and_everybody_has_a_turn(steps: list[tuple[str, int]]) -> None:
    asyncio.run(_played(steps))


async def _played(steps: list[tuple[str, int]]) -> None:
    budget, files = ByteBudget(MOST), list[File]()
    entered: list[File] = []
    for what, number in steps:
        _do(what, number, budget, files)
        await turns()
        check(budget, files)
        entered += [file for file in files if file.inside and file not in entered]
    assert [files.index(file) for file in entered] == sorted(files.index(file) for file in entered)
    for _ in files:  # each that ends makes room for the next
        for file in files:
            if file.inside:
                file.end.set()
        await turns()
    assert not any(file.waits or file.inside for file in files)
    assert budget.held == 0


def _do(what: str, number: int, budget: ByteBudget, files: list[File]) -> None:
    if what == "begin":
        files.append(File(number))
        files[-1].begin(budget)
        return
    some = [file for file in files if file.task is not None and not file.task.done()]
    if not some:
        return
    file = some[number % len(some)]
    assert file.task is not None
    if what == "shrink":
        if file.inside:
            file.size = min(file.size, number)
            file.share.shrink(number)
        return
    if what.startswith("end"):
        next((one for one in some if one.inside), file).end.set()
    if what.endswith("cancel"):
        file.task.cancel()


async def test_one_that_is_given_up_in_the_moment_it_is_let_in_keeps_nothing() -> None:
    budget = ByteBudget(MOST)
    with budget.share() as first:
        await first.take(MOST)
        waiting = asyncio.create_task(budget.share().take(1))
        await turns()
        first.shrink(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.held == 0


async def test_more_room_is_waited_for_without_what_was_held() -> None:
    """Else two that each want more would wait for one another."""
    budget = ByteBudget(MOST)
    with budget.share() as one, budget.share() as other:
        await one.take(5)
        await other.take(5)
        both = asyncio.gather(one.take(8), other.take(8))
        await turns()
        assert budget.held == 8
        one.shrink(0)
        await asyncio.wait_for(both, 60)
    assert budget.held == 0


async def test_room_is_made_before_anything_is_downloaded(pipeline: Pipeline) -> None:
    """Four downloads at once have room for 64 MiB: two files of 30 MiB, and small ones wait behind the third."""
    refs = [image_ref(number) for number in range(6)]
    for ref in refs[:3]:
        pipeline.cdn.sizes[ref.attachment_id] = 30 * 2**20
        pipeline.cdn.hold(ref)
    await pipeline.restart()
    await pipeline.indexer.accept(refs)
    await until(lambda: pipeline.cdn.under_way == 2)
    await turns()
    assert sorted(pipeline.cdn.fetched) == sorted(ref.attachment_id for ref in refs[:2])
    for held in pipeline.cdn.held.values():
        held.set()
    await asyncio.wait_for(pipeline.indexer.settled(), 60)
    assert len(pipeline.announced) == 6


async def test_a_file_counts_until_it_was_read(pipeline: Pipeline) -> None:
    """One download at once has room for 16 MiB."""
    refs = [pipeline.cdn.put(image_ref(number), bytes([number]) * (9 * 2**20)) for number in range(3)]
    pipeline.engine.gate = asyncio.Event()
    await pipeline.restart(concurrency=1)
    await pipeline.indexer.accept(refs)
    await until(lambda: pipeline.engine.encoded.total() == 1)
    await turns()
    assert pipeline.cdn.fetched.total() == 1
    pipeline.engine.gate.set()
    await asyncio.wait_for(pipeline.indexer.settled(), 60)
    assert len(pipeline.announced) == 3
