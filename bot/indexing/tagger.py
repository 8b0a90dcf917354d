"""Names what is in an image, in the words of the server it was posted to."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bot.indexing.labels import LabelBook, NamedLabel
from bot.indexing.protocols import GuildLabels
from bot.models import Tag
from bot.search.protocols import Classifier, Engine
from clipcore.errors import EncodingFailed
from clipcore.types import Label

log = logging.getLogger(__name__)

CLASSIFIERS_KEPT = 32
TAGS_SHOWN = 5


class Tagger:
    """Zero-shot tags from a server's own labels, or from the defaults where it has none of its own.

    A server may name its labels in English or Chinese: a word that the defaults know, in either language or as a
    synonym, is described to the model with the default's phrases; any other word is described by itself.
    The labels are asked for with every batch of images, so a change holds from the next one on.
    """

    def __init__(self, engine: Engine, labels_store: GuildLabels, defaults: Sequence[NamedLabel]) -> None:
        self._engine = engine
        self._labels_store = labels_store
        self._book = LabelBook(defaults)
        self._default_labels = tuple(label.as_label() for label in defaults)
        self._classifiers: OrderedDict[tuple[Label, ...], Classifier] = OrderedDict()
        self._building = asyncio.Lock()

    async def tags(
        self, guild_id: int, vectors: Sequence[npt.NDArray[np.float16] | npt.NDArray[np.float32]]
    ) -> list[tuple[Tag, ...]]:
        """vectors: each [dim], unit length. For each the likeliest first, empty when nothing is likely enough.

        Raises QueueFull.
        """
        labels = self._worded(await self._labels_store.labels(guild_id))
        if not labels:
            return [()] * len(vectors)
        try:
            classifier = await self._classifier(labels)
        except EncodingFailed:
            # A label that the model chokes on must not cost the server its images.
            log.exception("labels of guild %d cannot be encoded; its images go untagged", guild_id)
            return [()] * len(vectors)
        found = classifier.classify(np.stack(vectors).astype(np.float32), top=TAGS_SHOWN)
        return [tuple(Tag(score.label, score.probability) for score in scores) for scores in found]

    def _worded(self, names: Sequence[str] | None) -> tuple[Label, ...]:
        if names is None:
            return self._default_labels
        return tuple(self._book.describe(name) for name in names)

    async def _classifier(self, labels: tuple[Label, ...]) -> Classifier:
        async with self._building:
            classifier = self._classifiers.get(labels)
            if classifier is None:
                classifier = self._classifiers[labels] = await self._engine.classifier(labels)
                if len(self._classifiers) > CLASSIFIERS_KEPT:
                    self._classifiers.popitem(last=False)
            self._classifiers.move_to_end(labels)
            return classifier
