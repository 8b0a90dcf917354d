"""What limits a question beside its words: channel, author, dates, tag; read from a command's options, offered while
they are typed, and said back above the answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import discord
from discord import app_commands

from bot.discord_io.answers import Interaction
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import audience_of
from bot.errors import UnreadableDate
from bot.features.dates import Moment, read_date, suggested_dates
from bot.features.formatting import TagFormatter, short_plain, visible
from bot.i18n import CHINESE, texts_for
from bot.i18n.catalog import SearchTexts
from bot.label_names import label_key
from bot.models import NEWEST, ImageFilter, Sort, first_message_at, utc_now

SearchedPlace = ImageChannel | discord.CategoryChannel

_MAX_SUGGESTIONS = 25  # Discord's limit on autocomplete
_MAX_CHOICE = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """As a member chose them."""

    place: SearchedPlace | None = None
    author: discord.User | discord.Member | None = None
    after: str | None = None
    before: str | None = None
    tag: str | None = None
    sort: Sort = Sort.BEST


@dataclass(frozen=True, slots=True)
class Understood:
    """What the limits mean. said: as the answer repeats them, one by one."""

    filter: ImageFilter
    channels: frozenset[int] | None
    said: tuple[str, ...]


async def understand(limits: Limits, texts: SearchTexts, tags: TagFormatter) -> Understood:
    """Raises UnreadableDate."""
    after, before = await _read(limits.after), await _read(limits.before)
    label = None if limits.tag is None else tags.label_of(limits.tag)
    wanted = ImageFilter(
        author_id=limits.author.id if limits.author is not None else None,
        after=first_message_at(after.at) if after is not None else 0,
        before=first_message_at(before.at) if before is not None else NEWEST,
        label=label,
    )
    said: list[str] = []
    if limits.place is not None:
        said.append(texts.in_channel.format(channel=f"<#{limits.place.id}>"))
    if limits.author is not None:
        said.append(texts.by_author.format(author=f"<@{limits.author.id}>"))
    if after is not None:
        said.append(texts.since.format(date=_stamp(after)))
    if before is not None:
        said.append(texts.until.format(date=_stamp(before)))
    if limits.tag is not None:
        said.append(texts.with_tag.format(tag=short_plain(limits.tag)))
    if limits.sort is not Sort.BEST:
        said.append(texts.sorted_by[limits.sort])
    return Understood(wanted, _channels_of(limits.place), tuple(said))


async def suggest_dates(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    """What the date was understood as, and a few that are often wanted."""
    texts, now = texts_for(interaction.locale), utc_now()
    language = texts.language
    found = await asyncio.to_thread(read_date, typed, now) if typed.strip() else None
    if found is not None:
        name = texts.search.understood_date.format(typed=visible(typed), date=found.in_words(language))
        return [app_commands.Choice(name=name[:_MAX_CHOICE], value=found.iso)]
    often = zip(texts.search.often_wanted_dates, suggested_dates(now), strict=True)
    return [
        app_commands.Choice(name=f"{name} · {Moment(day).in_words(language)}", value=Moment(day).iso)
        for name, day in often
    ]


async def suggest_tags(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    """The tags of images that the member may see from here, the most frequent first."""
    services, audience = interaction.client.services, audience_of(interaction)
    chinese, wanted = texts_for(interaction.locale) is CHINESE, label_key(typed)
    channels = await services.images.searchable_channels(audience.guild_id)
    counted = await services.tags.tags_in(audience.guild_id, audience.readable(channels).certain)
    offered = []
    for tag in counted:
        name = services.tag_formatter.name(tag.label, chinese=chinese)
        places = [label_key(one).find(wanted) for one in (name, tag.label)]
        if max(places) >= 0:
            offered.append(
                (0 not in places, app_commands.Choice(name=f"{visible(name)} · {tag.count}", value=tag.label))
            )
    offered.sort(key=lambda one: one[0])  # what begins with what was typed comes first
    return [choice for _, choice in offered[:_MAX_SUGGESTIONS]]


async def _read(text: str | None) -> Moment | None:
    if text is None:
        return None
    found = await asyncio.to_thread(read_date, text, utc_now())
    if found is None:
        raise UnreadableDate(short_plain(text))
    return found


def _stamp(moment: Moment) -> str:
    """Shown in the reader's own language and time zone."""
    return f"<t:{int(moment.at.timestamp())}:{'f' if moment.exact else 'D'}>"


def _channels_of(place: SearchedPlace | None) -> frozenset[int] | None:
    if place is None:
        return None
    if isinstance(place, discord.CategoryChannel):
        return frozenset(channel.id for channel in place.channels)
    return frozenset({place.id})
