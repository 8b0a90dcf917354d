"""Sample images for the store's tests."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from bot.models import Answer, Asked, ChannelRef, Image, ImageRef, Ranked, Source, Tag, first_message_at, utc_now
from bot.store.images import Finished, ImageStore
from bot.store.schema import Embeddings
from clipcore.types import ModelCard

DIMENSION = 16
CARD = ModelCard("first", "r1", DIMENSION, 224, 77, 100.0)
OTHER = ModelCard("second", "r1", 24, 224, 77, 100.0)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ref(message: int = 10, attachment: int = 100, **changes: object) -> ImageRef:
    """An image by member 7 in channel 2 of guild 1."""
    place = changes.pop("place", ChannelRef(1, 2))
    values = {"source": Source.ATTACHMENT, "author_id": 7, **changes}
    return ImageRef(place, message, attachment, **values)


def unit_embedding(seed: int, dimension: int = DIMENSION) -> Embeddings:
    values = np.random.default_rng(seed).normal(size=dimension)
    return (values / np.linalg.norm(values)).astype(np.float16)


def finished(image_id: int, *, dimension: int = DIMENSION, **changes: object) -> Finished:
    values = {
        "content_hash": f"hash-{image_id}",
        "width": 640,
        "height": 480,
        "embedding": unit_embedding(image_id, dimension),
        "tags": (Tag("cat", 0.75), Tag("sofa", 0.25)),
        **changes,
    }
    return Finished(image_id, **values)


async def due(images: ImageStore, limit: int, now: datetime, *, exclude: tuple[int, ...] = ()) -> list[Image]:
    """At most `limit` due images of each author, those to be encoded again last."""
    owners = await images.next_attempts()
    found, _ = await images.due(dict.fromkeys(owners, limit), now, exclude=exclude)
    return found


def answer(*image_ids: int, id_: int | None = None, guild: int = 1) -> Answer:
    """One that was just given, with these images."""
    ranking = tuple(Ranked(image_id, 0.5 - rank / 100, rank) for rank, image_id in enumerate(image_ids))
    id_ = first_message_at(utc_now()) if id_ is None else id_
    return Answer(id_, guild, Asked.WORDS, ranking, 5, more=False, nearest=False, threshold=0.25, covered=False)
