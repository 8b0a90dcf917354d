"""Image search by words: /find; and /browse, which lists what filters leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, sentence_view
from bot.discord_io.components import Press, View
from bot.discord_io.permissions import asker_of, audience_of, channel_audience_of, may_write
from bot.errors import MayNotShare
from bot.features.filters import Limits, SearchedPlace, suggest_dates, suggest_tags, understand
from bot.features.formatting import short_plain
from bot.features.paging import Asking
from bot.features.result_page import LARGEST_PAGE
from bot.i18n import ENGLISH, texts_for
from bot.i18n.catalog import SearchTexts
from bot.models import SearchResult, Sort
from bot.search.question import Question
from bot.search.service import Audience

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

T = TypeVar("T")

QUERY_LIMIT = 300

# Queries for each member and number of seconds.
private_cooldown = app_commands.checks.cooldown(15, 10.0)

Words = app_commands.Range[str, 1, QUERY_LIMIT]
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a member wants to see, beside the limits. words: None lists everything. unlike: what not to see. image: a
    picture that is to be like. count: how many at most. shared: whether everybody in the channel sees the answer.
    """

    words: str | None = None
    unlike: str | None = None
    image: discord.Attachment | None = None
    count: int | None = None
    shared: bool = False


class SearchCog(commands.Cog, name="search"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        self._bot.actions.add(page=self._turn_page)

    @app_commands.command(name="find", description="Find pictures by what they show")
    @app_commands.describe(
        query="What the picture shows, in a few words",
        sort=_BEST_BY_DEFAULT,
        exclude="What the picture must not show, in a few words",
        image="A picture to start from; the words say what is different",
        share="Show the answer to everyone here, with only what all of them can see",
        **_LIMITS,
    )
    @app_commands.choices(sort=_sorts(*Sort))
    @app_commands.guild_only()
    @private_cooldown
    async def find(
        self,
        interaction: Interaction,
        query: Words,
        channel: SearchedPlace | None = None,
        author: discord.User | None = None,
        after: Typed | None = None,
        before: Typed | None = None,
        tag: Typed | None = None,
        exclude: Words | None = None,
        image: discord.Attachment | None = None,
        sort: app_commands.Choice[str] | None = None,
        count: Count | None = None,
        share: bool = False,
    ) -> None:
        limits = Limits(channel, author, after, before, tag, Sort(sort.value) if sort is not None else Sort.BEST)
        await self._answer(interaction, limits, Wanted(query, exclude, image, count, share))

    @app_commands.command(
        name="browse", description="Look through pictures by who posted them, when, and how they are tagged"
    )
    @app_commands.describe(sort=_NEWEST_BY_DEFAULT, **_LIMITS)
    @app_commands.choices(sort=_sorts(Sort.NEWEST, Sort.OLDEST))
    @app_commands.guild_only()
    @private_cooldown
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
        await self._answer(interaction, limits, Wanted(count=count))

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

    async def _turn_page(self, press: Press) -> None:
        await self._bot.services.pages.turn(press)

    async def _answer(self, interaction: Interaction, limits: Limits, wanted: Wanted) -> None:
        pages = self._bot.services.pages
        audience = channel_audience_of(interaction) if wanted.shared else audience_of(interaction)
        if wanted.shared:
            for permissions in (interaction.permissions, interaction.app_permissions):
                if not may_write(interaction.channel, permissions):
                    raise MayNotShare
            pages.count_public(interaction.user.id)
        search = self._search(interaction, audience, limits, wanted)
        (asking, result), message_id = await _while_deferring(interaction, search, ephemeral=not wanted.shared)
        view: View
        if limits.place is not None and not result.searched and not result.unverified:
            view = sentence_view(asking.texts.search.channel_empty)
        else:
            view = pages.first_page(asking, result)
        if wanted.shared and message_id is not None:  # before it is shown: a deletion at any moment takes it along
            await pages.remember_public(interaction.channel, message_id, result, covered=asking.covered)
        await interaction.edit_original_response(view=view)

    async def _search(
        self, interaction: Interaction, audience: Audience, limits: Limits, wanted: Wanted
    ) -> tuple[Asking, SearchResult]:
        services, asker, shared = self._bot.services, asker_of(interaction), wanted.shared
        texts = texts_for(interaction.guild_locale if shared else interaction.locale)
        understood = await understand(limits, texts.search, services.tag_formatter)
        image = None if wanted.image is None else await services.query_images.from_attachment(asker, wanted.image)
        question = Question(
            wanted.words,
            image=None if image is None else image.embedding,
            model=None if image is None else image.model,
            unlike=wanted.unlike,
            channels=understood.channels,
            filter=understood.filter,
            sort=limits.sort,
            folded=True,
            page_size=None if wanted.count is None else min(wanted.count, LARGEST_PAGE),
            limit=wanted.count,
        )
        result = await services.search.ask(audience, question)
        # What looks like a covered picture would tell everyone here what that shows.
        covered = shared and image is not None and image.spoiler
        heading = " · ".join((*_said(wanted, texts.search), *understood.said))
        notes = [texts.search.only_public] if shared else []
        if wanted.words is not None:
            hints = services.hints
            notes += hints.about(wanted.words, texts) if shared else hints.for_member(asker, wanted.words, texts)
        return Asking(interaction.id, *asker, question, heading, texts, tuple(notes), covered), result

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

    @commands.Cog.listener("on_message")
    async def added_to_a_thread(self, message: discord.Message) -> None:
        if message.type is discord.MessageType.recipient_add:
            await self.access_changed(message)


async def _while_deferring(interaction: Interaction, search: Awaitable[T], *, ephemeral: bool) -> tuple[T, int | None]:
    """Searches while Discord acknowledges the deferral. Nothing may be sent to Discord before it has. Returns the id of
    the message that is to show what was found, too.
    """
    deferral = asyncio.create_task(interaction.response.defer(ephemeral=ephemeral, thinking=True))
    try:
        found = await search
    finally:
        deferred = await deferral
    return found, deferred.message_id if deferred is not None else None


def _said(wanted: Wanted, texts: SearchTexts) -> Iterator[str]:
    """What was asked for, as the answer repeats it."""
    subject = texts.pictures if wanted.words is None else texts.query.format(query=short_plain(wanted.words))
    yield f"**{subject}**"
    if wanted.image is not None:
        yield texts.like_image
    if wanted.unlike is not None:
        yield texts.without.format(what=short_plain(wanted.unlike))
