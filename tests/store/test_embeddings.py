from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.models import ChannelRef, ImageState
from bot.store.schema import Embedding
from tests.store.damage import flip_a_byte
from tests.store.samples import CARD, DIMENSION, NOON, OTHER, due, finished, ref, unit_embedding


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


@given(st.integers(0, 50), st.integers(0, 2 * DIMENSION - 1), st.integers(1, 255))
def test_every_changed_byte_of_an_embedding_is_noticed(seed, byte, change):
    stored = bytearray(unit_embedding(seed).tobytes())
    checksum = Embedding.checksum(unit_embedding(seed))
    assert Embedding.is_sound(bytes(stored), checksum)
    stored[byte] ^= change
    assert not Embedding.is_sound(bytes(stored), checksum)


@pytest.mark.parametrize("with_checksum", [True, False])
async def test_a_damaged_embedding_is_as_good_as_missing_hides_no_others_and_is_told(images, path, with_checksum):
    ids = await read(images, *(ref(message) for message in range(9)))
    damaged = [ids[2], ids[4], ids[5], ids[8]]  # of pages of two, one is damaged as a whole
    for id_ in damaged:
        flip_a_byte(path, id_, with_checksum=with_checksum)
    told = []
    images.on_damaged = told.extend
    pages = [page async for page in images.embeddings(1, CARD.key, page=2)]
    assert np.concatenate([page.ids for page in pages]).tolist() == [id_ for id_ in ids if id_ not in damaged]
    assert np.concatenate([page.embeddings for page in pages]).shape == (5, DIMENSION)
    assert told == damaged
    assert await images.embedding(ids[2], CARD.key) is None
    assert await images.embedding_of_hash(1, f"hash-{ids[4]}", CARD.key) is None
    assert told == [*damaged, ids[2], ids[4]]


async def test_only_damaged_embeddings_are_requeued(images, path):
    ids = await read(images, *(ref(message) for message in range(3)))
    flip_a_byte(path, ids[1])
    assert await images.requeue_damaged([*ids, 99]) == [ids[1]]
    assert [image.id for image in await due(images, 9, NOON + timedelta(days=9999))] == [ids[1]]
    assert await images.requeue_damaged(ids) == []
    await images.requeue_for_model(CARD.key)  # as at the next start
    [image] = (await images.get([ids[1]])).values()
    assert (image.state, image.reread) == (ImageState.PENDING, True)


async def animation(images, *, message=10, frames=3):
    [image] = await images.accept([ref(message)])
    more = tuple(unit_embedding(100 + frame) for frame in range(1, frames))
    await images.finish([finished(image.id, more=more)], CARD)
    return image.id, [unit_embedding(image.id), *more]


async def test_an_animation_keeps_its_frames_in_order_and_the_first_stands_for_it(images):
    id_, frames = await animation(images)
    [page] = [page async for page in images.embeddings(1, CARD.key)]
    assert (page.ids.tolist(), page.frames.tolist()) == ([id_] * 3, [0, 1, 2])
    assert np.array_equal(page.embeddings, np.stack(frames))
    assert np.array_equal(await images.embedding(id_, CARD.key), frames[0])
    known = await images.embedding_of_hash(1, f"hash-{id_}", CARD.key)
    assert np.array_equal([known.embedding, *known.more], frames)


async def test_the_frames_of_an_animation_are_never_in_two_pages(images):
    before = await read(images, ref(1), ref(2))
    id_, _ = await animation(images, frames=8)
    after = await read(images, ref(20), ref(21))
    pages = [page.ids.tolist() async for page in images.embeddings(1, CARD.key, page=3)]
    assert pages == [[*before, *[id_] * 8], after]


@pytest.mark.parametrize("frame", [0, 2])
async def test_a_damaged_frame_hides_its_image_and_no_other_until_it_is_encoded_again(images, path, frame):
    id_, _ = await animation(images)
    [other] = await read(images, ref(20))
    flip_a_byte(path, id_, frame=frame)
    told = []
    images.on_damaged = told.extend
    [page] = [page async for page in images.embeddings(1, CARD.key)]
    assert (page.ids.tolist(), told) == ([other], [id_])
    assert await images.embedding_of_hash(1, f"hash-{id_}", CARD.key) is None
    assert await images.requeue_damaged([id_, other]) == [id_]
    await images.finish([finished(id_)], CARD)
    [page] = [page async for page in images.embeddings(1, CARD.key)]
    assert page.ids.tolist() == [id_, other], "the frames of before are gone"


async def test_a_frame_of_another_dimension_is_refused(images):
    [image] = await images.accept([ref()])
    with pytest.raises(ValueError, match=r"\(24,\), not \(16,\)"):
        await images.finish([finished(image.id, more=(unit_embedding(1, 24),))], CARD)


async def test_an_embedding_that_is_not_finite_is_refused(images):
    [image] = await images.accept([ref()])
    with pytest.raises(ValueError, match="and finite"):
        await images.finish([finished(image.id, embedding=np.full(DIMENSION, np.inf, np.float16))], CARD)
