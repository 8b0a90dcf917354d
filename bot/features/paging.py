"""Answers of several pages: kept for a day, so that their buttons work, and each page checked afresh."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import discord
from discord import app_commands
from discord.ext import commands, tasks

from bot.discord_io.answers import answer
from bot.discord_io.components import Press, View
from bot.discord_io.messages import channel_ref
from bot.discord_io.permissions import audience_of, channel_audience_of
from bot.discord_io.replies import PublicReplies
from bot.errors import StoreError
from bot.features.formatting import TagFormatter
from bot.features.result_page import Frame, Shown, page_view
from bot.i18n import Texts, texts_for
from bot.logging import get_logger
from bot.models import Answer, SearchResult
from bot.search.question import Question
from bot.search.service import SearchService
from bot.store.answers import AnswerStore
from clipcore.types import ModelCard

log = get_logger(__name__)

# Public answers for each member and number of seconds: everyone in the channel gets them.
_PUBLIC_COOLDOWN = (4, 30.0)


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asked what, and how the answer says so. id: of the interaction or message. covered: whether what is found is
    shown as spoilers, since that is what was asked about.
    """

    id: int
    guild_id: int
    member_id: int
    question: Question
    heading: str
    texts: Texts
    notes: tuple[str, ...] = ()
    covered: bool = False


class AnswerPages:
    """An answer is written down while its first page is sent. Where that fails, its buttons say that it has expired."""

    def __init__(
        self,
        store: AnswerStore,
        search: SearchService,
        replies: PublicReplies,
        tags: TagFormatter,
        model: ModelCard,
        *,
        page_size: int,
    ) -> None:
        self._store = store
        self._search = search
        self._replies = replies
        self._tags = tags
        self._model = model
        self._page_size = page_size
        self._saving: dict[int, asyncio.Task[None]] = {}
        self._public: commands.CooldownMapping[int] = commands.CooldownMapping.from_cooldown(
            *_PUBLIC_COOLDOWN, lambda member_id: member_id
        )

    def use(self, model: ModelCard) -> None:
        """From now on, also for the pages of answers that another model gave."""
        self._model = model

    def start(self) -> None:
        self._purge.start()

    async def close(self) -> None:
        """Waits until every answer is written down. Idempotent."""
        purging = self._purge.get_task()
        self._purge.cancel()
        await asyncio.gather(*self._saving.values(), *filter(None, [purging]), return_exceptions=True)

    def count_public(self, member_id: int) -> None:
        """The member is about to get an answer that everybody in the channel sees. Raises CommandOnCooldown."""
        cooldown = self._public.get_bucket(member_id)
        if cooldown is not None and (seconds := cooldown.update_rate_limit()):
            raise app_commands.CommandOnCooldown(cooldown, seconds)

    def first_page(self, asking: Asking, result: SearchResult) -> View:
        question = asking.question
        page_size = question.page_size or self._page_size
        if result.ranking:
            kept = Answer(
                id=asking.id,
                guild_id=asking.guild_id,
                asked=question.asked,
                ranking=result.ranking,
                page_size=page_size,
                more=result.more,
                nearest=result.nearest,
                threshold=result.threshold,
                covered=asking.covered,
            )
            self._saving[kept.id] = asyncio.create_task(self._save(kept), name="keep an answer")
        frame = Frame(
            answer_id=asking.id,
            owner=asking.member_id,
            asked=question.asked,
            heading=asking.heading,
            texts=asking.texts,
            tags=self._tags,
            logit_scale=self._model.logit_scale,
            page_size=page_size,
            covered=asking.covered,
            limited=question.is_limited,
            notes=asking.notes,
        )
        return page_view(result, Shown(folded=question.folded), frame)

    async def turn(self, press: Press) -> None:
        """Shows another page, or the same one in another way, of an answer of the member's own."""
        interaction, message = press.interaction, press.interaction.message
        assert message is not None  # noqa: S101 - a button belongs to a message
        await interaction.response.defer()
        public = not message.flags.ephemeral
        texts = texts_for(interaction.guild_locale if public else interaction.locale)
        answer_id, page, flags = press.arguments
        kept = await self._kept(int(answer_id), interaction.guild_id or 0)
        if kept is None:
            await answer(interaction, texts_for(interaction.locale).search.expired)
            return
        shown = Shown.of(page, flags)
        audience = channel_audience_of(interaction) if public else audience_of(interaction)
        result = await self._search.page(audience, kept, shown.page, folded=shown.folded)
        frame = Frame(
            answer_id=kept.id,
            owner=interaction.user.id,
            asked=kept.asked,
            heading=_heading_of(message),
            texts=texts,
            tags=self._tags,
            logit_scale=self._model.logit_scale,
            page_size=kept.page_size,
            covered=kept.covered,
            notes=(texts.search.only_public,) if public else (),
        )
        if public:  # before it is shown, so that a deletion at any moment takes the message along
            await self.remember_public(interaction.channel, message.id, result, covered=kept.covered, besides=True)
        await interaction.edit_original_response(view=page_view(result, shown, frame))

    async def remember_public(
        self, channel: object, message_id: int, result: SearchResult, *, covered: bool, besides: bool = False
    ) -> None:
        """A message that everybody in the channel can see shows this page; besides: and showed others."""
        where = channel_ref(channel)
        if where is not None and result.matches:
            ids = [match.image.id for match in result.matches]
            spoilers = [match.image.id for match in result.matches if covered or match.remote.spoiler]
            await self._replies.remember(where, message_id, ids, spoilers, besides=besides)

    async def _kept(self, answer_id: int, guild_id: int) -> Answer | None:
        if (saving := self._saving.get(answer_id)) is not None:
            await asyncio.shield(saving)
        return await self._store.get(answer_id, guild_id)

    async def _save(self, kept: Answer) -> None:
        try:
            await self._store.save(kept)
        except StoreError as error:
            log.warning("an answer is not kept, so its pages cannot be turned", answer_id=kept.id, error=str(error))
        finally:
            del self._saving[kept.id]

    @tasks.loop(hours=1)
    async def _purge(self) -> None:
        try:
            await self._store.purge()
        except StoreError as error:  # those that are too old are not given out, and the next hour comes
            log.warning("old answers are not deleted yet", error=str(error))


def _heading_of(message: discord.Message) -> str:
    """What was asked stands in the message alone: it is stored nowhere."""
    first = message.components[0] if message.components else None
    return first.content if isinstance(first, discord.TextDisplay) else "…"
