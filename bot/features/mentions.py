"""What a message that mentions the bot asks: `@Magpie find a cat`, `similar`, `help`; answered for everyone there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import EXCUSE_S, LONGEST_ANSWER_S, excuse, in_time, sentence_view
from bot.discord_io.components import View
from bot.discord_io.messages import channel_ref
from bot.discord_io.permissions import ChannelAudience, bot_may_write
from bot.errors import TookTooLong
from bot.features.formatting import short_plain
from bot.features.mention_words import Request, Wish, read_request
from bot.features.paging import Asking
from bot.features.search import QUERY_LIMIT
from bot.i18n import Texts, texts_for
from bot.logging import get_logger
from bot.models import ChannelRef, SearchResult
from bot.search.question import Question

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

log = get_logger(__name__)


class MentionsCog(commands.Cog, name="mentions"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        here = channel_ref(message.channel)
        if message.guild is None or here is None or message.author.bot:
            return
        request = read_request(message.content, self._bot.own_id, most_words=QUERY_LIMIT)
        if request is None or not bot_may_write(message.guild, message.channel):
            return
        try:
            self._bot.services.pages.count_public(message.author.id)
        except app_commands.CommandOnCooldown:
            return  # a public answer to each mention of a flood would only add to it
        await self._reply(message, message.guild, here, request)

    async def _reply(self, message: discord.Message, guild: discord.Guild, here: ChannelRef, request: Request) -> None:
        pages, texts = self._bot.services.pages, texts_for(guild.preferred_locale)
        asked: tuple[Asking, SearchResult] | None = None
        try:
            view: View
            if request.wish is Wish.HELP:
                view = sentence_view(f"{texts.mentions.help}\n{texts.mentions.more_help}")
            elif request.wish is Wish.UNKNOWN:
                view = sentence_view(texts.mentions.unknown)
            else:
                asked = await in_time(self._search(message, guild, here, request, texts), LONGEST_ANSWER_S)
                view = pages.first_page(*asked)
        except Exception as error:
            view = sentence_view(excuse(error, texts, message.id))
        try:
            sent = await in_time(message.reply(view=view, mention_author=False), EXCUSE_S)
        except (discord.HTTPException, TookTooLong) as error:
            # The bot may not write here, the question is deleted, or Discord does not answer.
            log.info("the answer did not arrive", error=type(error).__name__, message_id=message.id)
            return
        if asked is not None:
            asking, result = asked
            await pages.remember_public(message.channel, sent.id, result, covered=asking.covered)

    async def _search(
        self, message: discord.Message, guild: discord.Guild, here: ChannelRef, request: Request, texts: Texts
    ) -> tuple[Asking, SearchResult]:
        services, asker = self._bot.services, (guild.id, message.author.id)
        notes, covered = [texts.search.only_public], False
        if request.wish is Wish.FIND:
            question = Question(request.words, folded=True)
            heading = texts.search.query.format(query=short_plain(request.words))
            notes += services.hints.about(request.words, texts)
        else:
            about = await services.query_images.asked_about(message)
            query = await services.query_images.from_message(asker, about)
            question, heading = query.question, texts.search.similar
            covered = query.spoiler  # what looks like a covered picture would tell everyone here what that shows
            if query.siblings:
                notes.append(texts.mentions.first_of_several)
        audience = ChannelAudience(guild, here, services.messages.refusals)
        result = await services.search.ask(audience, question)
        asking = Asking(message.id, *asker, question, f"**{heading}**", texts, notes=tuple(notes), covered=covered)
        return asking, result
