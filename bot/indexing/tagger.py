"""Tagger: tags images with the labels that apply in their channel, as the channel's tagging mode says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from bot.indexing.labels import LabelInForce, ShippedLabels
from bot.indexing.tag_scores import MIDDLE, needed_probability, tag_score
from bot.keyed_lock import KeyedLock
from bot.logging import get_logger
from bot.models import ChannelRef, Tag, TaggingMode
from bot.protocols import Classifier, Engine
from bot.store.guilds import ChannelStore
from bot.store.labels import GuildLabels, LabelSet, LabelStore
from clipcore.errors import ClipError, EncodingFailed
from clipcore.types import Label, Vectors

log = get_logger(__name__)

MAX_TAGS = 5
MAX_CLASSIFIERS = 32
_MAX_GUILDS = 1024

Embeddings = npt.NDArray[np.float16] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Labels:
    """Those that apply somewhere. for_model: as the model is asked for them. needed: the least probability of each."""

    all: tuple[LabelInForce, ...]
    for_model: tuple[Label, ...]
    needed: npt.NDArray[np.float64]


@dataclass(slots=True)
class _GuildSettings:
    """labels: of the sets that were needed lately. modes: of the channels that had images lately."""

    chosen: GuildLabels
    labels: dict[LabelSet, _Labels] = field(default_factory=dict)
    modes: dict[ChannelRef, TaggingMode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tagged:
    """tags: of each image, most probable first. labels_version: of the guild's labels that they come from."""

    mode: TaggingMode
    labels_version: int
    tags: tuple[tuple[Tag, ...], ...]


@dataclass(frozen=True, slots=True)
class ScoredLabel:
    """score, needed: see `tag_score`. given: whether the image gets this tag."""

    label: LabelInForce
    score: int
    needed: int
    given: bool


class Tagger:
    """Zero-shot tags by the labels that a guild chose, or by the defaults.

    A guild may name labels of its own in English or Chinese: a name that a shipped label has, in either language or as
    a synonym, is described to the model by that one's phrases unless it has prompts; any other name describes itself.

    Labels and tagging modes are cached: call `invalidate` once a change of them is committed.
    """

    def __init__(self, engine: Engine, labels: LabelStore, channels: ChannelStore, shipped: ShippedLabels) -> None:
        self._engine = engine
        self._labels = labels
        self._channels = channels
        self._shipped = shipped
        self._defaults = tuple(label.for_model for label in shipped.in_force(LabelSet()))
        self._guilds: LRUCache[int, _GuildSettings] = LRUCache(_MAX_GUILDS)
        self._reading = KeyedLock()
        self._classifiers: LRUCache[tuple[Label, ...], Classifier] = LRUCache(MAX_CLASSIFIERS)
        self._building = KeyedLock()
        self._preparing: asyncio.Task[None] | None = None

    async def tag(self, channel: ChannelRef, embeddings: Embeddings) -> Tagged:
        """The channel's tagging mode, and the tags of images posted there.

        embeddings: [n, dim], unit length. An image has no tag where none is probable enough; in a channel whose mode is
        OFF none ever has, and with labels that cannot be encoded neither. Raises QueueFull or EngineClosed.
        """
        try:
            return await self.tags_of(channel, embeddings)
        except EncodingFailed:  # an unencodable label must not block indexing
            log.exception("labels cannot be encoded; images are not tagged", guild_id=channel.guild_id)
            mode, version, _ = await self._settings(channel)
            return Tagged(mode, version, ((),) * len(embeddings))

    async def tags_of(self, channel: ChannelRef, embeddings: Embeddings) -> Tagged:
        """As `tag`. Raises EncodingFailed, too."""
        mode, version, labels = await self._settings(channel)
        if mode is TaggingMode.OFF or not labels.all:
            return Tagged(mode, version, ((),) * len(embeddings))
        classifier = await self._classifier(labels.for_model)
        probabilities = await self._probabilities(classifier, embeddings)
        return Tagged(mode, version, tuple(_best(labels, row) for row in probabilities))

    async def scores(self, channel: ChannelRef, embedding: Embeddings) -> list[ScoredLabel]:
        """What every label that applies in a channel scores for one image, whatever the channel's mode; best first.

        embedding: [dim], unit length. Raises EncodingFailed, QueueFull or EngineClosed.
        """
        _, _, labels = await self._settings(channel)
        if not labels.all:
            return []
        [row] = await self._probabilities(await self._classifier(labels.for_model), embedding[np.newaxis])
        given = {tag.label for tag in _best(labels, row)}
        threshold = self._engine.calibration.tag_threshold
        best_first = [(labels.all[at], float(row[at])) for at in np.argsort(-row, kind="stable")]
        return [
            ScoredLabel(label, tag_score(probability, threshold), label.threshold or MIDDLE, label.name in given)
            for label, probability in best_first
        ]

    async def labels_in(self, channel: ChannelRef) -> tuple[LabelInForce, ...]:
        """The labels that apply in a channel or thread."""
        return (await self._settings(channel))[2].all

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
            await self._classifier(self._defaults)
        except ClipError:  # the first image tries again
            log.exception("the default labels could not be prepared")
        else:
            log.info("default labels are ready", seconds=round(time.monotonic() - began, 1))

    async def _classifier(self, labels: tuple[Label, ...]) -> Classifier:
        async with self._building(labels):
            classifier = self._classifiers.get(labels)
            if classifier is None:
                classifier = await self._engine.classifier(labels, keep=labels == self._defaults)
                self._classifiers[labels] = classifier
            return classifier

    async def _probabilities(self, classifier: Classifier, embeddings: Embeddings) -> Vectors:
        """One image takes a fraction of a millisecond; many are classified beside the event loop."""
        vectors = np.asarray(embeddings, np.float32)
        if len(vectors) == 1:
            return classifier.probabilities(vectors)
        return await asyncio.to_thread(classifier.probabilities, vectors)

    async def _settings(self, channel: ChannelRef) -> tuple[TaggingMode, int, _Labels]:
        async with self._reading(channel.guild_id):
            guild = self._guilds.get(channel.guild_id)
            if guild is None:
                chosen = await self._labels.of_guild(channel.guild_id)
                guild = self._guilds[channel.guild_id] = _GuildSettings(chosen)
            if channel not in guild.modes:
                guild.modes[channel] = await self._channels.tagging_mode(channel)
            here = guild.chosen.of(channel)
            if here not in guild.labels:
                guild.labels[here] = self._in_force(here)
            return guild.modes[channel], guild.chosen.version, guild.labels[here]

    def _in_force(self, chosen: LabelSet) -> _Labels:
        labels, threshold = self._shipped.in_force(chosen), self._engine.calibration.tag_threshold
        needed = [needed_probability(label.threshold or MIDDLE, threshold) for label in labels]
        return _Labels(labels, tuple(label.for_model for label in labels), np.array(needed))


def _best(labels: _Labels, probabilities: Vectors) -> tuple[Tag, ...]:
    """probabilities: float32 [labels]. The most probable labels of those that have what they need; of equal ones the
    earlier first.
    """
    enough = np.flatnonzero(probabilities >= labels.needed)
    best = [int(at) for at in enough[np.argsort(-probabilities[enough], kind="stable")][:MAX_TAGS]]
    return tuple(
        Tag(label.name, float(probabilities[at]), language=label.language)
        for at, label in ((at, labels.all[at]) for at in best)
    )
