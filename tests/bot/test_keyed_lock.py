from __future__ import annotations

import asyncio

import pytest

from bot.keyed_lock import KeyedLock


async def test_blocks_of_one_key_run_in_order_and_other_keys_do_not_wait() -> None:
    lock, order = KeyedLock(), list[str]()
    first_may_end = asyncio.Event()

    async def first() -> None:
        async with lock(1):
            order.append("first begins")
            await first_may_end.wait()
            order.append("first ends")

    async def later(key: int, name: str) -> None:
        async with lock(key):
            order.append(name)

    tasks = [asyncio.create_task(one) for one in (first(), later(1, "second"), later(1, "third"), later(2, "other"))]
    await tasks[3]
    assert order == ["first begins", "other"]
    first_may_end.set()
    await asyncio.gather(*tasks)
    assert order == ["first begins", "other", "first ends", "second", "third"]
    assert lock._locks == {}


async def test_a_block_that_fails_or_is_cancelled_lets_the_next_one_in() -> None:
    lock = KeyedLock()
    with pytest.raises(ZeroDivisionError):
        async with lock("a"):
            raise ZeroDivisionError

    async def wait() -> None:
        async with lock("a"):
            await asyncio.Event().wait()

    holds, waits = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    waits.cancel()
    holds.cancel()
    await asyncio.gather(holds, waits, return_exceptions=True)
    async with asyncio.timeout(60), lock("a"):
        pass
    assert lock._locks == {}
