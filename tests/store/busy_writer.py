"""A process to be killed: accepts, finishes and deletes without end, and prints what was committed.

Run as `python -m tests.store.busy_writer PATH ROUND`. Each line is printed after its commit.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bot.store.database import Database
from bot.store.images import ImageStore
from tests.store.samples import CARD, finished, ref

BATCH = 8


async def work(path: Path, round_: int) -> None:
    images = ImageStore(await Database.open(path))
    say("open")
    first = round_ * 1_000_000 + 1
    for start in range(first, first + 1_000_000, BATCH):
        added = await images.accept([ref(message) for message in range(start, start + BATCH)])
        say("accepted", *(image.ref.message_id for image in added))
        done = await images.finish([finished(image.id) for image in added[1:]], CARD)
        say("finished", *(image.ref.message_id for image in added if image.id in done))
        await images.forget_messages([start + 1])
        say("forgot", start + 1)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2])))
