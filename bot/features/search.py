"""Finding images: /find, /similar, the message menu, the mention in a reply, and the button below a result.

All of them end in the same answers and the same layout. They differ in where the question's image comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.attachments import ImageChannel, place_of
from bot.discord_io.client import apologise
from bot.discord_io.permissions import ChannelAudience, MemberAudience
from bot.features.query_image import NoQuestion, Question, Questions, is_similar_request, message_link
from bot.features.search_views import (
    Look,
    MoreLikeThis,
    TagWords,
    answer_view,
    likeness_percent,
    percent,
    sentence_view,
    short_query,
)
from bot.i18n import Texts, texts_for
from clipcore.errors import EngineClosed, QueueFull

if TYPE_CHECKING:
    from bot.discord_io.client import Interaction, MagpieBot
    from bot.features.tagging import ReplyCleaner
    from bot.models import SearchResult
    from bot.search.service import Audience, SearchService
    from clipcore.types import Calibration, ModelCard


QUERY_LIMIT = 300

# Questions a person may ask within so many seconds. A public one costs everybody in the channel a message.
_OFTEN = (15, 10.0)
_SELDOM = (4, 30.0)
_unhurried = app_commands.checks.cooldown(*_OFTEN)


class SearchCog(commands.Cog, name="search"):
    def __init__(
        self,
        bot: MagpieBot,
        search: SearchService,
        questions: Questions,
        tag_words: TagWords,
        card: ModelCard,
        calibration: Calibration,
        replies: ReplyCleaner,
    ) -> None:
        self._bot = bot
        self._search = search
        self._questions = questions
        self._tag_words = tag_words
        self._card = card
        self._calibration = calibration
        self._replies = replies
        self._presses: commands.CooldownMapping[Interaction] = commands.CooldownMapping.from_cooldown(
            *_OFTEN, lambda interaction: interaction.user.id
        )
        self._mentions: commands.CooldownMapping[discord.Message] = commands.CooldownMapping.from_cooldown(
            *_SELDOM, lambda message: message.author.id
        )
        # A context menu cannot be declared in a class (discord.py raises TypeError), so it is made and added by hand.
        self._menu = app_commands.ContextMenu(name="Find similar pictures", callback=self._similar_menu)
        app_commands.guild_only(self._menu)

    async def cog_load(self) -> None:
        self._bot.tree.add_command(self._menu)
        self._bot.add_dynamic_items(MoreLikeThis)

    async def cog_unload(self) -> None:
        self._bot.tree.remove_command(self._menu.name, type=self._menu.type)
        self._bot.remove_dynamic_items(MoreLikeThis)

    @app_commands.command(name="find", description="Find pictures by what they show")
    @app_commands.describe(query="What the picture shows, in a few words", channel="Only pictures of this channel")
    @app_commands.guild_only()
    @_unhurried
    async def find(
        self,
        interaction: Interaction,
        query: app_commands.Range[str, 1, QUERY_LIMIT],
        channel: ImageChannel | None = None,
    ) -> None:
        texts = texts_for(interaction.locale)
        audience = self._audience(interaction)
        words = self._search.find(audience, query, channel.id if channel else None)
        try:
            answer = await _while_deferring(interaction, words)
        except (QueueFull, EngineClosed):
            await _say(interaction, texts.busy)
            return
        if channel is not None and not answer.searched:
            await _say(interaction, texts.channel_empty)
            return
        heading = texts.found_for_query.format(count=len(answer.matches), query=short_query(query))
        await interaction.edit_original_response(view=answer_view(answer, self._words_look(texts, heading)))

    @app_commands.command(name="similar", description="Find pictures that look like one you give")
    @app_commands.describe(image="A picture to compare with", message="A link to a message with a picture")
    @app_commands.guild_only()
    @_unhurried
    async def similar(
        self,
        interaction: Interaction,
        image: discord.Attachment | None = None,
        message: app_commands.Range[str, 1, QUERY_LIMIT] | None = None,
    ) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        texts = texts_for(interaction.locale)
        audience = self._audience(interaction)
        try:
            if image is not None and message is None:
                question = await self._questions.of_attachment(image, texts)
            elif message is not None and image is None:
                question = await self._questions.of_link(audience, message_link(message), texts)
            else:
                raise NoQuestion(texts.give_image_or_message)
        except NoQuestion as reason:
            await _say(interaction, reason.sentence)
            return
        await self._answer_likeness(interaction, audience, question, texts)

    @_unhurried
    async def _similar_menu(self, interaction: Interaction, message: discord.Message) -> None:
        """Discord shows the menu only to those who see the message, and hands the message itself over."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        texts = texts_for(interaction.locale)
        try:
            question = await self._questions.of_message(message, texts)
        except NoQuestion as reason:
            await _say(interaction, reason.sentence)
            return
        await self._answer_likeness(interaction, self._audience(interaction), question, texts)

    @commands.Cog.listener()
    async def on_more_like_this(self, interaction: Interaction, image_id: int) -> None:
        """Whoever presses is the one who asks: what the button's message once showed gives nobody a right."""
        texts = texts_for(interaction.locale)
        if (seconds := self._presses.update_rate_limit(interaction)) is not None:
            await apologise(interaction, texts.too_fast.format(seconds=max(1, round(seconds))))
            return
        await interaction.response.defer(ephemeral=True, thinking=True)
        audience = self._audience(interaction)
        image = await self._search.visible_image(audience, image_id)
        try:
            if image is None:
                raise NoQuestion(texts.message_not_found)
            question = await self._questions.of_image(image, texts)
        except NoQuestion as reason:
            await _say(interaction, reason.sentence)
            return
        await self._answer_likeness(interaction, audience, question, texts)

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """A reply to an image that names the bot and says "similar": no slash command knows what it replies to."""
        if message.guild is None or message.author.bot or not is_similar_request(message, self._bot.own_id):
            return
        texts = texts_for(message.guild.preferred_locale)
        here = place_of(message.channel)
        if here is None or self._mentions.update_rate_limit(message) is not None:
            return  # a public answer to every mention of a flood would only add to it
        try:
            question = await self._questions.of_reply(message, texts)
            answer = await self._likeness(ChannelAudience(message.guild, here), question, texts)
        except NoQuestion as reason:
            await self._reply(message, sentence_view(reason.sentence))
            return
        look = self._likeness_look(texts, answer, note=texts.only_public)
        sent = await self._reply(message, answer_view(answer, look))
        if sent is not None:
            shown = [match.image.id for match in answer.matches]
            await self._replies.remember(here, sent.id, shown)

    async def _answer_likeness(
        self, interaction: Interaction, audience: Audience, question: Question, texts: Texts
    ) -> None:
        try:
            answer = await self._likeness(audience, question, texts)
        except NoQuestion as reason:
            await _say(interaction, reason.sentence)
            return
        await interaction.edit_original_response(view=answer_view(answer, self._likeness_look(texts, answer)))

    async def _likeness(self, audience: Audience, question: Question, texts: Texts) -> SearchResult:
        try:
            return await self._search.similar(audience, question.vector, question.about)
        except (QueueFull, EngineClosed):
            raise NoQuestion(texts.busy) from None

    async def _reply(self, message: discord.Message, view: discord.ui.LayoutView) -> discord.Message | None:
        """In public. Where the bot may not write, nothing is said, and there is no message."""
        try:
            return await message.reply(view=view, mention_author=False)
        except discord.Forbidden:
            return None

    def _audience(self, interaction: Interaction) -> MemberAudience:
        """Who asks, with the roles that Discord sent along with this very interaction."""
        if interaction.guild is None or not isinstance(interaction.user, discord.Member):
            raise app_commands.NoPrivateMessage
        return MemberAudience(interaction.user, interaction.channel_id or 0)

    def _words_look(self, texts: Texts, heading: str) -> Look:
        threshold, scale = self._calibration.text_match, self._card.logit_scale
        return Look(
            texts, self._tag_words, lambda score: percent(score, threshold, scale), heading, texts.nothing_alike
        )

    def _likeness_look(self, texts: Texts, answer: SearchResult, note: str | None = None) -> Look:
        heading = texts.found_alike.format(count=len(answer.matches))
        threshold = self._calibration.image_match
        nothing = texts.nothing_looks_alike
        return Look(texts, self._tag_words, lambda score: likeness_percent(score, threshold), heading, nothing, note)


async def _while_deferring(interaction: Interaction, answering: Awaitable[SearchResult]) -> SearchResult:
    """The answer is made while Discord hears that it takes a moment. Nothing is said before Discord has heard that."""
    deferral = asyncio.create_task(interaction.response.defer(ephemeral=True, thinking=True))
    try:
        return await answering
    finally:
        await deferral


async def _say(interaction: Interaction, sentence: str) -> None:
    await interaction.edit_original_response(view=sentence_view(sentence))
