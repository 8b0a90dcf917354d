"""A model whose name is known at once and whose weights are loaded when something must really be encoded.

Loading takes seconds, and most of what folder search does (finding that nothing changed, copies, look-alikes of
remembered pictures) needs no inference.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from clipcore.checkpoint import find_checkpoint
from clipcore.features import PictureEncoder
from clipcore.types import Box, Calibration, ModelCard, Pixels, Vectors
from clipcore.zero_shot import mean_direction


class TextAndPictureEncoder(PictureEncoder, Protocol):
    """What is needed of a model here; see `ClipModel`."""

    @property
    def calibration(self) -> Calibration: ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors: ...


class LazyModel:
    """key: as ModelCard's. Encodes as the model does, loading it the first time; any thread may be the first."""

    def __init__(self, key: str, calibration: Calibration, load: Callable[[], TextAndPictureEncoder]) -> None:
        self.key = key
        self._calibration = calibration
        self._load = load
        self._loaded: TextAndPictureEncoder | None = None
        self._lock = threading.Lock()

    @classmethod
    def named(cls, name: str, load: Callable[[], TextAndPictureEncoder]) -> LazyModel:
        """Downloads the checkpoint if need be. Raises ModelUnavailable."""
        checkpoint = find_checkpoint(name)
        card = ModelCard(checkpoint.id, checkpoint.revision, 0, 0, 0, 1.0)
        return cls(card.key, checkpoint.calibration(), load)

    @property
    def calibration(self) -> Calibration:
        """What the files say until the model is loaded; then its own, since only its weights tell how it scales."""
        return self._calibration if self._loaded is None else self._loaded.calibration

    @property
    def card(self) -> ModelCard:
        return self._model.card

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        return self._model.prepare(pixels, box)

    def encode_prepared(self, batch: Pixels) -> Vectors:
        return self._model.encode_prepared(batch)

    def encode_words(self, words: str) -> Vectors:
        """What a person typed -> float32 [dim], unit length: the mean over the templates that suit the model.

        Raises WordsNotUnderstood where the model sees pictures alone.
        """
        return mean_direction(self._model.encode_texts(self.card.prompts.for_query(words)))

    @property
    def _model(self) -> TextAndPictureEncoder:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
                if self._loaded.card.key != self.key:
                    raise RuntimeError(f"{self.key} was promised, {self._loaded.card.key} was loaded")
            return self._loaded
