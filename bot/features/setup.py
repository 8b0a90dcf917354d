"""/magpie setup: a guided first run, in one message that moves from step to step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import discord

from bot.discord_io.answers import Interaction, permission_names, sentence_view
from bot.discord_io.components import ActionButton, ActionChannels, ActionMenu, Press
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import knows_channel, managed_guild, may_view, missing_permissions
from bot.errors import ChannelNotFound
from bot.features.backfill import BackfillCommands, Beginning, progress_lines
from bot.features.formatting import listed
from bot.features.labels import refusal_of
from bot.features.settings import server_lines
from bot.features.tagging import modes_set
from bot.i18n import Texts, texts_for
from bot.indexing.label_edits import LabelsRefused, known_sets, with_shipped
from bot.models import UNFINISHED, BackfillMode, ChannelRef, SetupStep, TaggingMode, ThreadKind
from bot.store.labels import LabelSet

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_STEPS = [*SetupStep]
_MENU = 25  # Discord's limit
_MENTIONS = 6  # in the line of each permission that is missing
_MODES_CHARACTERS = 800
_SHOWN_MODES = (TaggingMode.REACTION, TaggingMode.REPLY, TaggingMode.OFF)  # silent is what holds elsewhere
_NONE = "none"

Row = discord.ui.ActionRow[Any]
Page = tuple[list[str], list[Row]]
"""The lines of a step, and its menus and buttons."""


class SetupCommand:
    """Each choice is applied at once, as the command of its subject applies it, so that going back and stopping lose
    nothing. Rights are checked at each press, and only channels that the moderator sees can be chosen.
    """

    def __init__(self, bot: MagpieBot, backfill: BackfillCommands) -> None:
        self._bot = bot
        self._backfill = backfill
        bot.actions.add(
            setup=self._turn,
            setup_off=self._leave_out,
            setup_new=self._set_new,
            setup_mode=self._choose_mode,
            setup_where=self._set_mode,
            setup_labels=self._use_labels,
            setup_earlier=self._index_earlier,
        )

    async def show(
        self,
        interaction: Interaction,
        step: SetupStep = SetupStep.RIGHTS,
        *,
        note: str | None = None,
        mode: TaggingMode = TaggingMode.REACTION,
    ) -> None:
        """The interaction has been deferred. note: what became of the last choice. mode: whose channels are shown."""
        guild, texts = managed_guild(interaction), texts_for(interaction.locale)
        match step:
            case SetupStep.RIGHTS:
                lines, rows = await self._rights(interaction, guild, texts)
            case SetupStep.CHANNELS:
                lines, rows = await self._channels(interaction, guild, texts)
            case SetupStep.TAGS:
                lines, rows = await self._tags(interaction, guild, texts, mode)
            case SetupStep.LABELS:
                lines, rows = await self._labels(interaction, guild, texts)
            case SetupStep.EARLIER:
                lines, rows = await self._earlier(interaction, guild, texts)
            case SetupStep.DONE:
                lines, rows = await self._summary(interaction, guild, texts)
        heading = texts.setup.heading.format(
            step=_STEPS.index(step) + 1, steps=len(_STEPS), title=texts.setup.titles[step]
        )
        view = sentence_view("\n".join([heading, "", *lines, *([] if note is None else ["", note])]))
        for row in (*rows, _way(step, texts, interaction.user.id)):
            view.add_item(row)
        await interaction.edit_original_response(view=view, attachments=[])

    async def _turn(self, press: Press) -> None:
        await _admitted(press)
        await self.show(press.interaction, SetupStep(press.arguments[0]))

    # -- what the bot may do

    async def _rights(self, interaction: Interaction, guild: discord.Guild, texts: Texts) -> Page:
        wording, rules = texts.setup, await self._bot.services.rules.of_guild(guild.id)
        channels = [one for one in guild.channels if isinstance(one, ImageChannel) and rules.of(one.id).indexed]
        lacking: defaultdict[str, list[int]] = defaultdict(list)
        for channel in channels:
            for name in missing_permissions(channel):
                lacking[name].append(channel.id)
        if not lacking:
            return [wording.all_rights, wording.applied], []
        lines = [wording.some_rights]
        for name in sorted(lacking, key=[*wording.uses].index):
            seen = [f"<#{id_}>" for id_ in lacking[name] if may_view(_member(interaction), ChannelRef(guild.id, id_))]
            where = [listed(seen, texts, most=_MENTIONS)] if seen else []
            if hidden := len(lacking[name]) - len(seen):
                where.append(wording.hidden.format(hidden))
            everywhere = len(lacking[name]) == len(channels)
            lines.append(
                wording.right.format(
                    permission=permission_names([name], texts),
                    use=wording.uses[name],
                    where=wording.everywhere if everywhere else " · ".join(where),
                )
            )
        return [*lines, wording.applied], []

    # -- which channels are indexed

    async def _channels(self, interaction: Interaction, guild: discord.Guild, texts: Texts) -> Page:
        services, owner, wording = self._bot.services, interaction.user.id, texts.setup
        rules = await services.rules.of_guild(guild.id)
        excluded = await services.rules.excluded_members(guild.id)
        off = await self._off(interaction, guild)
        lines = [wording.channels_ask, "", *server_lines(interaction, guild, rules, excluded, texts)]
        if len(off) > _MENU:
            lines.append(f"-# {wording.too_many_off}")
        menu = ActionChannels(
            "setup_off",
            owner=owner,
            placeholder=wording.choose_off,
            min_values=0,
            max_values=_MENU,
            chosen=off[:_MENU],
        )
        on = rules.index_new_channels
        label = texts.settings.leave_out_new if on else texts.settings.index_new
        return lines, [Row(menu), Row(ActionButton("setup_new", "off" if on else "on", owner=owner, label=label))]

    async def _leave_out(self, press: Press) -> None:
        guild, rules = await _admitted(press), self._bot.services.rules
        chosen = _known(press, guild)
        shown = (await self._off(press.interaction, guild))[:_MENU]
        # Up to now by Discord's clock: what was posted while a channel was off stays out.
        for id_ in chosen:
            await rules.set_indexed(ChannelRef(guild.id, id_), False, press.interaction.id)
        for id_ in shown:
            if id_ not in chosen:
                await rules.set_indexed(ChannelRef(guild.id, id_), True, press.interaction.id)
        await self.show(press.interaction, SetupStep.CHANNELS)

    async def _set_new(self, press: Press) -> None:
        guild = await _admitted(press)
        on, existing = press.arguments[0] == "on", [channel.id for channel in guild.channels]
        await self._bot.services.rules.set_index_new_channels(guild.id, on, existing)
        await self.show(press.interaction, SetupStep.CHANNELS)

    async def _off(self, interaction: Interaction, guild: discord.Guild) -> list[int]:
        """The channels that are left out, as far as the moderator knows them."""
        rules = await self._bot.services.rules.of_guild(guild.id)
        off = [one.id for one in guild.channels if isinstance(one, ImageChannel) and not rules.of(one.id).indexed]
        return [id_ for id_ in off if knows_channel(interaction.user, ChannelRef(guild.id, id_))]

    # -- how tags are announced

    async def _tags(self, interaction: Interaction, guild: discord.Guild, texts: Texts, mode: TaggingMode) -> Page:
        wording, owner = texts.setup, interaction.user.id
        modes = await self._modes(interaction, guild)
        options = [
            discord.SelectOption(label=texts.tagging.modes[one], value=one.value, default=one is mode)
            for one in _SHOWN_MODES
        ]
        where = ActionChannels(
            "setup_where",
            mode.value,
            owner=owner,
            placeholder=wording.choose_where,
            min_values=0,
            max_values=_MENU,
            chosen=_with_mode(modes, mode)[:_MENU],
        )
        lines = [wording.tags_ask, "", modes_set(modes, texts, max_characters=_MODES_CHARACTERS)]
        how = ActionMenu("setup_mode", options=options, owner=owner, placeholder=wording.choose_mode)
        return lines, [Row(how), Row(where)]

    async def _choose_mode(self, press: Press) -> None:
        await _admitted(press)
        await self.show(press.interaction, SetupStep.TAGS, mode=TaggingMode(press.values[0]))

    async def _set_mode(self, press: Press) -> None:
        guild, services, mode = await _admitted(press), self._bot.services, TaggingMode(press.arguments[0])
        chosen = _known(press, guild)
        shown = _with_mode(await self._modes(press.interaction, guild), mode)[:_MENU]
        for id_ in chosen:
            await services.channels.set_tagging_mode(ChannelRef(guild.id, id_), mode)
        for id_ in shown:
            if id_ not in chosen:
                await services.channels.set_tagging_mode(ChannelRef(guild.id, id_), TaggingMode.SILENT)
        await services.retagger.labels_changed(guild.id)
        await self.show(press.interaction, SetupStep.TAGS, mode=mode)

    async def _modes(self, interaction: Interaction, guild: discord.Guild) -> dict[ChannelRef, TaggingMode]:
        """As far as the moderator sees the channels."""
        modes = await self._bot.services.channels.tagging_modes(guild.id)
        return {place: mode for place, mode in modes.items() if may_view(_member(interaction), place)}

    # -- which labels there are

    async def _labels(self, interaction: Interaction, guild: discord.Guild, texts: Texts) -> Page:
        services, wording = self._bot.services, texts.setup
        chosen = (await services.labels.of_guild(guild.id)).of(None)
        sets = [(name, label) for name, label in texts.labels.sets.items() if name != _NONE]
        menu = ActionMenu(
            "setup_labels",
            options=[
                discord.SelectOption(label=label, value=name, default=name in chosen.shipped) for name, label in sets
            ],
            owner=interaction.user.id,
            placeholder=wording.choose_sets,
            min_values=0,
            max_values=len(sets),
        )
        return [wording.labels_ask, "", self._labels_in_use(chosen, texts)], [Row(menu)]

    async def _use_labels(self, press: Press) -> None:
        guild, services, note = await _admitted(press), self._bot.services, None
        try:
            names = known_sets(press.values, services.shipped)
            if set(names) != set((await services.labels.of_guild(guild.id)).of(None).shipped):
                await services.labels.change(guild.id, None, lambda before: self._with_sets(before, names))
                await services.retagger.labels_changed(guild.id)
        except LabelsRefused as refused:
            note = refusal_of(refused, texts_for(press.interaction.locale))
        await self.show(press.interaction, SetupStep.LABELS, note=note)

    def _with_sets(self, before: LabelSet, names: Sequence[str]) -> LabelSet:
        shipped = self._bot.services.shipped
        after = with_shipped(before, None, shipped, together=False)
        for name in names:
            after = with_shipped(after, name, shipped, together=True)
        return after

    def _labels_in_use(self, chosen: LabelSet, texts: Texts) -> str:
        count = len(self._bot.services.shipped.in_force(chosen))
        return texts.labels.used.format(count, where=texts.labels.in_server) if count else texts.labels.no_labels

    # -- what was posted before

    async def _earlier(self, interaction: Interaction, guild: discord.Guild, texts: Texts) -> Page:
        lines = await self._backfill_lines(guild, texts)
        buttons = [
            ActionButton(
                "setup_earlier",
                mode.value,
                owner=interaction.user.id,
                label=texts.setup.start[mode],
                disabled=bool(lines),
            )
            for mode in BackfillMode
        ]
        return [texts.setup.earlier_ask, "", *lines], [Row(*buttons)]

    async def _index_earlier(self, press: Press) -> None:
        await _admitted(press)
        texts = texts_for(press.interaction.locale)
        match await self._backfill.start(press.interaction, None, BackfillMode(press.arguments[0])):
            case Beginning.NOTHING_TO_READ:
                await self.show(press.interaction, SetupStep.EARLIER, note=texts.backfill.nothing_to_read)
            case Beginning.ALREADY_RUNNING:
                await self.show(press.interaction, SetupStep.EARLIER, note=texts.backfill.already_running)
            case Beginning.SHOWN_HERE:
                await self.show(press.interaction, SetupStep.DONE, note=texts.backfill.began_here)
            case Beginning.NOT_SHOWN:
                await self.show(press.interaction, SetupStep.DONE, note=texts.setup.has_begun)

    async def _backfill_lines(self, guild: discord.Guild, texts: Texts) -> list[str]:
        """Nothing where none is under way."""
        progress = await self._bot.services.backfills.progress(guild.id)
        if progress is None or progress.backfill.state not in UNFINISHED:
            return []
        return progress_lines(progress, texts, None, waits=self._bot.services.backfills.waits_for_discord(guild.id))

    # -- what holds now

    async def _summary(self, interaction: Interaction, guild: discord.Guild, texts: Texts) -> Page:
        services = self._bot.services
        rules, excluded = await services.rules.of_guild(guild.id), await services.rules.excluded_members(guild.id)
        modes = await self._modes(interaction, guild)
        lines = [
            *server_lines(interaction, guild, rules, excluded, texts),
            modes_set(modes, texts, max_characters=_MODES_CHARACTERS),
            self._labels_in_use((await services.labels.of_guild(guild.id)).of(None), texts),
            *await self._backfill_lines(guild, texts),
            "",
            texts.setup.done,
        ]
        return lines, []


async def _admitted(press: Press) -> discord.Guild:
    """The guild of whoever may manage it now. Raises MissingPermissions."""
    guild = managed_guild(press.interaction)
    await press.interaction.response.defer()
    return guild


def _known(press: Press, guild: discord.Guild) -> list[int]:
    """The channels that were chosen. Raises ChannelNotFound where the moderator cannot see one, and nothing changes."""
    chosen = [int(value) for value in press.values]
    if not all(knows_channel(press.interaction.user, ChannelRef(guild.id, id_)) for id_ in chosen):
        raise ChannelNotFound
    return chosen


def _with_mode(modes: dict[ChannelRef, TaggingMode], mode: TaggingMode) -> list[int]:
    return [place.channel_id for place, its in modes.items() if its is mode and place.thread is ThreadKind.NONE]


def _member(interaction: Interaction) -> discord.Member:
    assert isinstance(interaction.user, discord.Member)  # noqa: S101 - in a guild, as `managed_guild` has checked
    return interaction.user


def _way(step: SetupStep, texts: Texts, owner: int) -> Row:
    """The buttons that lead to other steps."""
    wording, at = texts.setup, _STEPS.index(step)
    buttons = []
    if at == 0:
        buttons.append(ActionButton("setup", step.value, owner=owner, label=wording.check_again, emoji="🔄"))
    else:
        buttons.append(ActionButton("setup", _STEPS[at - 1].value, owner=owner, label=wording.back, emoji="◀️"))
    if at + 1 < len(_STEPS):
        following = _STEPS[at + 1].value
        style = discord.ButtonStyle.primary
        buttons.append(ActionButton("setup", following, owner=owner, label=wording.next, emoji="▶️", style=style))
    else:
        buttons.append(ActionButton("status", owner=owner, label=wording.to_status, emoji="📊"))
    return Row(*buttons)
