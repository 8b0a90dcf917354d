"""Zero-shot classification: the probability of each label, for any image. And reading files of labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.batching import DEFAULT_BATCH_SIZE, encode_texts
from clipcore.errors import BadInput
from clipcore.prompts import Prompts
from clipcore.types import Encoder, Label, LabelScore, ModelCard, Vectors

_FEW_IMAGES = 64
_BLANK = "{}"


def as_labels(labels: Sequence[str | Label]) -> list[Label]:
    """Raises BadInput for a single text, for a label without a name, and for one that comes twice: two with one name
    would share its probability.
    """
    if isinstance(labels, str):
        raise BadInput(f"Labels are a list; give [{labels!r}] for a single one.")
    named = [Label(label) if isinstance(label, str) else label for label in labels]
    return _distinct((f"Label {number}", label) for number, label in enumerate(named, start=1))


def _distinct(entries: Iterable[tuple[str, Label]]) -> list[Label]:
    """entries: labels, each with its place for messages."""
    distinct: dict[str, Label] = {}
    for place, label in entries:
        if not label.name.strip():
            raise BadInput(f"{place} has no name; give the label one.")
        if label.name in distinct:
            raise BadInput(f"{place} names {label.name!r} again; give each label once, with all of its phrases.")
        distinct[label.name] = label
    return list(distinct.values())


def texts_for(labels: Sequence[Label], prompts: Prompts) -> tuple[str, ...]:
    """Every text whose vector a classifier of these labels needs, once each."""
    texts = [text for label in labels for text in _texts_of(label, prompts)]
    return tuple(dict.fromkeys([*texts, *prompts.background]))


class ZeroShotClassifier:
    """Softmax over logit_scale x cosine of labels and background prompts together (Radford et al. 2021, §3.1.2).

    The background takes the probability of images that show none of the labels, so the classifier can abstain. An image
    of two things shares its probability between them, so `threshold` must be well below a half.

    With a logit bias, each label is judged independently, by the sigmoid that SigLIP is trained with (Zhai et al. 2023,
    §3.2): probabilities need not add up to 1, none may be high, and no background is needed.
    """

    def __init__(self, labels: Sequence[str], vectors: Vectors, card: ModelCard, *, threshold: float) -> None:
        """labels: names. vectors: float32 [labels + background prompts, dim], unit length. card: of their model."""
        self.vectors = vectors
        self._labels = labels
        self._card = card
        self._threshold = threshold

    @classmethod
    def for_model(
        cls,
        model: Encoder,
        labels: Sequence[str | Label],
        prompts: Prompts | None = None,
        *,
        threshold: float = 0.0,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> ZeroShotClassifier:
        """Labels -> a classifier that judges as the model was trained: softmax, or sigmoid with a bias.

        prompts: by default those that suit the model, background included. Raises TextNotSupported, and BadInput as
        `as_labels`.
        """
        chosen = prompts or model.card.prompts
        named = as_labels(labels)
        texts = texts_for(named, chosen)
        vector_of = dict(zip(texts, encode_texts(model, texts, batch_size=batch_size), strict=True))
        return cls.from_vectors(named, chosen, vector_of, model.card, threshold=threshold)

    @classmethod
    def from_vectors(
        cls,
        labels: Sequence[Label],
        prompts: Prompts,
        vector_of: Mapping[str, Vectors],
        card: ModelCard,
        *,
        threshold: float,
    ) -> ZeroShotClassifier:
        """vector_of: the vector of each text in `texts_for(labels, prompts)`."""
        rows = [mean_direction([vector_of[text] for text in _texts_of(label, prompts)]) for label in labels]
        rows.extend(vector_of[text] for text in prompts.background)
        vectors = np.array(rows, np.float32).reshape(-1, card.dimension)
        return cls([label.name for label in labels], vectors, card, threshold=threshold)

    def probabilities(self, vectors: Vectors) -> Vectors:
        """vectors: float32 [n, dim], unit length. Returns float32 [n, labels]; without a bias the rest to 1 is the
        background's. Raises BadInput for another shape and for NaN.
        """
        embeddings = as_embeddings(vectors, self.vectors.shape[1])
        # numpy's OpenBLAS starts a second thread for as few as eight vectors, and that thread then spins for 100 ms:
        # for a caller that classifies a few images again and again, most of a core. einsum starts none.
        few = len(embeddings) <= _FEW_IMAGES
        cosines = np.einsum("nd,ld->nl", embeddings, self.vectors) if few else embeddings @ self.vectors.T
        logits = self._card.logit_scale * cosines
        if not self._labels:
            return np.empty((len(logits), 0), np.float32)
        if not self._card.logit_bias:
            return softmax(logits)[:, : len(self._labels)]
        # The sigmoid. tanh does not overflow, however far from zero a logit is.
        halves = 0.5 * (logits[:, : len(self._labels)] + self._card.logit_bias)
        probabilities: Vectors = (0.5 * (1 + np.tanh(halves))).astype(np.float32)
        return probabilities

    def classify(self, vectors: Vectors, top: int = 5) -> list[tuple[LabelScore, ...]]:
        """For each vector its `top` most probable labels, best first; empty where none reaches the threshold."""
        return [best_scores(self._labels, row, top, self._threshold) for row in self.probabilities(vectors)]


def best_scores(labels: Sequence[str], probabilities: Vectors, top: int, threshold: float) -> tuple[LabelScore, ...]:
    """probabilities: float32 [labels]. At most `top` of them, best first, none below the threshold; of equal ones the
    earlier first.
    """
    if top < 0:
        raise BadInput(f"top is the number of labels to return and cannot be {top}.")
    best = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(
        LabelScore(labels[index], float(probabilities[index])) for index in best if probabilities[index] >= threshold
    )


def softmax(logits: Vectors) -> Vectors:
    """Of each row."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Vectors = weights / weights.sum(axis=1, keepdims=True)
    return shares


