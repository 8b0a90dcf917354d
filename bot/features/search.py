"""Image search: /find, /similar, the message menu, a mention in a reply, and the button below a result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from bot.discord_io.components import ActionButton, Press, View
from bot.discord_io.messages import channel_ref
from bot.discord_io.permissions import ChannelAudience, MemberAudience, asker_of, audience_of
from bot.errors import TookTooLong
from bot.features.filters import Limits, SearchedPlace, suggest_dates, suggest_tags, understand
from bot.features.formatting import TagFormatter, image_match_percent, short_plain, text_match_percent, visible
from bot.features.query_image import QueryImage, is_similar_request
from bot.i18n import CHINESE, ENGLISH, Texts, texts_for
from bot.logging import get_logger
from bot.models import ChannelRef, Match, SearchResult, Sort
from bot.search.question import Question

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot
    from bot.services import Services

log = get_logger(__name__)

QUERY_LIMIT = 300
_ALT_TEXT_LIMIT = 1024  # developer docs, components reference, unfurled media

# Queries for each member and number of seconds. The answer to a mention is public: everyone in the channel gets it.
_PRIVATE_COOLDOWN = (15, 10.0)
_PUBLIC_COOLDOWN = (4, 30.0)
_cooldown = app_commands.checks.cooldown(*_PRIVATE_COOLDOWN)

Typed = app_commands.Range[str, 1, 100]
_LIMITS = {
    "channel": "Only pictures in this channel or category",
    "author": "Only pictures that this member posted",
    "after": "Only pictures since then: a date, or 3 weeks ago",
    "before": "Only pictures from before then: a date, or 3 weeks ago",
    "tag": "Only pictures with this tag",
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
        self._bot.actions.add(like=self._more_like_this)

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
    ) -> None:
        limits = Limits(channel, author, after, before, tag, Sort(sort.value) if sort is not None else Sort.BEST)
        await _while_deferring(interaction, self._find(interaction, limits, query))

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
    ) -> None:
        limits = Limits(channel, author, after, before, tag, Sort(sort.value) if sort is not None else Sort.NEWEST)
        await _while_deferring(interaction, self._find(interaction, limits))

    async def _find(self, interaction: Interaction, limits: Limits, query: str | None = None) -> View:
        audience, texts = audience_of(interaction), texts_for(interaction.locale)
        understood = await understand(limits, interaction)
        question = Question(query, channels=understood.channels, filter=understood.filter, sort=limits.sort)
        result = await self._bot.services.search.ask(audience, question)
        if limits.place is not None and not result.searched and not result.unverified:
            return sentence_view(texts.search.channel_empty)
        return found_view(self._bot.services, result, texts, query, understood.said)

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

    async def _more_like_this(self, press: Press) -> None:
        """Images similar to one indexed image, which the member who presses it needs to see themselves."""
        [image_id] = press.arguments
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
        shown: list[int] = []
        covered: list[int] = []
        try:
            query, result = await in_time(self._similar_to_reply(message, message.guild, here), LONGEST_ANSWER_S)
            shown = [match.image.id for match in result.matches]
            covered = [match.image.id for match in result.matches if query.spoiler or match.remote.spoiler]
            # What looks like a covered picture would tell everyone here what that shows.
            view = similar_view(services, result, texts, note=texts.search.only_public, covered=query.spoiler)
        except Exception as error:
            view = sentence_view(excuse(error, texts, message.id))
        try:
            sent = await in_time(message.reply(view=view, mention_author=False), EXCUSE_S)
        except (discord.HTTPException, TookTooLong) as error:
            # The bot may not write here, the question is deleted, or Discord does not answer.
            log.info("the answer did not arrive", error=type(error).__name__, message_id=message.id)
            return
        await services.replies.remember(here, sent.id, shown, covered)

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
    await interaction.edit_original_response(view=similar_view(services, result, texts_for(interaction.locale)))


async def _while_deferring(interaction: Interaction, search: Awaitable[View]) -> None:
    """Searches while Discord acknowledges the deferral. Nothing may be sent to Discord before it has."""
    deferral = asyncio.create_task(interaction.response.defer(ephemeral=True, thinking=True))
    try:
        view = await search
    finally:
        await deferral
    await interaction.edit_original_response(view=view)


# -- layout


@dataclass(frozen=True, slots=True)
class Wording:
    """percent: of a match's cosine. no_matches: the sentence where images were searched in vain. covered: whether all
    matches are shown as spoilers, and not only those that are.
    """

    texts: Texts
    tags: TagFormatter
    percent: Callable[[float], int]
    heading: str
    no_matches: str
    note: str | None = None
    covered: bool = False


def found_view(
    services: Services, result: SearchResult, texts: Texts, query: str | None, said: Sequence[str] = ()
) -> View:
    threshold, logit_scale = services.engine.calibration.text_threshold, services.engine.card.logit_scale
    percent = partial(text_match_percent, threshold=threshold, logit_scale=logit_scale)
    subject = short_plain(query) if query is not None else texts.search.newest_pictures
    heading = texts.search.found_for_query.format(count=len(result.matches), query=subject)
    heading = " · ".join((heading, *said))
    return result_view(result, Wording(texts, services.tag_formatter, percent, heading, texts.search.no_matches))


def similar_view(
    services: Services, result: SearchResult, texts: Texts, *, note: str | None = None, covered: bool = False
) -> View:
    percent = partial(image_match_percent, threshold=services.engine.calibration.image_threshold)
    heading = texts.search.similar_found.format(count=len(result.matches))
    return result_view(
        result, Wording(texts, services.tag_formatter, percent, heading, texts.search.no_similar, note, covered)
    )


def result_view(result: SearchResult, wording: Wording) -> View:
    """At most six matches fit, with two notes, the 40 components that a message may have."""
    if not result.matches:
        nothing = wording.no_matches if result.searched else wording.texts.search.nothing_to_search
        nothing = wording.texts.search.unverified if result.unverified else nothing
        return sentence_view(wording.texts.search.matches_unreachable if result.unreachable else nothing)
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay(wording.heading))
    for match in result.matches:
        view.add_item(_section(match, wording))
        view.add_item(
            discord.ui.ActionRow(
                ActionButton("like", match.image.id, label=wording.texts.search.more_like_this, emoji="🔍"),
                discord.ui.Button(label=wording.texts.search.open_message, url=match.image.ref.message_url),
            )
        )
    more = wording.texts.search.more_unreachable.format(count=result.unreachable) if result.unreachable else None
    missing = wording.texts.search.unverified if result.unverified else None
    for note in filter(None, (more, missing, wording.note)):
        view.add_item(discord.ui.TextDisplay(f"-# {note}"))
    return view


def _section(match: Match, wording: Wording) -> discord.ui.Section[View]:
    texts, ref, tags = wording.texts, match.image.ref, match.image.tags
    chinese = texts is CHINESE
    tag_line, names = wording.tags.line(tags, chinese=chinese), wording.tags.names(tags, chinese=chinese)
    tagged = texts.search.image_alt.format(tags=names) if names else texts.search.image_alt_without_tags
    alt_text = visible(match.remote.description or "") or tagged  # best is the poster's own description
    covered = wording.covered or match.remote.spoiler
    if covered:  # whoever uncovers the picture may uncover its tags, too; alt text cannot be covered
        tag_line, alt_text = f"||{tag_line}||" if tag_line else "", texts.search.image_alt_spoiler
    when = f"<t:{int(ref.created_at.timestamp())}:R>"
    posted = texts.search.posted.format(author=f"<@{ref.author_id}>", channel=f"<#{ref.channel.channel_id}>", when=when)
    thumbnail: discord.ui.Thumbnail[View] = discord.ui.Thumbnail(
        match.remote.url, description=alt_text[:_ALT_TEXT_LIMIT], spoiler=covered
    )
    line = f"**{wording.percent(match.score)}%** · {tag_line or texts.search.no_tags}\n{posted}"
    return discord.ui.Section(line, accessory=thumbnail)
