"""/magpie settings: which channels are indexed and for how long, of the server and of each channel, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import discord

from bot.discord_io.answers import Interaction, sentence_view
from bot.discord_io.components import ActionButton, ActionChannels, ActionMenu, Press, View
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import knows_channel, managed_guild
from bot.errors import ChannelNotFound
from bot.features.formatting import listed
from bot.i18n import Texts, texts_for
from bot.models import FOR_GOOD, ChannelRef
from bot.store.rules import GuildRules

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

LONGEST_RETENTION = 3650
_DAYS = (7, 30, 90, 180, 365, 730)
_AS_SERVER = "server"
_SERVER = 0  # in the place of a channel's id


class SettingsCommands:
    """Each change is stored at once, and the page shows what holds now. What deletes pictures is asked for first, with
    their number. Rights are checked at each press; a channel that the moderator cannot see seems not to exist.
    """

    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        bot.actions.add(
            settings=self._open,
            settings_channel=self._choose_channel,
            settings_index=self._set_indexed,
            settings_new=self._set_new,
            settings_words=self._set_words,
            settings_keep=self._choose_days,
            settings_expire=self._set_days,
        )

    async def show(
        self, interaction: Interaction, channel: ImageChannel | None, indexed: bool | None, days: int | None
    ) -> None:
        """The interaction has been deferred. indexed, days: what is to be changed first; None: nothing."""
        guild = managed_guild(interaction)
        place = _SERVER if channel is None else self._root_of(interaction, guild, channel.id)
        if indexed is not None:
            await self._change_indexed(interaction, guild, place, indexed)
        if days is not None and (view := await self._question(interaction, guild, place, str(days))) is not None:
            await interaction.edit_original_response(view=view)
            return
        await self._show(interaction, guild, place)

    async def _show(self, interaction: Interaction, guild: discord.Guild, place: int) -> None:
        view = await (self._channel_view(interaction, guild, place) if place else self._server_view(interaction, guild))
        await interaction.edit_original_response(view=view)

    async def _open(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        await self._show(press.interaction, guild, self._place(press.interaction, guild, press.arguments[0]))

    async def _choose_channel(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        await self._show(press.interaction, guild, self._place(press.interaction, guild, press.values[0]))

    async def _set_indexed(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        place = self._place(press.interaction, guild, press.arguments[0])
        await self._change_indexed(press.interaction, guild, place, press.arguments[1] == "on")
        await self._show(press.interaction, guild, place)

    async def _set_new(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        await self._change_indexed(press.interaction, guild, _SERVER, press.arguments[0] == "on")
        await self._show(press.interaction, guild, _SERVER)

    async def _set_words(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        services, on = self._bot.services, press.arguments[0] == "on"
        if services.text_reader.available or not on:  # else a button of before would delete what was read
            await services.image_texts.set_reading(guild.id, on)
            services.text_reader.wake()
        await self._show(press.interaction, guild, _SERVER)

    async def _choose_days(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        place = self._place(press.interaction, guild, press.arguments[0])
        view = await self._question(press.interaction, guild, place, press.values[0])
        if view is None:
            await self._show(press.interaction, guild, place)
        else:
            await press.interaction.edit_original_response(view=view)

    async def _set_days(self, press: Press) -> None:
        """What the question was asked about."""
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        place = self._place(press.interaction, guild, press.arguments[0])
        await self._change_days(guild, place, _days_of(place, press.arguments[1]))
        await self._show(press.interaction, guild, place)

    async def _change_indexed(self, interaction: Interaction, guild: discord.Guild, place: int, on: bool) -> None:
        rules = self._bot.services.rules
        if place == _SERVER:
            await rules.set_index_new_channels(guild.id, on, [channel.id for channel in guild.channels])
        else:
            # Up to now by Discord's clock: what was posted while the channel was off stays out.
            await rules.set_indexed(ChannelRef(guild.id, place), on, interaction.id)

    async def _question(self, interaction: Interaction, guild: discord.Guild, place: int, value: str) -> View | None:
        """Asks where the choice deletes pictures; else it holds at once."""
        services, texts = self._bot.services, texts_for(interaction.locale).settings
        days, channel_id = _days_of(place, value), place or None
        in_force = days if days is not None else (await services.rules.of_guild(guild.id)).retention_days
        expired = 0
        if in_force and (place or days is not None):
            expired = await services.statistics.older_than(guild.id, channel_id, in_force)
        if not expired:
            await self._change_days(guild, place, days)
            return None
        owner = interaction.user.id
        where = f"<#{place}>" if place else texts.this_server
        view = sentence_view(texts.expire_ask.format(expired, place=where, days=texts.days.format(in_force or 0)))
        view.add_item(
            discord.ui.ActionRow(
                ActionButton(
                    *("settings_expire", place, value),
                    owner=owner,
                    label=texts.expire.format(expired),
                    style=discord.ButtonStyle.danger,
                ),
                ActionButton("settings", place, owner=owner, label=texts.back),
            )
        )
        return view

    async def _change_days(self, guild: discord.Guild, place: int, days: int | None) -> None:
        await self._bot.services.rules.set_retention(guild.id, place or None, days)
        self._bot.services.retention.look()

    def _place(self, interaction: Interaction, guild: discord.Guild, argument: str) -> int:
        return self._root_of(interaction, guild, int(argument)) if int(argument) else _SERVER

    def _root_of(self, interaction: Interaction, guild: discord.Guild, channel_id: int) -> int:
        """A thread's channel. Raises ChannelNotFound where the moderator cannot see it."""
        thread = guild.get_thread(channel_id)
        root = channel_id if thread is None else thread.parent_id
        if not knows_channel(interaction.user, ChannelRef(guild.id, root)):
            raise ChannelNotFound
        return root

    async def _server_view(self, interaction: Interaction, guild: discord.Guild) -> View:
        services, texts, owner = self._bot.services, texts_for(interaction.locale), interaction.user.id
        rules = await services.rules.of_guild(guild.id)
        excluded = await services.rules.excluded_members(guild.id)
        wording, lines = texts.settings, server_lines(interaction, guild, rules, excluded, texts)
        view = sentence_view("\n".join([f"**{wording.heading}**", *lines, f"-# {wording.elsewhere}"]))
        view.add_item(
            discord.ui.ActionRow(ActionChannels("settings_channel", owner=owner, placeholder=wording.choose_channel))
        )
        view.add_item(discord.ui.ActionRow(_days_menu(_SERVER, rules.retention_days, owner, texts)))
        on = rules.index_new_channels
        label = wording.leave_out_new if on else wording.index_new
        buttons = [ActionButton("settings_new", "off" if on else "on", owner=owner, label=label)]
        if services.text_reader.available or rules.reads_text:
            on = rules.reads_text
            label = wording.forget_words if on else wording.read_words
            buttons.append(ActionButton("settings_words", "off" if on else "on", owner=owner, label=label))
        view.add_item(discord.ui.ActionRow(*buttons))
        return view

    async def _channel_view(self, interaction: Interaction, guild: discord.Guild, place: int) -> View:
        services, texts, owner = self._bot.services, texts_for(interaction.locale), interaction.user.id
        wording, rules = texts.settings, await services.rules.of_guild(guild.id)
        effective, count = rules.of(place), await services.statistics.up_to(guild.id, [place])
        own = next((one.retention_days for one in rules.channels if one.channel_id == place), None)
        mode = await services.channels.tagging_mode(ChannelRef(guild.id, place))
        lines = [
            f"**<#{place}>**",
            wording.channel_on if effective.indexed else wording.channel_off,
            _kept(effective.retention_days, texts) + ("" if own is not None else wording.as_server),
            wording.announced.format(mode=texts.tagging.modes[mode]),
            wording.pictures.format(count),
        ]
        view = sentence_view("\n".join(lines))
        view.add_item(discord.ui.ActionRow(_days_menu(place, own, owner, texts)))
        on = effective.indexed
        buttons = [
            ActionButton(
                *("settings_index", place, "off" if on else "on"),
                owner=owner,
                label=wording.switch_off if on else wording.switch_on,
            )
        ]
        if not on and count:
            forget = texts.forgetting.forget.format(count)
            style = discord.ButtonStyle.danger
            buttons.append(ActionButton("forget_channel_ask", place, owner=owner, label=forget, style=style))
        buttons.append(ActionButton("settings", _SERVER, owner=owner, label=wording.back))
        view.add_item(discord.ui.ActionRow(*buttons))
        return view