def as_embeddings(vectors: Vectors, dimension: int) -> Vectors:
    """float32 [n, dim]. Raises BadInput for another shape and for numbers that are not finite."""
    checked = np.asarray(vectors, np.float32)
    if checked.ndim != 2 or checked.shape[1] != dimension:
        raise BadInput(
            f"Embeddings of shape [n, {dimension}] are needed, not {list(checked.shape)}; pass a single one as "
            "vector[None], and encode images and labels with the same model."
        )
    if not np.isfinite(checked).all():
        raise BadInput("An embedding holds NaN or infinity; encode the image again.")
    return checked


def _texts_of(label: Label, prompts: Prompts) -> list[str]:
    return [template.format(phrase) for phrase in label.phrases or (label.name,) for template in prompts.label]


def mean_direction(vectors: Sequence[Vectors] | Vectors) -> Vectors:
    """vectors: float32 [n, dim], unit length. Returns float32 [dim], unit length: their mean, normalised."""
    mean = np.asarray(vectors, np.float32).mean(axis=0)
    unit: Vectors = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return unit


def read_labels(path: Path) -> list[Label]:
    """One label a line: `name`, `name: phrase, phrase` or `name<tab>phrase<tab>phrase`. Or JSON: a list of names, or
    an object of names with a phrase or a list of phrases each.

    Raises BadInput with the row, for a label without a name, a label that comes twice, and a file without labels.
    """
    text = _read_text(path)
    labels = _distinct(_from_json(text, path) if path.suffix.lower() == ".json" else _from_lines(text, path))
    if not labels:
        raise BadInput(f"{str(path)!r} has no labels; write one a line.")
    return labels


def read_templates(path: Path) -> tuple[str, ...]:
    """One template a line, each with one {} where the label goes. Raises BadInput with the row."""
    templates = tuple(check_template(line, f"Row {row} of {str(path)!r}") for row, line in _lines(_read_text(path)))
    if not templates:
        raise BadInput(f"{str(path)!r} has no templates; write one a line, such as 'a photo of {{}}.'.")
    return templates


def check_template(template: str, what: str = "The template") -> str:
    """The same template. Raises BadInput, with `what` before it, unless it has one {} and no other brace."""
    rest = template.replace(_BLANK, "", 1)
    if rest == template or "{" in rest or "}" in rest:
        raise BadInput(f"{what} is {template!r}; a template has one {{}} for the label, and no other braces.")
    return template


def split_labels(listed: str) -> list[Label]:
    """`cat, dog, red apple` -> three labels. Raises BadInput where one comes twice or there is none."""
    names = [name for piece in listed.split(",") if (name := " ".join(piece.split()))]
    if not names or len(set(names)) < len(names):
        raise BadInput(f"The labels {listed!r} must be different names with commas between them.")
    return [Label(name) for name in names]


def _from_lines(text: str, path: Path) -> Iterator[tuple[str, Label]]:
    for row, line in _lines(text):
        if "\t" in line:
            name, *phrases = line.split("\t")
        else:
            name, _, listed = line.partition(": ")
            phrases = listed.split(",")
        yield f"Row {row} of {str(path)!r}", _label(name, phrases)


def _from_json(text: str, path: Path) -> Iterator[tuple[str, Label]]:
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is not valid JSON: {error}.") from error
    pairs = content.items() if isinstance(content, dict) else [(name, ()) for name in _list_of_words(content, path)]
    for number, (name, phrases) in enumerate(pairs, start=1):
        listed = [phrases] if isinstance(phrases, str) else _list_of_words(phrases, path)
        yield f"Entry {number} of {str(path)!r}", _label(name, listed)


def _list_of_words(content: Any, path: Path) -> list[str]:  # noqa: ANN401 - whatever the JSON holds
    if not isinstance(content, list | tuple) or not all(isinstance(one, str) for one in content):
        raise BadInput(f"{str(path)!r} must hold a list of names, or an object of names with phrases.")
    return list(content)


def _label(name: str, phrases: Sequence[str]) -> Label:
    return Label(name.strip(), tuple(phrase.strip() for phrase in phrases if phrase.strip()))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Those that are not blank, with their numbers, from 1."""
    return ((row, line.rstrip()) for row, line in enumerate(text.splitlines(), start=1) if line.strip())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or type(error).__name__}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is not UTF-8; save it as UTF-8.") from error
