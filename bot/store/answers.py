"""AnswerStore: the images of the last day's answers, so that their pages can be turned."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.models import Answer, Asked, Ranked, first_message_at
from bot.store.backend import any_of, insert
from bot.store.database import Store, erases, reads, writes
from bot.store.deletion import add_guild
from bot.store.schema import answer_images, answers, images

LIFETIME = timedelta(days=1)


class AnswerStore(Store):
    """Cascading keys delete an image from every answer, and an answer with its guild."""

    @writes
    async def save(self, connection: AsyncConnection, answer: Answer) -> None:
        """Leaves out what was deleted since the search."""
        if not await add_guild(connection, answer.guild_id):
            return
        ids = any_of(ranked.image_id for ranked in answer.ranking)
        known = set((await connection.execute(select(images.c.id).where(images.c.id.in_(ids)))).scalars())
        row = {
            "id": answer.id,
            "guild_id": answer.guild_id,
            "asked": answer.asked,
            "page_size": answer.page_size,
            "more": answer.more,
            "nearest": answer.nearest,
            "covered": answer.covered,
            "threshold": answer.threshold,
        }
        await connection.execute(insert(connection, answers).values(row).on_conflict_do_nothing())
        ranking = [
            {"answer_id": answer.id, "rank": rank, "image_id": one.image_id, "score": one.score, "look": one.look}
            | {"written": one.written}
            for rank, one in enumerate(answer.ranking)
            if one.image_id in known
        ]
        if ranking:
            await connection.execute(insert(connection, answer_images).on_conflict_do_nothing(), ranking)

    @reads
    async def get(self, connection: AsyncConnection, answer_id: int, guild_id: int) -> Answer | None:
        """None where it is older than a day, or was given in another guild."""
        this = answers.c.id == answer_id, answers.c.guild_id == guild_id, answers.c.id >= self._oldest()
        row = (await connection.execute(select(answers).where(*this))).first()
        if row is None:
            return None
        columns = answer_images.c["image_id", "score", "look", "written"]
        query = select(*columns).where(answer_images.c.answer_id == answer_id).order_by(answer_images.c.rank)
        return Answer(
            id=row.id,
            guild_id=row.guild_id,
            asked=Asked(row.asked),
            ranking=tuple(
                Ranked(row.image_id, row.score, row.look, bool(row.written)) for row in await connection.execute(query)
            ),
            page_size=row.page_size,
            more=bool(row.more),
            nearest=bool(row.nearest),
            threshold=row.threshold,
            covered=bool(row.covered),
        )

    @erases
    async def purge(self, connection: AsyncConnection) -> int:
        """Deletes those that are older than a day. Returns how many."""
        return (await connection.execute(delete(answers).where(answers.c.id < self._oldest()))).rowcount

    def _oldest(self) -> int:
        return first_message_at(self._now() - LIFETIME)
