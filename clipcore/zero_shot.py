"""Tagging with words alone: the probability of each label, given everything else the image might be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipcore.batching import DEFAULT_BATCH_SIZE, encode_texts
from clipcore.prompts import Prompts
from clipcore.types import Encoder, Label, LabelScore, Vectors

_FEW = 64


@dataclass(frozen=True, slots=True)
class LabelBank:
    """The vectors of labels and of the background. labels: names; vectors, background: float32, unit length rows."""

    labels: tuple[str, ...]
    vectors: Vectors
    background: Vectors

    @classmethod
    def build(
        cls, labels: Sequence[Label], prompts: Prompts, vector_of: Mapping[str, Vectors], dimension: int
    ) -> LabelBank:
        """vector_of: the vector of each text in `texts_for(labels, prompts)`."""
        empty = np.empty((0, dimension), np.float32)
        rows = [mean_direction([vector_of[text] for text in _texts_of(label, prompts)]) for label in labels]
        return cls(
            labels=tuple(label.name for label in labels),
            vectors=np.stack(rows) if rows else empty,
            background=np.stack([vector_of[text] for text in prompts.background]) if prompts.background else empty,
        )

    @classmethod
    def encode(
        cls,
        model: Encoder,
        labels: Sequence[str | Label],
        prompts: Prompts | None = None,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> LabelBank:
        """prompts: those that suit the model, unless others are given. Raises TextNotSupported."""
        chosen = prompts or model.card.prompts
        named = [Label(label) if isinstance(label, str) else label for label in labels]
        texts = texts_for(named, chosen)
        vector_of = dict(zip(texts, encode_texts(model, texts, batch_size=batch_size), strict=True))
        return cls.build(named, chosen, vector_of, model.card.dimension)


def texts_for(labels: Sequence[Label], prompts: Prompts) -> tuple[str, ...]:
    """Every text whose vector a bank of these labels needs, once each."""
    texts = [text for label in labels for text in _texts_of(label, prompts)]
    return tuple(dict.fromkeys([*texts, *prompts.background]))


class ZeroShotClassifier:
    """Softmax over logit_scale x cosine of labels and background prompts together (Radford et al. 2021, §3.1.2).

    The background takes the probability of images that are none of the labels, so the classifier can abstain. A
    image of two things shares its probability between them; `least` must therefore lie well below a half.

    logit_bias: with one, each label is judged by itself, by the sigmoid that SigLIP is trained with (Zhai et al. 2023,
    §3.2): probabilities need not add up to 1, none may be likely, and a background is not needed.
    """

    def __init__(self, bank: LabelBank, *, logit_scale: float, least: float, logit_bias: float | None = None) -> None:
        self._labels = bank.labels
        self._rows = np.concatenate([bank.vectors, bank.background])
        self._logit_scale = logit_scale
        self._logit_bias = logit_bias
        self._least = least

    @classmethod
    def for_model(
        cls,
        model: Encoder,
        labels: Sequence[str | Label],
        prompts: Prompts | None = None,
        *,
        least: float = 0.0,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> ZeroShotClassifier:
        """Labels in words -> a classifier that judges as the model was trained: softmax, or sigmoid with a bias.

        prompts: those that suit the model, background included, unless others are given. Raises TextNotSupported.
        """
        bank = LabelBank.encode(model, labels, prompts, batch_size=batch_size)
        bias = model.card.logit_bias or None
        return cls(bank, logit_scale=model.card.logit_scale, least=least, logit_bias=bias)

    def probabilities(self, vectors: Vectors) -> Vectors:
        """vectors: float32 [n, dim], unit length. Returns float32 [n, labels]; what is missing to 1 is the
        background's, where there is no bias.
        """
        logits = self._logit_scale * _cosines(np.asarray(vectors, np.float32), self._rows)
        if not self._labels:
            return np.empty((len(logits), 0), np.float32)
        if self._logit_bias is not None:
            return _sigmoid(logits[:, : len(self._labels)] + self._logit_bias)
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        shares: Vectors = weights[:, : len(self._labels)] / weights.sum(axis=1, keepdims=True)
        return shares

    def classify(self, vectors: Vectors, top: int = 5) -> list[tuple[LabelScore, ...]]:
        """For each vector its likeliest labels, best first; an empty tuple where none is likely enough."""
        return [likeliest(self._labels, row, top, self._least) for row in self.probabilities(vectors)]


def likeliest(labels: Sequence[str], probabilities: Vectors, top: int, least: float) -> tuple[LabelScore, ...]:
    """probabilities: float32 [labels]. At most `top` of them, best first, none below `least`; of equals the earlier."""
    best = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(
        LabelScore(labels[index], float(probabilities[index])) for index in best if probabilities[index] >= least
    )


def _cosines(vectors: Vectors, rows: Vectors) -> Vectors:
    """float32 [n, rows]: of each of `vectors` with each of `rows`.

    OpenBLAS, which numpy brings, takes a second thread for as little as eight vectors, and that thread then spins for
    100 ms in case more comes: for whoever judges a few images again and again, most of a core.
    """
    if len(vectors) > _FEW:
        return np.asarray(vectors @ rows.T)
    cosines: Vectors = np.einsum("nd,ld->nl", vectors, rows)
    return cosines


def _sigmoid(logits: Vectors) -> Vectors:
    # By way of tanh nothing overflows, however far from zero a logit lies.
    probabilities: Vectors = (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
    return probabilities


def _texts_of(label: Label, prompts: Prompts) -> list[str]:
    return [text for phrase in label.phrases or (label.name,) for text in prompts.for_phrase(phrase)]


def mean_direction(vectors: Sequence[Vectors] | Vectors) -> Vectors:
    """vectors: float32 [n, dim], unit length. Returns float32 [dim], unit length: the direction between them."""
    mean = np.asarray(vectors, np.float32).mean(axis=0)
    unit: Vectors = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return unit