def server_lines(
    interaction: Interaction, guild: discord.Guild, rules: GuildRules, excluded: Sequence[int], texts: Texts
) -> list[str]:
    """What holds in the server. Channels that the member cannot see are counted and not named."""
    wording = texts.settings
    there = [one for one in rules.channels if guild.get_channel(one.channel_id) is not None]
    known = [one for one in there if knows_channel(interaction.user, ChannelRef(guild.id, one.channel_id))]
    off = [one for one in known if one.indexed is False]
    own = [one for one in known if one.retention_days is not None]
    lines = [
        wording.server_paused if rules.paused else wording.server_on,
        wording.new_channels_on if rules.index_new_channels else wording.new_channels_off,
        _kept(rules.retention_days, texts),
        wording.words_read if rules.reads_text else wording.words_not_read,
    ]
    if off:
        lines.append(wording.off_in.format(channels=listed([f"<#{one.channel_id}>" for one in off], texts)))
    if own:
        named = [f"<#{one.channel_id}> ({_short(one.retention_days, texts)})" for one in own]
        lines.append(wording.kept_otherwise_in.format(channels=listed(named, texts)))
    if hidden := len(there) - len(known):
        lines.append(wording.hidden.format(hidden))
    if excluded:
        lines.append(wording.left_out.format(members=listed([f"<@{id_}>" for id_ in excluded], texts)))
    return lines


def _kept(days: int | None, texts: Texts) -> str:
    return texts.settings.kept_days.format(days) if days else texts.settings.kept_for_good


def _short(days: int | None, texts: Texts) -> str:
    return texts.settings.days.format(days) if days else texts.settings.for_good


def _days_menu(place: int, chosen: int | None, owner: int, texts: Texts) -> ActionMenu:
    """chosen: the place's own choice."""
    wording = texts.settings
    choices = [(str(FOR_GOOD), wording.for_good), *((str(days), wording.days.format(days)) for days in _DAYS)]
    if chosen and chosen not in _DAYS:
        choices.append((str(chosen), wording.days.format(chosen)))
    if place:
        choices.insert(0, (_AS_SERVER, wording.like_server))
    value = (_AS_SERVER if place else str(FOR_GOOD)) if chosen is None else str(chosen)
    options = [discord.SelectOption(label=label, value=one, default=one == value) for one, label in choices]
    return ActionMenu("settings_keep", place, options=options, owner=owner, placeholder=wording.choose_days)


def _days_of(place: int, value: str) -> int | None:
    """As the store has it: of the server, for good is None."""
    if value == _AS_SERVER:
        return None
    days = min(int(value), LONGEST_RETENTION)
    return days if place or days else None
