"""/magpie status: how indexing stands in a server, in numbers, in words and as a chart."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING

import discord
from babel.dates import format_date

from bot.charts import growth_chart
from bot.discord_io.answers import Interaction, permission_names, sentence_view
from bot.discord_io.components import ActionButton, Press, View
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import knows_channel, managed_guild, may_view, missing_to_read
from bot.features.backfill import progress_lines
from bot.features.formatting import duration
from bot.i18n import Texts, texts_for
from bot.models import UNFINISHED, ChannelRef, ThreadKind, utc_now
from bot.monitoring.metrics import RECENT_ANSWERS, RECENT_IMAGES
from bot.store import backfills, retagging
from bot.store.rules import GuildRules
from bot.store.statistics import ChannelCount

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_LISTED = 15  # channels in one list, so that a page stays below 4000 characters however many there are
_CHART = "growth.png"
_EPOCH = date(1970, 1, 1)
_RECENT_DAYS = 30


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A channel that is to be indexed, and the permissions that the bot lacks there, by discord.py's names."""

    channel_id: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """ready, pending, parked: the server's images by state. reasons: how many were parked, by the store's key.
    unverified: those of a restored backup that are yet to be found in Discord. unread: searchable ones whose words are
    yet to be recognized, where the server wants that.

    by_channel: searchable images of the channels that the asker knows, threads included, most first; elsewhere: of all
    others. unreadable: those that the asker can see; unreadable_elsewhere: how many others. by_day: searchable images
    by the day of their message, in days since 1970.
    """

    ready: int
    pending: int
    parked: int
    reasons: Mapping[str, int]
    unverified: int
    by_channel: Sequence[tuple[int, int]]
    elsewhere: int
    unreadable: Sequence[Unreadable]
    unreadable_elsewhere: int
    by_day: Mapping[int, int]
    paused: bool
    backfill: backfills.Progress | None
    backfill_waits: bool
    retagging: retagging.Progress | None
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """What the bot works with, and how fast. query_seconds: None where nobody has searched lately. next_model: how many
    percent of all servers' images a model has encoded that is to take over; None where there is none.
    """

    model: str
    on_cpu: bool
    images_per_minute: float
    query_seconds: float | None
    next_model: int | None = None


class StatusCommand:
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        bot.actions.add(status=self._refresh)

    async def show(self, interaction: Interaction) -> None:
        """The interaction has been deferred."""
        texts, status = texts_for(interaction.locale), await self._status(interaction, managed_guild(interaction))
        view = status_view(status, self._pace(), texts, owner=interaction.user.id)
        files: list[discord.File] = []
        if status.by_day:
            png = await asyncio.to_thread(growth_chart, status.by_day)
            files.append(discord.File(io.BytesIO(png), _CHART))
        await interaction.edit_original_response(view=view, attachments=files)

    async def _refresh(self, press: Press) -> None:
        managed_guild(press.interaction)
        await press.interaction.response.defer()
        await self.show(press.interaction)

    async def _status(self, interaction: Interaction, guild: discord.Guild) -> ServerStatus:
        services = self._bot.services
        counts = await services.statistics.by_channel(guild.id)
        by_channel = _by_known_channel(interaction.user, counts)
        rules = await services.rules.of_guild(guild.id)
        unreadable, elsewhere = _unreadable(interaction.user, guild, rules)
        backfill = await services.backfills.progress(guild.id)
        if backfill is not None and backfill.backfill.state not in UNFINISHED:
            backfill = None
        ready = sum(count.ready for count in counts)
        unread = 0
        if rules.reads_text and services.text_reader.available:
            unread = max(0, ready - await services.image_texts.count(guild.id))
        return ServerStatus(
            ready=ready,
            pending=sum(count.pending for count in counts),
            parked=sum(count.parked for count in counts),
            reasons=await services.statistics.reasons(guild.id),
            unverified=await services.statistics.unverified(guild.id),
            by_channel=by_channel.most_common(),
            elsewhere=ready - by_channel.total(),
            unreadable=unreadable,
            unreadable_elsewhere=elsewhere,
            by_day=await services.statistics.by_day([count.channel.channel_id for count in counts]),
            paused=rules.paused,
            backfill=backfill,
            backfill_waits=services.backfills.waits_for_discord(guild.id),
            retagging=await services.retaggings.progress(guild.id),
            unread=unread,
        )

    def _pace(self) -> Pace:
        engine = self._bot.services.engine
        path = PurePath(engine.card.id)  # where the operator keeps a model is not the server's business
        model = path.name if path.is_absolute() else engine.card.id
        progress = self._bot.services.succession.progress
        percent = None if progress is None else 100 * progress.done // (progress.total or 100)
        return Pace(model, engine.runs_on_cpu, RECENT_IMAGES.per_minute(), RECENT_ANSWERS.median(), percent)


def _by_known_channel(user: discord.Member | discord.User, counts: Sequence[ChannelCount]) -> Counter[int]:
    """Searchable images of the channels that the member knows, with those of their threads."""
    places: dict[tuple[int | None, bool], ChannelRef] = {}
    ready: Counter[tuple[int | None, bool]] = Counter()
    for count in counts:  # tens of thousands of threads have few parents, and the same rights
        place = count.channel.root_id, count.channel.thread is ThreadKind.PRIVATE
        places.setdefault(place, count.channel)
        ready[place] += count.ready
    known: Counter[int] = Counter()
    for place, channel in places.items():
        if ready[place] and knows_channel(user, channel):
            known[channel.root_id or 0] += ready[place]
    return known


