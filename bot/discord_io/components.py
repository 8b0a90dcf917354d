"""The buttons and menus of the bot's messages. Each names an action, so that it still works after a restart."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, answer, answered
from bot.errors import NotYours
from bot.i18n import texts_for

View = discord.ui.LayoutView

# Of each member and number of seconds, over all buttons and menus.
_COOLDOWN = (15, 10.0)

# `magpie:NAME`, the member that it belongs to if it is not everybody's, and what the action needs to know.
_CUSTOM_ID = r":(?P<name>[a-z_]+)(?::@(?P<owner>\d{1,20}))?(?P<arguments>(?::[\w-]+)*)"
_BUTTON, _MENU, _CHANNELS = "magpie", "magpie-menu", "magpie-channels"

_CHANNEL_TYPES = (
    discord.ChannelType.text,
    discord.ChannelType.news,
    discord.ChannelType.voice,
    discord.ChannelType.stage_voice,
    discord.ChannelType.forum,
)


@dataclass(frozen=True, slots=True)
class Press:
    """A button pressed, or a choice made in a menu. arguments: as the component was made with; values: the choice."""

    interaction: Interaction
    arguments: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


Action = Callable[[Press], Awaitable[None]]


class Actions:
    """What the components do, by name. A feature adds its own when it is loaded.

    An action runs for the member that its component belongs to. It must establish all other rights afresh, and respond
    within three seconds; what it raises becomes a sentence, as for a command.
    """

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}
        self._presses: commands.CooldownMapping[Interaction] = commands.CooldownMapping.from_cooldown(
            *_COOLDOWN, lambda interaction: interaction.user.id
        )

    def add(self, **actions: Action) -> None:
        for name, action in actions.items():
            if name in self._actions:
                raise ValueError(f"there already is an action {name!r}")
            self._actions[name] = action

    async def run(self, name: str, owner: str | None, press: Press) -> None:
        interaction = press.interaction
        cooldown = self._presses.get_bucket(interaction)
        if cooldown is not None and (seconds := cooldown.update_rate_limit()):
            raise app_commands.CommandOnCooldown(cooldown, seconds)
        if owner is not None and int(owner) != interaction.user.id:
            raise NotYours
        action = self._actions.get(name)
        if action is None:  # the message is of another version
            await answer(interaction, texts_for(interaction.locale).errors.outdated)
            return
        await action(press)


class ActionButton(discord.ui.DynamicItem[discord.ui.Button[View]], template=_BUTTON + _CUSTOM_ID):
    """Runs an action. owner: the id of the only member who may press it; None: everybody who sees it."""

    def __init__(
        self,
        action: str,
        *arguments: object,
        owner: int | None = None,
        label: str | None = None,
        emoji: str | None = None,
        style: discord.ButtonStyle = discord.ButtonStyle.secondary,
        disabled: bool = False,
    ) -> None:
        custom_id = _custom_id(_BUTTON, action, owner, arguments)
        super().__init__(
            discord.ui.Button(label=label, emoji=emoji, style=style, disabled=disabled, custom_id=custom_id)
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        return cls(match["name"], *_split(match["arguments"]), owner=_owner(match), label="…")

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await _pressed(interaction, self.template.fullmatch(self.custom_id))


class ActionMenu(discord.ui.DynamicItem[discord.ui.Select[View]], template=_MENU + _CUSTOM_ID):
    """Runs an action with what is chosen. See ActionButton."""

    def __init__(
        self,
        action: str,
        *arguments: object,
        options: Sequence[discord.SelectOption],
        owner: int | None = None,
        placeholder: str | None = None,
        min_values: int = 1,
        max_values: int = 1,
    ) -> None:
        super().__init__(
            discord.ui.Select(
                custom_id=_custom_id(_MENU, action, owner, arguments),
                placeholder=placeholder,
                min_values=min_values,
                max_values=max_values,
                options=list(options),
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        options = [discord.SelectOption(label="…")]
        return cls(match["name"], *_split(match["arguments"]), options=options, owner=_owner(match))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await _pressed(interaction, self.template.fullmatch(self.custom_id))


class ActionChannels(discord.ui.DynamicItem[discord.ui.ChannelSelect[View]], template=_CHANNELS + _CUSTOM_ID):
    """A menu of channels in which images are posted; values: the ids of those chosen. See ActionButton."""

    def __init__(
        self,
        action: str,
        *arguments: object,
        owner: int | None = None,
        placeholder: str | None = None,
        min_values: int = 1,
        max_values: int = 1,
        chosen: Sequence[int] = (),
    ) -> None:
        super().__init__(
            discord.ui.ChannelSelect(
                custom_id=_custom_id(_CHANNELS, action, owner, arguments),
                placeholder=placeholder,
                min_values=min_values,
                max_values=max_values,
                channel_types=list(_CHANNEL_TYPES),
                default_values=[discord.Object(id_) for id_ in chosen],
            )
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        return cls(match["name"], *_split(match["arguments"]), owner=_owner(match))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await _pressed(interaction, self.template.fullmatch(self.custom_id))


async def _pressed(interaction: Interaction, match: re.Match[str] | None) -> None:
    assert match is not None  # noqa: S101 - discord.py found this component by it
    data: Mapping[str, Any] = interaction.data or {}
    press = Press(interaction, _split(match["arguments"]), tuple(data.get("values", ())))
    await answered(interaction, interaction.client.actions.run(match["name"], match["owner"], press))


def _custom_id(prefix: str, action: str, owner: int | None, arguments: Sequence[object]) -> str:
    parts = [prefix, action, *(() if owner is None else (f"@{owner}",)), *map(str, arguments)]
    custom_id = ":".join(parts)
    if len(custom_id) > 100 or re.fullmatch(prefix + _CUSTOM_ID, custom_id) is None:
        raise ValueError(f"not a custom id: {custom_id!r}")
    return custom_id


def _split(arguments: str) -> tuple[str, ...]:
    return tuple(arguments.split(":")[1:])


def _owner(match: re.Match[str]) -> int | None:
    return None if match["owner"] is None else int(match["owner"])
