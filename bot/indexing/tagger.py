"""Tagger: tags an image with its guild's labels, as its channel's tagging mode says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from bot.indexing.labels import LabelBook, NamedLabel
from bot.keyed_lock import KeyedLock
from bot.logging import get_logger
from bot.models import ChannelRef, Tag, TaggingMode
from bot.protocols import Classifier, Engine
from bot.store.guilds import ChannelStore, LabelStore
from clipcore.errors import ClipError, EncodingFailed
from clipcore.types import Label

log = get_logger(__name__)

MAX_TAGS = 5
MAX_CLASSIFIERS = 32
_MAX_GUILDS = 1024


@dataclass(slots=True)
class _GuildSettings:
    """labels: those in force, as the model is asked for them. modes: of the channels that had images lately."""

    labels: tuple[Label, ...]
    modes: dict[ChannelRef, TaggingMode] = field(default_factory=dict)


class Tagger:
    """Zero-shot tags from a guild's own labels, or from the defaults where it has none.

    A guild may name its labels in English or Chinese: a name that the defaults know, in either language or as a
    synonym, is described to the model by the phrases of the default; any other name describes itself.

    Labels and tagging modes are cached: call `invalidate` once a change of them is committed.
    """

    def __init__(
        self, engine: Engine, labels: LabelStore, channels: ChannelStore, defaults: Sequence[NamedLabel]
    ) -> None:
        self._engine = engine
        self._labels = labels
        self._channels = channels
        self._book = LabelBook(defaults)
        self._default_labels = tuple(Label(label.en, label.phrases) for label in defaults)
        self._guilds: LRUCache[int, _GuildSettings] = LRUCache(_MAX_GUILDS)
        self._reading = KeyedLock()
        self._classifiers: LRUCache[tuple[Label, ...], Classifier] = LRUCache(MAX_CLASSIFIERS)
        self._building = KeyedLock()
        self._preparing: asyncio.Task[None] | None = None

    async def tag(
        self, channel: ChannelRef, embedding: npt.NDArray[np.float16] | npt.NDArray[np.float32]
    ) -> tuple[TaggingMode, tuple[Tag, ...]]:
        """The channel's tagging mode, and the tags of an image posted there, most probable first.

        embedding: [dim], unit length. There may be no tag that is probable enough; in a channel
        whose mode is OFF there never is one. Raises QueueFull or EngineClosed.
        """
        mode, labels = await self._settings(channel)
        if mode is TaggingMode.OFF or not labels:
            return mode, ()
        try:
            classifier = await self._classifier(labels)
        except EncodingFailed:  # an unencodable label must not block indexing
            log.exception("labels cannot be encoded; images are not tagged", guild_id=channel.guild_id)
            return mode, ()
        [scores] = classifier.classify(np.asarray(embedding, np.float32)[np.newaxis], top=MAX_TAGS)
        return mode, tuple(Tag(score.label, score.probability) for score in scores)

    def start(self) -> None:
        """Prepares the default labels, which most guilds have. An image that comes meanwhile waits for them."""
        self._preparing = asyncio.create_task(self._prepare_defaults(), name="prepare the default labels")

    async def close(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)

    async def invalidate(self, guild_id: int) -> None:
        """The labels of a guild, or the tagging mode of one of its channels, changed."""
        async with self._reading(guild_id):  # else a read that began before the change would be cached after it
            self._guilds.pop(guild_id, None)

    async def _prepare_defaults(self) -> None:
        began = time.monotonic()
        try:
            await self._classifier(self._default_labels)
        except ClipError:  # the first image tries again
            log.exception("the default labels could not be prepared")
        else:
            log.info("default labels are ready", seconds=round(time.monotonic() - began, 1))

    async def _classifier(self, labels: tuple[Label, ...]) -> Classifier:
        async with self._building(labels):
            classifier = self._classifiers.get(labels)
            if classifier is None:
                classifier = await self._engine.classifier(labels, keep=labels is self._default_labels)
                self._classifiers[labels] = classifier
            return classifier

    async def _settings(self, channel: ChannelRef) -> tuple[TaggingMode, tuple[Label, ...]]:
        async with self._reading(channel.guild_id):
            guild = self._guilds.get(channel.guild_id)
            if guild is None:
                names = await self._labels.labels(channel.guild_id)
                labels = self._default_labels if names is None else tuple(self._book.describe(name) for name in names)
                guild = self._guilds[channel.guild_id] = _GuildSettings(labels)
            if channel not in guild.modes:
                guild.modes[channel] = await self._channels.tagging_mode(channel)
            return guild.modes[channel], guild.labels
