"""What members see of a backfill: the answer to /magpie index, the message that shows its progress, and its buttons."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import discord

from bot.discord_io.answers import Interaction, answer, sentence_view
from bot.discord_io.archive import backfill_tasks
from bot.discord_io.components import ActionButton, Press, View
from bot.discord_io.messages import NETWORK_ERRORS, ImageChannel
from bot.discord_io.permissions import managed_guild
from bot.features.formatting import duration, progress_bar
from bot.i18n import Texts, texts_for
from bot.indexing.backfill import Backfills
from bot.indexing.retry import until_stored
from bot.logging import get_logger
from bot.models import UNFINISHED, BackfillMode, BackfillState
from bot.store.backfills import BackfillStore, Progress
from bot.store.rules import RuleStore

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

log = get_logger(__name__)

EDIT_EVERY_S = 5.0
# Discord limits the edits of a message that is older than an hour (error 30046).
_OLD_S, _EDIT_OLD_EVERY_S = 3300.0, 60.0
_PRIVATE_ANSWER_S = 840.0  # an interaction's answer can be edited for fifteen minutes
_SPEED_OVER_S = 120.0


@dataclass(frozen=True, slots=True)
class Speed:
    """pictures_a_minute: how fast they are indexed. seconds_left: None where nothing is known yet."""

    pictures_a_minute: float
    seconds_left: float | None


class SpeedMeter:
    """Of the last two minutes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, float]] = deque()

    def note(self, now: float, progress: Progress) -> Speed | None:
        """None where there is nothing to compare with yet."""
        self._seen.append((now, progress.done, progress.fraction))
        while now - self._seen[0][0] > _SPEED_OVER_S and len(self._seen) > 2:
            self._seen.popleft()
        then, done, fraction = self._seen[0]
        seconds = now - then
        if seconds <= 0:
            return None
        forward = (progress.fraction - fraction) / seconds
        left = (1 - progress.fraction) / forward if forward > 0 else None
        return Speed(max(0.0, (progress.done - done) / seconds * 60), left)


@dataclass(slots=True)
class _Watched:
    """private: the answer that is edited where there is no message; until when that is possible."""

    private: tuple[Interaction, float] | None = None
    meter: SpeedMeter = field(default_factory=SpeedMeter)
    shown: object = None
    next_edit: float = 0.0


