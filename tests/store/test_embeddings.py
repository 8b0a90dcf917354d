from __future__ import annotations

import numpy as np

from bot.models import ChannelRef
from tests.store.samples import CARD, OTHER, finished, ref, unit_embedding


async def read(images, *refs, model=CARD):
    added = await images.accept(refs)
    batch = [finished(image.id, dimension=model.dimension) for image in added]
    await images.finish(batch, model)
    return [image.id for image in added]


async def test_a_guilds_embeddings_come_in_bounded_pages_by_rising_id(images):
    ids = await read(images, *(ref(message, place=ChannelRef(1, 2 + message % 2)) for message in range(10)))
    await read(images, ref(99, place=ChannelRef(5, 50)))
    pages = [page async for page in images.embeddings(1, CARD.key, page=4)]
    assert [len(page.ids) for page in pages] == [4, 4, 2]
    assert np.concatenate([page.ids for page in pages]).tolist() == ids
    assert np.concatenate([page.channel_ids for page in pages]).tolist() == [2, 3] * 5
    together = np.concatenate([page.embeddings for page in pages])
    assert together.dtype == np.float16
    assert np.array_equal(together, np.stack([unit_embedding(id_) for id_ in ids]))


async def test_an_unknown_model_or_guild_has_no_embeddings(images):
    await read(images, ref())
    assert [page async for page in images.embeddings(1, OTHER.key)] == []
    assert [page async for page in images.embeddings(6, CARD.key)] == []


async def test_embeddings_of_two_models_never_mix(images):
    [first] = await read(images, ref(10))
    [second] = await read(images, ref(11), model=OTHER)
    [page] = [page async for page in images.embeddings(1, CARD.key)]
    assert (page.ids.tolist(), page.embeddings.shape) == ([first], (1, 16))
    [page] = [page async for page in images.embeddings(1, OTHER.key)]
    assert (page.ids.tolist(), page.embeddings.shape) == ([second], (1, 24))


async def test_an_identical_file_is_known_by_its_hash_to_the_model_that_encoded_it(images):
    [id_] = await read(images, ref())
    known = await images.embedding_of_hash(1, f"hash-{id_}", CARD.key)
    assert (known.width, known.height) == (640, 480)
    assert np.array_equal(known.embedding, unit_embedding(id_))
    assert await images.embedding_of_hash(1, f"hash-{id_}", OTHER.key) is None
    assert await images.embedding_of_hash(1, "hash-of-nothing", CARD.key) is None
    assert await images.embedding_of_hash(2, f"hash-{id_}", CARD.key) is None, "another guild's"


async def test_a_returned_embedding_is_a_writable_copy(images):
    [id_] = await read(images, ref())
    vector = await images.embedding(id_, CARD.key)
    vector[0] = 1
    assert not np.array_equal(vector, await images.embedding(id_, CARD.key))
