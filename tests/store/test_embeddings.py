from __future__ import annotations

import numpy as np

from bot.models import ChannelRef
from tests.store.samples import CARD, OTHER, finished, ref, unit_embedding


async def read(images, *refs, model=CARD):
    added = await images.accept(refs)
    batch = [finished(image.id, dimension=model.dimension) for image in added]
    await images.finish(batch, model)
    return [image.id for image in added]


async def test_a_guilds_embeddings_come_in_bounded_chunks_by_rising_id(images):
    ids = await read(images, *(ref(message, place=ChannelRef(1, 2 + message % 2)) for message in range(10)))
    await read(images, ref(99, place=ChannelRef(5, 50)))
    chunks = [chunk async for chunk in images.embeddings(1, CARD.key, chunk=4)]
    assert [len(chunk.ids) for chunk in chunks] == [4, 4, 2]
    assert np.concatenate([chunk.ids for chunk in chunks]).tolist() == ids
    assert np.concatenate([chunk.channel_ids for chunk in chunks]).tolist() == [2, 3] * 5
    together = np.concatenate([chunk.embeddings for chunk in chunks])
    assert together.dtype == np.float16
    assert np.array_equal(together, np.stack([unit_embedding(id_) for id_ in ids]))


async def test_an_unknown_model_or_guild_has_no_embeddings(images):
    await read(images, ref())
    assert [chunk async for chunk in images.embeddings(1, OTHER.key)] == []
    assert [chunk async for chunk in images.embeddings(6, CARD.key)] == []


async def test_embeddings_of_two_models_never_mix(images):
    [first] = await read(images, ref(10))
    [second] = await read(images, ref(11), model=OTHER)
    [chunk] = [chunk async for chunk in images.embeddings(1, CARD.key)]
    assert (chunk.ids.tolist(), chunk.embeddings.shape) == ([first], (1, 16))
    [chunk] = [chunk async for chunk in images.embeddings(1, OTHER.key)]
    assert (chunk.ids.tolist(), chunk.embeddings.shape) == ([second], (1, 24))


async def test_an_identical_file_is_known_by_its_hash_to_the_model_that_encoded_it(images):
    [id_] = await read(images, ref())
    known = await images.embedding_of_hash(f"hash-{id_}", CARD.key)
    assert (known.width, known.height) == (640, 480)
    assert np.array_equal(known.embedding, unit_embedding(id_))
    assert await images.embedding_of_hash(f"hash-{id_}", OTHER.key) is None
    assert await images.embedding_of_hash("hash-of-nothing", CARD.key) is None


async def test_a_returned_embedding_is_a_writable_copy(images):
    [id_] = await read(images, ref())
    vector = await images.embedding(id_, CARD.key)
    vector[0] = 1
    assert not np.array_equal(vector, await images.embedding(id_, CARD.key))