def _unreadable(
    user: discord.Member | discord.User, guild: discord.Guild, rules: GuildRules
) -> tuple[list[Unreadable], int]:
    """Channels that are to be indexed: those that the asker can see, and the number of others."""
    seen, elsewhere = [], 0
    for channel in guild.channels:
        if not isinstance(channel, ImageChannel) or not rules.of(channel.id).indexed:
            continue
        if missing := missing_to_read(channel):
            if isinstance(user, discord.Member) and may_view(user, ChannelRef(guild.id, channel.id)):
                seen.append(Unreadable(channel.id, tuple(missing)))
            else:
                elsewhere += 1
    return seen, elsewhere


def status_view(status: ServerStatus, pace: Pace, texts: Texts, *, owner: int) -> View:
    wording = texts.status
    view = sentence_view("\n".join([wording.heading, *_count_lines(status, pace, texts)]))
    if status.by_day:
        alt_text = _growth_in_words(status.by_day, texts)
        view.add_item(discord.ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{_CHART}", description=alt_text)))
    view.add_item(discord.ui.TextDisplay("\n".join([*_channel_lines(status, texts), *_pace_lines(pace, texts)])))
    view.add_item(discord.ui.ActionRow(ActionButton("status", owner=owner, label=wording.refresh, emoji="🔄")))
    return view


def _count_lines(status: ServerStatus, pace: Pace, texts: Texts) -> list[str]:
    wording = texts.status
    lines = [wording.searchable.format(status.ready)]
    if status.pending:
        waiting = wording.waiting.format(status.pending)
        if pace.images_per_minute and not status.paused:
            time = duration(60 * status.pending / pace.images_per_minute, texts)
            waiting += f" ({wording.time_left.format(time=time)})"
        lines.append(waiting)
    if status.unverified:
        lines.append(wording.being_compared.format(status.unverified))
    if status.parked:
        lines.append(wording.given_up.format(status.parked, reasons=_reasons_in_words(status.reasons, texts)))
    if status.paused:
        lines.append(texts.settings.server_paused)
    if status.backfill is not None:
        waits = status.backfill_waits
        lines += progress_lines(status.backfill, texts, None, waits=waits, paused=status.paused)
    if (tagging := status.retagging) is not None:
        labels = texts.labels
        line = labels.retagging_soon
        if tagging.total is not None:
            line = labels.retagging.format(tagging.total, done=texts.number(tagging.done))
        lines.append(line)
    if status.unread:
        lines.append(wording.unread.format(status.unread))
    return lines


def _reasons_in_words(reasons: Mapping[str, int], texts: Texts) -> str:
    wording, in_words = texts.status, Counter[str]()
    for key, count in reasons.items():  # several keys have the same words
        in_words[wording.reasons.get(key, wording.reason_unexpected)] += count
    return " · ".join(
        wording.reason.format(reason=words, count=texts.number(count)) for words, count in in_words.most_common()
    )


def _channel_lines(status: ServerStatus, texts: Texts) -> list[str]:
    wording, lines = texts.status, []
    if status.ready:
        parts = [
            wording.channel.format(channel=f"<#{id_}>", count=texts.number(count))
            for id_, count in status.by_channel[:_LISTED]
        ]
        if (left := len(status.by_channel) - _LISTED) > 0:
            parts.append(wording.more_channels.format(left))
        if status.elsewhere:
            parts.append(wording.elsewhere.format(status.elsewhere))
        lines.append(wording.by_channel.format(channels=" · ".join(parts)))
    if not status.unreadable and not status.unreadable_elsewhere:
        return [*lines, wording.all_readable]
    lines.append(wording.unreadable)
    lines += [
        f"- {wording.lacks.format(channel=f'<#{one.channel_id}>', permissions=permission_names(one.missing, texts))}"
        for one in status.unreadable[:_LISTED]
    ]
    if (left := len(status.unreadable) - _LISTED) > 0:
        lines.append(f"- {wording.more_channels.format(left)}")
    if status.unreadable_elsewhere:
        lines.append(f"- {wording.unreadable_elsewhere.format(status.unreadable_elsewhere)}")
    return lines


def _pace_lines(pace: Pace, texts: Texts) -> list[str]:
    wording = texts.status
    parts = [
        wording.model.format(model=pace.model, device=wording.on_cpu if pace.on_cpu else wording.on_gpu),
        wording.rate.format(round(pace.images_per_minute)),
    ]
    if pace.query_seconds is not None:
        parts.append(wording.query_time.format(milliseconds=texts.number(max(1, round(1000 * pace.query_seconds)))))
    lines = [" · ".join(parts), f"-# {wording.shared}"]
    if pace.next_model is not None:
        lines.append(wording.next_model.format(percent=pace.next_model))
    return lines


def _growth_in_words(by_day: Mapping[int, int], texts: Texts) -> str:
    first, last = (
        format_date(_EPOCH + timedelta(days=day), "long", locale=texts.language) for day in (min(by_day), max(by_day))
    )
    recent = sum(count for day, count in by_day.items() if day > (utc_now().date() - _EPOCH).days - _RECENT_DAYS)
    total = sum(by_day.values())
    return texts.status.growth_alt.format(
        first=first, last=last, total=texts.number(total), recent=texts.number(recent)
    )
