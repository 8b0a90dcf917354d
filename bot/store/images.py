"""ImageStore: everything that is remembered of images, and how it is forgotten.

Each method is one transaction but `vectors` and `requeue_for_model`, which are many.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, exists, select

from bot.models import ChannelRef, Image, ImageRef, ImageState, ThreadKind, utc_now
from bot.store import forgetting, lifecycle, requeue, tombstones
from bot.store import vectors as vector_rows
from bot.store.database import Database
from bot.store.lifecycle import ENCODING_FAILED, INTERRUPTED, Finished
from bot.store.rows import Half, chunks, image_columns, load_images
from bot.store.tables import channels, guilds, images
from bot.store.vectors import KnownVector, Model, VectorChunk

_KINDS = {kind.value: kind for kind in ThreadKind}

__all__ = ["ENCODING_FAILED", "INTERRUPTED", "Finished", "KnownVector", "Model", "ImageStore", "VectorChunk"]


class ImageStore:
    """Every method may raise StoreBusy or StoreUnusable; then nothing of it was done. Times carry a zone."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = clock

    # -- the life of an image

    async def accept(self, refs: Sequence[ImageRef]) -> list[Image]:
        """Commits these as pending and gives those that are new, in the order given; skips known and forgotten ones."""
        if not refs:
            return []
        return await self._database.write(lambda connection: lifecycle.accept(connection, refs, self._now()))

    async def due(self, limit: int, now: datetime, *, exclude: Collection[int] = ()) -> list[Image]:
        """At most `limit` pending images whose time has come. exclude: ids that are in hand as this is called."""
        left_out = tuple(exclude)  # on its thread the transaction would see the caller's collection change
        return await self._database.read(lambda connection: lifecycle.due(connection, limit, now, left_out))

    async def begin(self, next_attempts: Mapping[int, datetime]) -> None:
        """Counts an attempt for each of these and sets the time of the next, should this one never end.

        So an image that kills the process costs one attempt each time, and others that were under way get out of its
        way. Forgotten ones are passed over.
        """
        if next_attempts:
            await self._database.write(lambda connection: lifecycle.begin(connection, next_attempts))

    async def release(self, ids: Collection[int]) -> None:
        """Takes the attempt back that `begin` counted: these were let go for no fault of theirs, and are due now."""
        await self._database.write(lambda connection: lifecycle.release(connection, ids, self._now()))

    async def finish(self, batch: Sequence[Finished], model: Model) -> set[int]:
        """Image, vector and tags of a whole batch. Gives the ids that became ready; the rest was forgotten."""
        for item in batch:
            if item.vector.shape != (model.dimension,):
                raise ValueError(f"image {item.image_id}: a vector of {item.vector.shape}, not ({model.dimension},)")
        if not batch:
            return set()
        return await self._database.write(lambda connection: lifecycle.finish(connection, batch, model))

    async def postpone(self, image_id: int, next_attempt: datetime, reason: str) -> bool:
        """The attempt that was begun failed; sets the time of the next. False when the image is no longer pending."""
        return await self._database.write(lambda at: lifecycle.postpone(at, image_id, next_attempt, reason))

    async def park(self, image_id: int, reason: str) -> bool:
        """Gives the image up, with a reason. False when it is no longer pending."""
        return await self._database.write(lambda at: lifecycle.park(at, image_id, reason))

    async def requeue_for_model(self, model_key: str, *, portion: int = requeue.PORTION) -> int:
        """Makes pending again what another model read, with `reread` set, and what a model failed on.

        In many transactions; a call that ends early leaves the rest to the next one. Gives the number queued.
        """
        queued = 0
        for walk in await self._database.read(lambda at: requeue.plan(at, model_key)):
            after: requeue.Key | None = walk.start
            while after is not None:
                taking = partial(requeue.take, walk=walk, after=after, size=portion, now=self._now())
                some, after = await self._database.write(taking)
                queued += some
        return queued

    # -- reading

    async def get(self, ids: Collection[int]) -> dict[int, Image]:
        """The images of these ids that are still remembered, in any state."""

        def work(connection: Connection) -> dict[int, Image]:
            found: dict[int, Image] = {}
            for some in chunks(ids):
                query = image_columns().where(images.c.id.in_(some))
                found.update({image.id: image for image in load_images(connection, query)})
            return found

        return await self._database.read(work)

    async def by_message(self, message_id: int) -> list[Image]:
        """The images of one message, in the order in which they were accepted."""
        query = image_columns().where(images.c.message_id == message_id).order_by(images.c.id)
        return await self._database.read(lambda connection: load_images(connection, query))

    async def vector(self, image_id: int, model_key: str) -> Half | None:
        """float16 [dim], unit length; None where this model has not read the image."""
        return await self._database.read(lambda at: vector_rows.vector_of(at, image_id, model_key))

    async def vector_of_hash(self, content_hash: str, model_key: str) -> KnownVector | None:
        """What this model found in an identical file before, wherever that was posted."""
        return await self._database.read(lambda at: vector_rows.vector_of_hash(at, content_hash, model_key))

    async def vectors(
        self, guild_id: int, model_key: str, *, chunk: int = vector_rows.CHUNK
    ) -> AsyncIterator[VectorChunk]:
        """A server's vectors of this model, by rising id, at most `chunk` rows at a time.

        Each chunk is its own transaction: what is finished or forgotten meanwhile may or may not be among the rest.
        """
        after = 0
        while (rows := await self._chunk(guild_id, model_key, after, chunk)) is not None:
            yield rows
            after = int(rows.ids[-1])

    async def _chunk(self, guild_id: int, model_key: str, after: int, size: int) -> VectorChunk | None:
        return await self._database.read(lambda at: vector_rows.chunk_after(at, guild_id, model_key, after, size))

    async def places(self, guild_id: int) -> list[ChannelRef]:
        """The channels and threads of this server that have a searchable image."""
        ready = exists().where(images.c.channel_id == channels.c.id, images.c.state == ImageState.READY)
        query = select(*channels.c["id", "parent_id", "thread"]).where(channels.c.guild_id == guild_id, ready)

        def work(connection: Connection) -> list[ChannelRef]:
            # A large server has tens of thousands of threads: looked up in a dict, a kind costs a tenth of a call.
            rows = connection.execute(query)
            return [ChannelRef(guild_id, id_, parent_id, _KINDS[thread]) for id_, parent_id, thread in rows]

        return await self._database.read(work)

    async def guild_ids(self) -> list[int]:
        """Every server of which anything is kept."""

        def work(connection: Connection) -> list[int]:
            return list(connection.execute(select(guilds.c.id).order_by(guilds.c.id)).scalars())

        return await self._database.read(work)

    # -- forgetting: rows go and tombstones come in one transaction; each gives the ids of the deleted images

    async def forget_messages(self, ids: Collection[int]) -> list[int]:
        return await self._erase(lambda at: forgetting.forget_messages(at, ids, self._now()))

    async def forget_attachments(self, message_id: int, attachment_ids: Collection[int]) -> list[int]:
        """Takes these out of one message; the same attachments in other messages stay."""
        return await self._erase(lambda at: forgetting.forget_attachments(at, message_id, attachment_ids, self._now()))

    async def forget_channel(self, channel_id: int) -> list[int]:
        """The channel, the threads under it, and their settings."""
        return await self._erase(lambda at: forgetting.forget_channel(at, channel_id, self._now()))

    async def forget_guild(self, guild_id: int) -> list[int]:
        """Everything of the server. Nothing of it is accepted again until `welcome_guild`."""
        return await self._erase(lambda at: forgetting.forget_guild(at, guild_id, self._now()))

    async def forget_author(self, guild_id: int, author_id: int, *, up_to_message: int | None = None) -> list[int]:
        """All of a member's images in a server.

        up_to_message: images in messages up to this id are not accepted again, known or not yet; by default, every
        message posted by now. What the member posts later is remembered.
        """
        cutoff = forgetting.last_message_of(self._now()) if up_to_message is None else up_to_message
        return await self._erase(lambda at: forgetting.forget_author(at, guild_id, author_id, cutoff))

    async def welcome_guild(self, guild_id: int) -> None:
        """The bot was invited again: what is posted there from now on is remembered."""
        await self._database.write(lambda connection: tombstones.lift_guild(connection, guild_id))

    async def _erase(self, work: Callable[[Connection], list[int]]) -> list[int]:
        return await self._database.write(work, erases=True)
