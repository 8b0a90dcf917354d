"""Buttons that outlive a restart: what they mean is in their id. They only report the press; a cog acts on it."""

from __future__ import annotations

import re
from typing import Any, Self

import discord


class MoreLikeThis(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.LayoutView]], template=r"magpie:like:(?P<picture_id>\d{1,19})"
):
    """Asks for the look-alikes of one remembered picture. Reported as the event `more_like_this`."""

    def __init__(self, picture_id: int, label: str = "…") -> None:
        super().__init__(discord.ui.Button(label=label, emoji="🔍", custom_id=f"magpie:like:{picture_id}"))
        self.picture_id = picture_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        return cls(int(match["picture_id"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        interaction.client.dispatch("more_like_this", interaction, self.picture_id)


class ConfirmForget(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.LayoutView]], template=r"magpie:forget:(?P<user_id>\d{1,19})"
):
    """Confirms /forget-me, for the person it was shown to. Reported as the event `forget_confirmed`."""

    def __init__(self, user_id: int, label: str = "…") -> None:
        super().__init__(
            discord.ui.Button(label=label, style=discord.ButtonStyle.danger, custom_id=f"magpie:forget:{user_id}")
        )
        self.user_id = user_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        return cls(int(match["user_id"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        interaction.client.dispatch("forget_confirmed", interaction, self.user_id)
