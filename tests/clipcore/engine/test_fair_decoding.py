"""Nobody's images take the decoders from others, however costly they are made to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
from PIL import Image

from clipcore.engine.engine import ClipEngine
from clipcore.errors import ImageRejected
from clipcore.images.processes import WorkLimits
from clipcore.model import ClipModel
from clipcore.types import Lane
from tests.clipcore.engine.support import until
from tests.clipcore.images import encode, noise
from tests.clipcore.test_processes import jpeg_with_scans

COSTLY = jpeg_with_scans(8000, 450)  # a quarter of a minute of CPU time
GOOD = encode(Image.fromarray(noise(40, 30)))
HOSTILE, OTHER = (1, 1), (1, 2)


@asynccontextmanager
async def engine_of(workers: int, cpu_seconds: float) -> AsyncIterator[ClipEngine]:
    limits = WorkLimits(cpu_seconds=cpu_seconds)
    engine = ClipEngine(
        partial(ClipModel.load, "bundled"), work_limits=limits, decode_workers=workers, close_seconds=0.1
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


class Posted:
    """Costly images that are being encoded. ended: how many were encoded or refused."""

    def __init__(self, encode_one: Callable[[], asyncio.Future[object]], count: int) -> None:
        self.ended = 0
        self._tasks = [asyncio.create_task(self._encode(encode_one)) for _ in range(count)]

    async def _encode(self, encode_one: Callable[[], asyncio.Future[object]]) -> None:
        with suppress(ImageRejected):
            await encode_one()
        self.ended += 1

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize("lane", Lane)
async def test_many_costly_images_of_one_owner_never_take_all_decoders(lane: Lane):
    async with engine_of(workers=2, cpu_seconds=60) as engine:
        posted = Posted(partial(engine.encode_image, COSTLY, lane, HOSTILE), 4)
        for _ in range(2):
            async with asyncio.timeout(50):
                await engine.encode_image(GOOD, lane, OTHER)
        assert posted.ended == 0
        await posted.stop()


async def test_costly_uploads_of_many_owners_and_costly_queries_leave_both_lanes_usable():
    async with engine_of(workers=2, cpu_seconds=60) as engine:
        hostile = [
            Posted(partial(engine.encode_image, COSTLY, lane, (1, owner)), 2) for owner in range(4) for lane in Lane
        ]
        for lane in Lane:
            async with asyncio.timeout(50):
                await engine.encode_image(GOOD, lane, (2, 1))
        assert not any(posted.ended for posted in hostile)
        for posted in hostile:
            await posted.stop()


async def test_a_costly_image_whose_caller_is_gone_counts_until_its_decoder_is_done():
    async with engine_of(workers=2, cpu_seconds=60) as engine:
        for _ in range(2):
            caller = asyncio.create_task(engine.encode_image(COSTLY, Lane.BACKGROUND, HOSTILE))
            await until(lambda: not engine._costly.free)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
        async with asyncio.timeout(20):
            await engine.encode_image(GOOD, Lane.BACKGROUND, OTHER)


async def test_with_one_decoder_an_image_waits_for_one_costly_image_at_most():
    async with engine_of(workers=1, cpu_seconds=1) as engine:
        posted = Posted(partial(engine.encode_image, COSTLY, Lane.BACKGROUND, HOSTILE), 5)
        for _ in range(2):
            before = posted.ended
            await engine.encode_image(GOOD, Lane.BACKGROUND, OTHER)
            assert posted.ended - before <= 1
        await posted.stop()


async def test_a_large_image_that_is_within_the_limit_is_encoded_after_all():
    """It takes more than its first half second, and less than the limit."""
    async with engine_of(workers=2, cpu_seconds=60) as engine:
        answer = await engine.encode_image(jpeg_with_scans(8000, 40))
        assert (answer.width, answer.height) == (8000, 8000)


# The decoder of WebP calls an image broken when memory is refused.
@pytest.mark.parametrize(("form", "size"), [("PNG", (7000, 6000)), ("WEBP", (4500, 4000))])
async def test_an_image_that_needs_more_than_the_first_share_of_memory_is_decoded_with_all_of_it(
    form: str, size: tuple[int, int]
):
    async with engine_of(workers=2, cpu_seconds=60) as engine:
        assert (await engine.encode_image(encode(Image.new("RGB", size), form))).width == size[0]
