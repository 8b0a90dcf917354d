"""Image search: /find, /similar, the message menu, a mention in a reply, and the button below a result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import (
    EXCUSE_S,
    LONGEST_ANSWER_S,
    Interaction,
    answer,
    excuse,
    in_time,
    sentence_view,
)
from bot.discord_io.components import Press, View
from bot.discord_io.messages import channel_ref
from bot.discord_io.permissions import ChannelAudience, MemberAudience, asker_of, audience_of
from bot.errors import TookTooLong
from bot.features.filters import Limits, SearchedPlace, suggest_dates, suggest_tags, understand
from bot.features.formatting import short_plain
from bot.features.paging import Asking
from bot.features.query_image import QueryImage, is_similar_request
from bot.features.result_page import LARGEST_PAGE
from bot.i18n import ENGLISH, Texts, texts_for
from bot.logging import get_logger
from bot.models import ChannelRef, SearchResult, Sort
from bot.search.question import Question

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

log = get_logger(__name__)

QUERY_LIMIT = 300

# Queries for each member and number of seconds. The answer to a mention is public: everyone in the channel gets it.
_PRIVATE_COOLDOWN = (15, 10.0)
_PUBLIC_COOLDOWN = (4, 30.0)
_cooldown = app_commands.checks.cooldown(*_PRIVATE_COOLDOWN)

Typed = app_commands.Range[str, 1, 100]
Count = app_commands.Range[int, 1, 25]
_LIMITS = {
    "channel": "Only pictures in this channel or category",
    "author": "Only pictures that this member posted",
    "after": "Only pictures since then: a date, or 3 weeks ago",
    "before": "Only pictures from before then: a date, or 3 weeks ago",
    "tag": "Only pictures with this tag",
    "count": "How many pictures at most; a page shows ten",
}
_BEST_BY_DEFAULT = "What comes first; by default, the best match"
_NEWEST_BY_DEFAULT = "What comes first; by default, the newest"

_OfGuild = discord.abc.GuildChannel | discord.Thread | discord.Role | discord.Member | discord.Message


def _sorts(*sorts: Sort) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=ENGLISH.search.sorted_by[sort], value=sort.value) for sort in sorts]


class SearchCog(commands.Cog, name="search"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        self._mentions: commands.CooldownMapping[discord.Message] = commands.CooldownMapping.from_cooldown(
            *_PUBLIC_COOLDOWN, lambda message: message.author.id
        )
        # A context menu cannot be declared in a class (discord.py raises TypeError), so it is added by hand.
        self._menu = app_commands.ContextMenu(name="Find similar pictures", callback=self._similar_menu)
        app_commands.guild_only(self._menu)

    async def cog_load(self) -> None:
        self._bot.tree.add_command(self._menu)
        self._bot.actions.add(like=self._more_like_this, page=self._turn_page)

    async def cog_unload(self) -> None:
        self._bot.tree.remove_command(self._menu.name, type=self._menu.type)

    @app_commands.command(name="find", description="Find pictures by what they show")
    @app_commands.describe(query="What the picture shows, in a few words", sort=_BEST_BY_DEFAULT, **_LIMITS)
    @app_commands.choices(sort=_sorts(*Sort))
    @app_commands.guild_only()
    @_cooldown
    async def find(
        self,
        interaction: Interaction,
        query: app_commands.Range[str, 1, QUERY_LIMIT],
        channel: SearchedPlace | None = None,
        author: discord.User | None = None,
        after: Typed | None = None,
        before: Typed | None = None,
        tag: Typed | None = None,
        sort: app_commands.Choice[str] | None = None,
        count: Count | None = None,
    ) -> None:
        limits = Limits(channel, author, after, before, tag, Sort(sort.value) if sort is not None else Sort.BEST)
        await _while_deferring(interaction, self._find(interaction, limits, query, count))

    @app_commands.command(
        name="browse", description="Look through pictures by who posted them, when, and how they are tagged"
    )
    @app_commands.describe(sort=_NEWEST_BY_DEFAULT, **_LIMITS)
    @app_commands.choices(sort=_sorts(Sort.NEWEST, Sort.OLDEST))
    @app_commands.guild_only()
    @_cooldown
    async def browse(
        self,
        interaction: Interaction,
        channel: SearchedPlace | None = None,
        author: discord.User | None = None,
        after: Typed | None = None,
        before: Typed | None = None,
        tag: Typed | None = None,
        sort: app_commands.Choice[str] | None = None,
        count: Count | None = None,
    ) -> None:
        limits = Limits(channel, author, after, before, tag, Sort(sort.value) if sort is not None else Sort.NEWEST)
        await _while_deferring(interaction, self._find(interaction, limits, None, count))

    async def _find(
        self, interaction: Interaction, limits: Limits, query: str | None = None, count: int | None = None
    ) -> View:
        texts = texts_for(interaction.locale)
        understood = await understand(limits, interaction)
        question = Question(
            query,
            channels=understood.channels,
            filter=understood.filter,
            sort=limits.sort,
            folded=True,
            page_size=None if count is None else min(count, LARGEST_PAGE),
            limit=count,
        )
        result = await self._bot.services.search.ask(audience_of(interaction), question)
        if limits.place is not None and not result.searched and not result.unverified:
            return sentence_view(texts.search.channel_empty)
        subject = texts.search.pictures if query is None else texts.search.query.format(query=short_plain(query))
        heading = " · ".join((f"**{subject}**", *understood.said))
        return self._bot.services.pages.first_page(_asking(interaction, question, heading), result)

    @find.autocomplete("after")
    @find.autocomplete("before")
    @browse.autocomplete("after")
    @browse.autocomplete("before")
    async def _suggest_dates(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggest_dates(interaction, typed)

    @find.autocomplete("tag")
    @browse.autocomplete("tag")
    async def _suggest_tags(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggest_tags(interaction, typed)

    @app_commands.command(name="similar", description="Find pictures similar to one that you give")
    @app_commands.describe(image="The picture to compare with", message="A link to a message with a picture")
    @app_commands.guild_only()
    @_cooldown
    async def similar(
        self,
        interaction: Interaction,
        image: discord.Attachment | None = None,
        message: app_commands.Range[str, 1, QUERY_LIMIT] | None = None,
    ) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        query_images, audience = self._bot.services.query_images, audience_of(interaction)
        if image is not None and message is None:
            query = await query_images.from_attachment(asker_of(interaction), image)
        elif message is not None and image is None:
            query = await query_images.from_link(asker_of(interaction), audience, message)
        else:
            await answer(interaction, texts_for(interaction.locale).query_image.exactly_one)
            return
        await answer_similar(interaction, audience, query)

    @_cooldown
    async def _similar_menu(self, interaction: Interaction, message: discord.Message) -> None:
        """Discord offers the menu only to those who see the message, and sends the message along."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        query = await self._bot.services.query_images.from_message(asker_of(interaction), message)
        await answer_similar(interaction, audience_of(interaction), query)

    async def _turn_page(self, press: Press) -> None:
        await self._bot.services.pages.turn(press)

    async def _more_like_this(self, press: Press) -> None:
        """Images similar to one indexed image, which the member who presses it needs to see themselves."""
        [image_id] = press.values or press.arguments  # of the menu, or of a button of an earlier version
        await press.interaction.response.defer(ephemeral=True, thinking=True)
        audience = audience_of(press.interaction)
        query = await self._bot.services.query_images.from_image_id(audience, int(image_id))
        await answer_similar(press.interaction, audience, query)

    @commands.Cog.listener("on_guild_available")
    @commands.Cog.listener("on_guild_update")
    @commands.Cog.listener("on_guild_channel_update")
    @commands.Cog.listener("on_guild_role_update")
    @commands.Cog.listener("on_guild_role_delete")
    @commands.Cog.listener("on_member_update")
    @commands.Cog.listener("on_thread_join")
    @commands.Cog.listener("on_thread_update")
    async def access_changed(self, *changed: discord.Guild | _OfGuild) -> None:
        """What Discord refused it may grant now. The last argument of each of these events is what changed."""
        guild = changed[-1] if isinstance(changed[-1], discord.Guild) else changed[-1].guild
        if guild is not None:
            self._bot.services.messages.refusals.forget(guild.id)

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """A reply to an image that mentions the bot with "similar": a slash command cannot know what it replies to."""
        if message.type is discord.MessageType.recipient_add:  # somebody was added to a thread
            await self.access_changed(message)
        if message.guild is None or message.author.bot or not is_similar_request(message, self._bot.own_id):
            return
        here = channel_ref(message.channel)
        if here is None or self._mentions.update_rate_limit(message) is not None:
            return  # a public answer to each mention of a flood would only add to it
        services, texts = self._bot.services, texts_for(message.guild.preferred_locale)
        result, covered = None, False
        try:
            query, result = await in_time(self._similar_to_reply(message, message.guild, here), LONGEST_ANSWER_S)
            # What looks like a covered picture would tell everyone here what that shows.
            covered = query.spoiler
            asking = Asking(
                message.id,
                message.guild.id,
                message.author.id,
                query.question,
                _similar(texts),
                texts,
                note=texts.search.only_public,
                covered=covered,
            )
            view = services.pages.first_page(asking, result)
        except Exception as error:
            view = sentence_view(excuse(error, texts, message.id))
        try:
            sent = await in_time(message.reply(view=view, mention_author=False), EXCUSE_S)
        except (discord.HTTPException, TookTooLong) as error:
            # The bot may not write here, the question is deleted, or Discord does not answer.
            log.info("the answer did not arrive", error=type(error).__name__, message_id=message.id)
            return
        if result is not None:
            await services.pages.remember_public(message.channel, sent.id, result, covered=covered)

    async def _similar_to_reply(
        self, message: discord.Message, guild: discord.Guild, here: ChannelRef
    ) -> tuple[QueryImage, SearchResult]:
        services = self._bot.services
        query = await services.query_images.from_reply((guild.id, message.author.id), message)
        audience = ChannelAudience(guild, here, services.messages.refusals)
        return query, await services.search.ask(audience, query.question)


async def answer_similar(interaction: Interaction, audience: MemberAudience, query: QueryImage) -> None:
    """Answers a deferred interaction."""
    services = interaction.client.services
    result = await services.search.ask(audience, query.question)
    asking = _asking(interaction, query.question, _similar(texts_for(interaction.locale)))
    await interaction.edit_original_response(view=services.pages.first_page(asking, result))


def _asking(interaction: Interaction, question: Question, heading: str) -> Asking:
    """For an answer that only the member sees."""
    guild_id, member_id = asker_of(interaction)
    return Asking(interaction.id, guild_id, member_id, question, heading, texts_for(interaction.locale))


def _similar(texts: Texts) -> str:
    return f"**{texts.search.similar}**"


async def _while_deferring(interaction: Interaction, search: Awaitable[View]) -> None:
    """Searches while Discord acknowledges the deferral. Nothing may be sent to Discord before it has."""
    deferral = asyncio.create_task(interaction.response.defer(ephemeral=True, thinking=True))
    try:
        view = await search
    finally:
        await deferral
    await interaction.edit_original_response(view=view)
