"""Indexing and search with the real engine: a random CLIP knows no meaning, but encodes equal images equally."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipcore
from bot.models import ImageState
from bot.store.database import Database
from clipcore.engine.engine import ClipEngine
from clipcore.engine.scheduling import Kind
from clipcore.types import Lane, Pixels, Vectors
from tests.clipcore.fakes import FakeEncoder
from tests.clipcore.tiny import write_tiny_clip
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import Readers, channel_ref, image_ref, like, only, until


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def pipeline(database: Database, tmp_path: Path) -> AsyncIterator[Pipeline]:
    engine = ClipEngine(partial(clipcore.ClipModel.load, str(write_tiny_clip(tmp_path)), device="cpu"))
    await engine.start()
    built = Pipeline(database, engine=engine)
    await built.indexer.start()
    yield built
    await built.close()
    await engine.close()


async def test_an_image_is_indexed_matched_with_its_repost_and_forgotten(pipeline: Pipeline) -> None:
    first, repost = (pipeline.cdn.put(image_ref(number, channel_ref(number)), png(1)) for number in (1, 2))
    broken = pipeline.cdn.put(image_ref(3), png(3)[:-40])
    images = await pipeline.remember(first, repost, broken)
    assert [image.state for image in images] == [ImageState.READY, ImageState.READY, ImageState.PARKED]
    assert (images[0].width, images[0].height) == (32, 24)
    assert images[2].reason == "broken"

    readers = Readers(first, repost)
    question = like(await pipeline.search.embedding_of_file(png(1)), images[0].id)
    result = await pipeline.search.ask(readers, question)
    assert [match.image.ref for match in result.matches] == [repost]
    assert result.matches[0].score == pytest.approx(1, abs=2e-3)

    await pipeline.registry.forget_messages([repost.message_id])
    assert (await pipeline.search.ask(readers, question)).matches == ()


class BusyEncoder(FakeEncoder):
    """Encodes a batch of texts for as long as no image waits, until `quick` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.images_wait: Callable[[], int]
        self.quick = threading.Event()
        self.texts = 0

    def encode_prepared(self, batch: Pixels) -> Vectors:
        return np.tile(np.float32([1, 0, 0, 0]), (len(batch), 1))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        give_up = time.monotonic() + 60
        while not (self.images_wait() or self.quick.wait(0.001)):
            assert time.monotonic() < give_up, "no image comes"
        self.texts += len(texts)
        return np.tile(np.float32([0, 1, 0, 0]), (len(texts), 1))


async def test_images_are_indexed_while_another_guilds_thousand_labels_are_encoded(database: Database) -> None:
    encoder = BusyEncoder()
    engine = ClipEngine(lambda: encoder, query_budget_ms=1e9)
    encoder.images_wait = lambda: len(engine.executor._queue._queues[Lane.BACKGROUND][Kind.IMAGE])
    await engine.start()
    pipeline = Pipeline(database, engine=engine)
    await pipeline.labels.change(1, None, only(*(f"label {number}" for number in range(1000))))
    await pipeline.indexer.start()
    encoder.quick.set()
    await pipeline.remember(pipeline.cdn.put(image_ref(0, channel_ref(guild=2)), png(0)))
    encoder.quick.clear()
    encoder.texts = 0

    one, other = (
        [
            pipeline.cdn.put(image_ref(number, channel_ref(guild=guild)), png(number))
            for number in range(20 * guild, 20 * guild + 20)  # there are 12 places
        ]
        for guild in (1, 2)
    )
    await pipeline.indexer.accept(one)
    await until(lambda: engine.executor.waiting(Lane.BACKGROUND) > 100)
    await pipeline.indexer.accept(other)
    await until(lambda: len(pipeline.announced) == 1 + len(other))
    assert {image.ref.channel.guild_id for image in pipeline.announced} == {2}
    assert encoder.texts < 5000

    encoder.quick.set()
    await pipeline.indexer.settled()
    assert len(pipeline.announced) == 1 + len(one) + len(other)
    await pipeline.close()
    await engine.close()
