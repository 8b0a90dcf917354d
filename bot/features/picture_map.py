"""/map: the newest pictures in one image, look-alikes together, each cluster named by its tags."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import discord
import numpy as np
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, answer, sentence_view
from bot.discord_io.components import View
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import MemberAudience, asker_of, audience_of
from bot.errors import ImageTooLarge, ImageUnreachable
from bot.features.formatting import plain
from bot.i18n import CHINESE, Texts, texts_for
from bot.models import RemoteImage
from bot.search.map_image import EDGE, Cluster, draw_map
from bot.search.map_layout import clusters_of, names_of, plane
from bot.search.picture_map import MapPicture, Pictures
from clipcore.errors import ClipError, QueueFull
from clipcore.fair_places import Owner
from clipcore.types import Pixels, Vectors

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

MOST = 200
"""Pictures on a map."""
_FEWEST = 2  # one alone is like nothing

# Maps that are made at a time, and how long another member waits. Each takes seconds, and has few downloads at a time.
_AT_ONCE, _LONGEST_WAIT_S = 2, 10.0
_DOWNLOADS = 6
# From the beginning of a map: when Discord is not asked any more, and when nothing is downloaded any more.
_LOOK_UPS_S, _DOWNLOADS_S = 15.0, 30.0

_IMAGE = "map.jpg"
_ALT_TEXT_LIMIT = 1024
_LONGEST = 3000  # characters of the list, of the 4000 that a message may show

_cooldown = app_commands.checks.cooldown(2, 60.0)


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture with its thumbnail, uint8 [EDGE, EDGE, 3]."""

    picture: MapPicture
    thumbnail: Pixels


@dataclass(frozen=True, slots=True)
class NamedCluster:
    names: tuple[str, ...]
    count: int


class MapCog(commands.Cog, name="map"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        self._places = asyncio.Semaphore(_AT_ONCE)

    @app_commands.command(name="map", description="See the newest pictures in one image, look-alikes together")
    @app_commands.describe(channel="Only pictures in this channel")
    @app_commands.guild_only()
    @_cooldown
    async def map(self, interaction: Interaction, channel: ImageChannel | None = None) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise QueueFull("other maps are being made") from None
        try:
            await self._answer(interaction, None if channel is None else channel.id)
        finally:
            self._places.release()

    async def _answer(self, interaction: Interaction, channel_id: int | None) -> None:
        services, texts, audience = self._bot.services, texts_for(interaction.locale), audience_of(interaction)
        began = asyncio.get_running_loop().time()
        pictures = await services.maps.choose(audience, channel_id, MOST, began + _LOOK_UPS_S)
        shown = await self._thumbnails(pictures.found, asker_of(interaction), began + _DOWNLOADS_S)
        shown, vectors = await self._to_draw(audience, shown)
        if len(shown) < _FEWEST:
            unanswered = len(pictures.found) + pictures.unreachable >= _FEWEST
            await answer(interaction, texts.map.unreachable if unanswered else texts.map.too_few)
            return
        jpeg, clusters = await asyncio.to_thread(self._draw, shown, vectors, texts)
        view = map_view(clusters, pictures, len(shown), texts)
        await interaction.edit_original_response(view=view, attachments=[discord.File(io.BytesIO(jpeg), _IMAGE)])

    async def _thumbnails(self, pictures: Sequence[MapPicture], asker: Owner, until: float) -> list[Shown]:
        """Of those that arrive in time and can be decoded."""
        at_once, made = asyncio.Semaphore(_DOWNLOADS), dict[int, Pixels]()

        async def make(at: int, remote: RemoteImage) -> None:
            services = self._bot.services
            with suppress(ImageUnreachable, ImageTooLarge, ClipError):
                async with at_once:
                    data = await services.downloader.download_small(remote)
                    made[at] = await services.engine.thumbnail(data, EDGE, asker)

        with suppress(TimeoutError):
            async with asyncio.timeout_at(until), asyncio.TaskGroup() as tasks:
                for at, picture in enumerate(pictures):
                    tasks.create_task(make(at, picture.remote))
        return [Shown(pictures[at], made[at]) for at in sorted(made)]

    async def _to_draw(self, audience: MemberAudience, shown: Sequence[Shown]) -> tuple[list[Shown], Vectors]:
        """What the member may still see, and has an embedding; and the embeddings."""
        maps = self._bot.services.maps
        visible = {one.image.id for one in maps.still_visible(audience, [one.picture for one in shown])}
        shown = [one for one in shown if one.picture.image.id in visible]
        vectors = await maps.vectors(audience.guild_id, [one.picture for one in shown])
        known = np.flatnonzero(vectors.any(axis=1))
        return [shown[at] for at in known], vectors[known]

    def _draw(self, shown: Sequence[Shown], vectors: Vectors, texts: Texts) -> tuple[bytes, list[NamedCluster]]:
        clusters, positions = clusters_of(vectors), plane(vectors)
        labels = [[[tag.label for tag in shown[at].picture.image.tags] for at in cluster] for cluster in clusters]
        formatter, chinese = self._bot.services.tag_formatter, texts is CHINESE
        names = [
            tuple(formatter.name(label, chinese=chinese) for label in of_cluster) or (texts.map.unnamed,)
            for of_cluster in names_of(labels)
        ]
        drawn = [
            Cluster(name, [shown[at].thumbnail for at in cluster], positions[cluster])
            for name, cluster in zip(names, clusters, strict=True)
        ]
        counted = [NamedCluster(name, len(cluster)) for name, cluster in zip(names, clusters, strict=True)]
        return draw_map(drawn), counted


def map_view(clusters: Sequence[NamedCluster], pictures: Pictures, shown: int, texts: Texts) -> View:
    """clusters: the largest first. shown: how many pictures are on the map."""
    wording = texts.map
    view = sentence_view((wording.newest if pictures.more else wording.all).format(shown))
    listed = " · ".join(f"{', '.join(cluster.names)} {texts.number(cluster.count)}" for cluster in clusters)
    alt_text = wording.alt.format(groups=listed)[:_ALT_TEXT_LIMIT]
    view.add_item(discord.ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{_IMAGE}", description=alt_text)))
    lines = " · ".join(f"{plain(', '.join(cluster.names))} **{texts.number(cluster.count)}**" for cluster in clusters)
    notes = [wording.no_spoilers]
    if missing := len(pictures.found) + pictures.unreachable - shown:
        notes.append(wording.missing.format(missing))
    view.add_item(discord.ui.TextDisplay(f"{lines[:_LONGEST]}\n-# {' '.join(notes)}"))
    return view
