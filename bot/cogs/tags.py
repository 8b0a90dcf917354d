"""Tags: what a channel sees of them (/tagging), and which words there are (/labels)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.adapters import PictureChannel, place_of
from bot.records import Announcement, Place
from bot.texts import CHINESE, Texts, texts_for
from bot.views.results import sentence_view
from bot.views.words import plain

if TYPE_CHECKING:
    from bot.client import Interaction
    from bot.index.labels import NamedLabel
    from bot.store.channels import ChannelStore
    from bot.store.labels import LabelStore

LABEL_LIMIT = 60
MOST_LABELS = 1000
_CHOICES = 25  # Discord's limit on autocomplete answers
_LISTED_CHARACTERS = 3500  # of the 4000 that a message's texts may have in all


def may_manage(interaction: Interaction) -> bool:
    """Manage Server, checked here too: server settings can open a command to anybody."""
    if not interaction.permissions.manage_guild:
        raise app_commands.MissingPermissions(["manage_guild"])
    return True


class TagsCog(commands.Cog, name="tags"):
    labels = app_commands.Group(
        name="labels",
        description="The words that this server's pictures are tagged with",
        guild_only=True,
        default_permissions=discord.Permissions(manage_guild=True),
    )

    def __init__(
        self,
        channels: ChannelStore,
        labels_store: LabelStore,
        defaults: tuple[NamedLabel, ...],
    ) -> None:
        self._channels = channels
        self._labels = labels_store
        self._defaults = defaults

    @app_commands.command(name="tagging", description="Choose what a channel sees of a new picture's tags")
    @app_commands.describe(mode="What happens when a picture is posted", channel="The channel; this one if left out")
    @app_commands.choices(
        mode=[
            app_commands.Choice(name="off: no tags", value="off"),
            app_commands.Choice(name="silent: tags in search results only", value="silent"),
            app_commands.Choice(name="reaction: the tags' emoji under the picture", value="reaction"),
            app_commands.Choice(name="reply: the tags as a reply", value="reply"),
        ]
    )
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    @app_commands.check(may_manage)
    async def tagging(
        self, interaction: Interaction, mode: app_commands.Choice[str], channel: PictureChannel | None = None
    ) -> None:
        texts = texts_for(interaction.locale)
        if interaction.guild_id is None or interaction.channel_id is None:
            raise app_commands.NoPrivateMessage
        channel_id = channel.id if channel is not None else interaction.channel_id
        chosen = Announcement(mode.value)
        # A forum is no place of messages itself, but its threads follow its setting.
        place = place_of(channel or interaction.channel) or Place(interaction.guild_id, channel_id)
        await self._channels.set_announcement(place, chosen)
        await _answer(
            interaction, texts.tagging_set.format(channel=f"<#{channel_id}>", mode=_mode_words(chosen, texts))
        )

    @labels.command(name="list", description="Show the labels")
    @app_commands.check(may_manage)
    async def list_labels(self, interaction: Interaction) -> None:
        texts = texts_for(interaction.locale)
        own = await self._labels.labels(_guild_id(interaction))
        sentence = texts.labels_default if own is None else texts.labels_own
        names = [label.zh if texts is CHINESE else label.en for label in self._defaults] if own is None else own
        await _answer(interaction, sentence.format(count=len(names), labels=_shortened(names)))

    @labels.command(name="add", description="Add a label")
    @app_commands.describe(label="One or a few words")
    @app_commands.check(may_manage)
    async def add_label(self, interaction: Interaction, label: str) -> None:
        texts, guild_id = texts_for(interaction.locale), _guild_id(interaction)
        name = " ".join(label.split())
        now = await self._in_force(guild_id)
        if not 1 <= len(name) <= LABEL_LIMIT or any(comma in name for comma in ",，、"):
            sentence = texts.label_bad.format(most=LABEL_LIMIT)
        elif name.casefold() in (known.casefold() for known in now):
            sentence = texts.label_known.format(label=plain(name))
        elif len(now) >= MOST_LABELS:
            sentence = texts.labels_full.format(most=MOST_LABELS)
        else:
            await self._labels.add(guild_id, name, defaults=self._default_names)
            sentence = texts.label_added.format(label=plain(name))
        await _answer(interaction, sentence)

    @labels.command(name="remove", description="Remove a label")
    @app_commands.describe(label="One or a few words")
    @app_commands.check(may_manage)
    async def remove_label(self, interaction: Interaction, label: str) -> None:
        texts, guild_id = texts_for(interaction.locale), _guild_id(interaction)
        name = " ".join(label.split())
        known = next((one for one in await self._in_force(guild_id) if one.casefold() == name.casefold()), None)
        if known is None:
            await _answer(interaction, texts.label_unknown.format(label=plain(name)))
            return
        await self._labels.remove(guild_id, known, defaults=self._default_names)
        await _answer(interaction, texts.label_removed.format(label=plain(known)))

    @remove_label.autocomplete("label")
    async def _complete_label(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        if interaction.guild_id is None or not interaction.permissions.manage_guild:
            return []
        wanted = typed.casefold().strip()
        matching = [name for name in await self._in_force(interaction.guild_id) if wanted in name.casefold()]
        matching.sort(key=lambda name: not name.casefold().startswith(wanted))
        return [app_commands.Choice(name=name, value=name) for name in matching[:_CHOICES]]

    @labels.command(name="reset", description="Go back to the labels that Magpie came with")
    @app_commands.check(may_manage)
    async def reset_labels(self, interaction: Interaction) -> None:
        await self._labels.reset(_guild_id(interaction))
        await _answer(interaction, texts_for(interaction.locale).labels_reset)

    async def _in_force(self, guild_id: int) -> list[str]:
        own = await self._labels.labels(guild_id)
        return self._default_names if own is None else own

    @property
    def _default_names(self) -> list[str]:
        return [label.en for label in self._defaults]


def _guild_id(interaction: Interaction) -> int:
    if interaction.guild_id is None:
        raise app_commands.NoPrivateMessage
    return interaction.guild_id


def _mode_words(mode: Announcement, texts: Texts) -> str:
    return {
        Announcement.OFF: texts.mode_off,
        Announcement.SILENT: texts.mode_silent,
        Announcement.REACTION: texts.mode_reaction,
        Announcement.REPLY: texts.mode_reply,
    }[mode]


def _shortened(names: list[str]) -> str:
    line = ", ".join(plain(name) for name in names)
    return line if len(line) <= _LISTED_CHARACTERS else line[:_LISTED_CHARACTERS].rsplit(", ", 1)[0] + " …"


async def _answer(interaction: Interaction, sentence: str) -> None:
    await interaction.response.send_message(view=sentence_view(sentence), ephemeral=True)
