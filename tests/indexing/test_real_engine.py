"""Indexing and search with the real engine: a random CLIP knows no meaning, but encodes equal images equally."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipcore
from bot.models import ImageState, SearchResult
from bot.store.database import Database
from clipcore.engine.engine import ClipEngine
from tests.clipcore.tiny import write_tiny_clip
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import Readers, channel_ref, image_ref


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
    embedding = await pipeline.search.embedding_of_file(png(1))
    result = await pipeline.search.similar(readers, embedding, [images[0].id])
    assert [match.image.ref for match in result.matches] == [repost]
    assert result.matches[0].score == pytest.approx(1, abs=2e-3)

    await pipeline.registry.forget_messages([repost.message_id])
    assert await pipeline.search.similar(readers, embedding, [images[0].id]) == SearchResult((), searched=True)