class BackfillNotices:
    """Shows the progress of every backfill, in a message of the bot's own, or in the answer to whoever began it while
    Discord lets that be edited. A restart goes on with the same messages.
    """

    def __init__(self, client: discord.Client, backfills: Backfills, store: BackfillStore, rules: RuleStore) -> None:
        self._client = client
        self._backfills = backfills
        self._store = store
        self._rules = rules
        self._watched: dict[int, _Watched] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="show backfills")

    async def close(self) -> None:
        """Stops. Messages stay as they are. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def watch(self, guild_id: int, private: Interaction | None = None) -> None:
        deadline = asyncio.get_running_loop().time() + _PRIVATE_ANSWER_S
        self._watched[guild_id] = _Watched(None if private is None else (private, deadline))
        self._wake.set()

    def look_again(self, guild_id: int) -> None:
        """Its state has just changed."""
        watched = self._watched.setdefault(guild_id, _Watched())
        watched.next_edit, watched.shown = 0.0, None
        self._wake.set()

    async def _run(self) -> None:
        for guild_id in await until_stored(self._backfills.unfinished):
            self._watched.setdefault(guild_id, _Watched())
        while True:
            self._wake.clear()
            for guild_id in [*self._watched]:
                try:
                    await self._show(guild_id)
                except Exception:  # the others are shown all the same
                    log.exception("the progress of a backfill could not be shown", guild_id=guild_id)
            with suppress(TimeoutError):
                async with asyncio.timeout(EDIT_EVERY_S if self._watched else None):
                    await self._wake.wait()

    async def _show(self, guild_id: int) -> None:
        watched, now = self._watched[guild_id], asyncio.get_running_loop().time()
        progress = await self._backfills.progress(guild_id)
        if progress is None:
            self._watched.pop(guild_id, None)
            return
        backfill = progress.backfill
        ended = backfill.state in (BackfillState.DONE, BackfillState.CANCELLED)
        state = (progress, self._backfills.waits_for_discord(guild_id), (await self._rules.of_guild(guild_id)).paused)
        speed = watched.meter.note(now, progress)
        if state == watched.shown or (now < watched.next_edit and not ended):
            return
        guild = self._client.get_guild(guild_id)
        if backfill.notice is not None and guild is not None:
            view = progress_view(progress, texts_for(guild.preferred_locale), speed, waits=state[1], paused=state[2])
            age = discord.utils.utcnow() - discord.utils.snowflake_time(backfill.notice[1])
            await self._edit(guild_id, backfill.notice, view)
            watched.next_edit = now + (EDIT_EVERY_S if age.total_seconds() < _OLD_S else _EDIT_OLD_EVERY_S)
        elif watched.private is not None and now < watched.private[1]:
            interaction, _ = watched.private
            view = progress_view(progress, texts_for(interaction.locale), speed, waits=state[1], paused=state[2])
            with suppress(*NETWORK_ERRORS):
                await interaction.edit_original_response(view=view)
            watched.next_edit = now + EDIT_EVERY_S
        watched.shown = state
        if ended or backfill.state is BackfillState.PAUSED:
            self._watched.pop(guild_id, None)

    async def _edit(self, guild_id: int, notice: tuple[int, int], view: View) -> None:
        channel_id, message_id = notice
        place = self._client.get_partial_messageable(channel_id, guild_id=guild_id)
        try:
            await place.get_partial_message(message_id).edit(view=view)
        except discord.NotFound:
            await self._store.set_notice(guild_id, None)
        except NETWORK_ERRORS as error:
            status = getattr(error, "status", None)
            log.info("the progress of a backfill could not be shown", error=type(error).__name__, status=status)


class Beginning(Enum):
    """What became of the wish for a backfill. SHOWN_HERE: a message in the channel shows its progress."""

    NOTHING_TO_READ = auto()
    ALREADY_RUNNING = auto()
    SHOWN_HERE = auto()
    NOT_SHOWN = auto()


class BackfillCommands:
    """What /magpie index and the buttons of a backfill do."""

    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        bot.actions.add(backfill_pause=self._pause, backfill_resume=self._resume, backfill_cancel=self._cancel)

    async def begin(self, interaction: Interaction, scope: ImageChannel | None, mode: BackfillMode) -> None:
        """The interaction has been deferred."""
        texts = texts_for(interaction.locale).backfill
        match await self.start(interaction, scope, mode):
            case Beginning.NOTHING_TO_READ:
                await answer(interaction, texts.nothing_to_read)
            case Beginning.ALREADY_RUNNING:
                await self._answer_with_progress(interaction, texts.already_running)
            case Beginning.SHOWN_HERE:
                await answer(interaction, texts.began_here)
            case Beginning.NOT_SHOWN:
                self._bot.services.backfill_notices.watch(managed_guild(interaction).id, interaction)

    async def start(self, interaction: Interaction, scope: ImageChannel | None, mode: BackfillMode) -> Beginning:
        """Begins one, if it can, and posts the message that shows its progress, where the bot may."""
        guild, services = managed_guild(interaction), self._bot.services
        tasks = backfill_tasks(guild, scope)
        rules = await services.rules.of_channels({ref for ref, _ in tasks})
        tasks = [task for task in tasks if rules[task[0]].indexed]
        if not tasks:
            return Beginning.NOTHING_TO_READ
        channel_id = None if scope is None else scope.id
        if not await services.backfills.begin(guild.id, channel_id, mode, interaction.id, tasks):
            return Beginning.ALREADY_RUNNING
        notice = await self._post_notice(interaction, guild)
        if notice is None:
            return Beginning.NOT_SHOWN
        await services.backfill_store.set_notice(guild.id, (notice.channel.id, notice.id))
        services.backfill_notices.watch(guild.id)
        return Beginning.SHOWN_HERE

    async def _answer_with_progress(self, interaction: Interaction, sentence: str) -> None:
        texts, guild_id = texts_for(interaction.locale), interaction.guild_id or 0
        progress = await self._bot.services.backfills.progress(guild_id)
        view = sentence_view(sentence)
        if progress is not None:
            waits = self._bot.services.backfills.waits_for_discord(guild_id)
            for item in progress_view(progress, texts, None, waits=waits).children:
                view.add_item(item)
        await interaction.edit_original_response(view=view)

    async def _post_notice(self, interaction: Interaction, guild: discord.Guild) -> discord.Message | None:
        """A message in the channel of the command, where the bot may write there."""
        channel, may = interaction.channel, interaction.app_permissions
        in_thread = isinstance(channel, discord.Thread)
        may_write = may.view_channel and (may.send_messages_in_threads if in_thread else may.send_messages)
        progress = await self._bot.services.backfills.progress(guild.id)
        if not may_write or progress is None or not isinstance(channel, discord.abc.Messageable):
            return None
        try:
            return await channel.send(view=progress_view(progress, texts_for(guild.preferred_locale), None))
        except NETWORK_ERRORS as error:
            log.info("the progress of a backfill is not shown in its channel", error=type(error).__name__)
            return None

    async def _pause(self, press: Press) -> None:
        await self._change(press, self._bot.services.backfills.pause)

    async def _resume(self, press: Press) -> None:
        await self._change(press, self._bot.services.backfills.resume)

    async def _cancel(self, press: Press) -> None:
        await self._change(press, self._bot.services.backfills.cancel)

    async def _change(self, press: Press, change: Callable[[int], Awaitable[bool]]) -> None:
        """For whoever may manage the server, whoever began the backfill."""
        interaction, services = press.interaction, self._bot.services
        guild = managed_guild(interaction)
        await interaction.response.defer()
        await change(guild.id)
        services.backfill_notices.look_again(guild.id)
        progress = await services.backfills.progress(guild.id)
        if progress is not None:
            private = interaction.message is not None and interaction.message.flags.ephemeral
            texts = texts_for(interaction.locale if private else guild.preferred_locale)
            await interaction.edit_original_response(view=progress_view(progress, texts, None))


def progress_view(
    progress: Progress, texts: Texts, speed: Speed | None, *, waits: bool = False, paused: bool = False
) -> View:
    view = sentence_view("\n".join(progress_lines(progress, texts, speed, waits=waits, paused=paused)))
    if progress.backfill.state in UNFINISHED:
        view.add_item(discord.ui.ActionRow(*_buttons(progress.backfill.state, texts)))
    return view


def progress_lines(
    progress: Progress, texts: Texts, speed: Speed | None, *, waits: bool = False, paused: bool = False
) -> list[str]:
    """waits: whether Discord does not answer at present. paused: whether the server takes in nothing at present.

    The message may be read by members who cannot see all of the channels: it has sums, and no channel but the one that
    was asked for, whose name Discord shows to those only who may see it.
    """
    wording, backfill = texts.backfill, progress.backfill
    place = wording.server if backfill.channel_id is None else f"<#{backfill.channel_id}>"
    lines = [wording.heading[backfill.state].format(place=place)]
    running = backfill.state in UNFINISHED
    if running:
        lines.append(progress_bar(progress.fraction))
    lines.append(
        wording.counts.format(
            found=texts.number(progress.found),
            done=texts.number(progress.done),
            waiting=texts.number(progress.waiting + progress.later),
            failed=texts.number(progress.failed),
        )
    )
    lines += [f"-# {line}" for line in _details(progress, texts, speed if running else None)]
    if backfill.state is BackfillState.RUNNING:
        lines += [f"-# {wording.server_paused}"] if paused else []
        lines += [f"-# {wording.waits_for_discord}"] if waits else []
    return lines


def _details(progress: Progress, texts: Texts, speed: Speed | None) -> list[str]:
    wording, backfill = texts.backfill, progress.backfill
    channels = wording.channels.format(count=progress.channels, read=texts.number(progress.read))
    if progress.expected and backfill.searching:
        messages = wording.messages_expected.format(count=progress.expected, messages=texts.number(progress.messages))
    else:
        messages = wording.messages.format(count=progress.messages)
    found = [f"{messages} · {channels}" if progress.channels else wording.listing]
    if speed is not None and backfill.state is BackfillState.RUNNING:
        pace = [wording.rate.format(count=round(speed.pictures_a_minute))]
        if speed.seconds_left is not None:
            pace.append(wording.left.format(time=duration(speed.seconds_left, texts)))
        found.append(" · ".join(pace))
    if backfill.ended is not None:
        took = (backfill.ended - backfill.began).total_seconds()
        found.append(wording.took.format(time=duration(took, texts)))
    if progress.refused:
        found.append(wording.refused.format(count=progress.refused))
    if progress.later:
        found.append(wording.later.format(count=progress.later))
    if backfill.mode is BackfillMode.QUICK and not backfill.searching:
        found.append(wording.reads_history)
    return found


def _buttons(state: BackfillState, texts: Texts) -> list[ActionButton]:
    wording = texts.backfill
    first = (
        ActionButton("backfill_pause", label=wording.pause, emoji="⏸️")
        if state is BackfillState.RUNNING
        else ActionButton("backfill_resume", label=wording.resume, emoji="▶️", style=discord.ButtonStyle.primary)
    )
    return [first, ActionButton("backfill_cancel", label=wording.cancel, emoji="⏹️")]
