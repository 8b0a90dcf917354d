"""/tags: what the pictures of a channel or server show, as a list and as a chart."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.charts import bar_chart
from bot.discord_io.answers import Interaction, sentence_view
from bot.discord_io.components import View
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import audience_of
from bot.features.formatting import plain
from bot.i18n import CHINESE, Texts, texts_for
from bot.models import Tag
from bot.search.service import readable_channels
from bot.store.tags import CountedTag

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_BARS = 20  # of a height that fits into a window
_LISTED = 60
_LONGEST = 3000  # characters of the list, of the 4000 that a message may show
_CHART = "tags.png"
_ALT_TEXT_LIMIT = 1024

_cooldown = app_commands.checks.cooldown(3, 20.0)  # a chart takes a third of a second to draw


class OverviewCog(commands.Cog, name="overview"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    @app_commands.command(name="tags", description="What the pictures here show: their tags, counted")
    @app_commands.describe(channel="Only pictures in this channel")
    @app_commands.guild_only()
    @_cooldown
    async def tags(self, interaction: Interaction, channel: ImageChannel | None = None) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        texts = texts_for(interaction.locale)
        counted = await self._tags_seen_by(interaction, channel.id if channel is not None else None)
        if not counted:
            await interaction.edit_original_response(view=sentence_view(texts.overview.no_tags))
            return
        names = [self._name(tag, texts) for tag in counted[:_LISTED]]
        png = await asyncio.to_thread(bar_chart, names[:_BARS], [tag.count for tag in counted[:_BARS]])
        chart = discord.File(io.BytesIO(png), _CHART)
        await interaction.edit_original_response(view=tags_view(counted, names, texts), attachments=[chart])

    async def _tags_seen_by(self, interaction: Interaction, channel_id: int | None) -> list[CountedTag]:
        """Of the images that the member may see, in this channel and its threads or everywhere."""
        services, audience = self._bot.services, audience_of(interaction)
        readable = await readable_channels(services.images, audience, channel_id)
        return await services.tags.tags_in(audience.guild_id, readable)

    def _name(self, tag: CountedTag, texts: Texts) -> str:
        return self._bot.services.tag_formatter.names([Tag(tag.label, 1.0)], chinese=texts is CHINESE)


def tags_view(counted: Sequence[CountedTag], names: Sequence[str], texts: Texts) -> View:
    """names: of the first tags, in the reader's language."""
    view = sentence_view(texts.overview.tags.format(len(counted)))
    bars = ", ".join(f"{name} {tag.count:,}" for name, tag in zip(names[:_BARS], counted, strict=False))
    alt_text = texts.overview.chart_alt.format(tags=bars)[:_ALT_TEXT_LIMIT]
    view.add_item(discord.ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{_CHART}", description=alt_text)))
    line, shown = "", 0
    for name, tag in zip(names, counted, strict=False):
        longer = f"{line} · {plain(name)} **{tag.count:,}**" if line else f"{plain(name)} **{tag.count:,}**"
        if len(longer) > _LONGEST:
            break
        line, shown = longer, shown + 1
    if left := len(counted) - shown:
        line += f" · {texts.overview.more.format(left)}"
    view.add_item(discord.ui.TextDisplay(f"{line}\n-# {texts.overview.find_by_tag}"))
    return view
