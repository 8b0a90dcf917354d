"""The default labels: one set for photographs, one for the scenes of the bundled model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from clipcore.types import Label

BUNDLED_MODEL = "bundled"


@dataclass(frozen=True, slots=True)
class NamedLabel:
    """A default label: its names for people and its phrases for the model.

    id: stable, lower-case; emoji: one Unicode emoji, for reactions; phrases: what is encoded, English first.
    """

    id: str
    emoji: str
    en: str
    zh: str
    synonyms: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    def as_label(self, name: str | None = None) -> Label:
        """clipcore's Label, named `name`; by default, the English name."""
        return Label(name or self.en, self.phrases)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.en, self.zh, self.id, *self.synonyms)


class LabelBook:
    """Finds default labels by name, whatever its case. Where two labels share a name, the first one is found."""

    def __init__(self, labels: Iterable[NamedLabel]) -> None:
        self._by_name: dict[str, NamedLabel] = {}
        everything = list(labels)
        # A label's own names take precedence over the synonyms of others.
        for label in everything:
            self._claim(label, (label.en, label.zh, label.id))
        for label in everything:
            self._claim(label, label.synonyms)

    def find(self, name: str) -> NamedLabel | None:
        return self._by_name.get(_folded(name))

    def describe(self, name: str) -> Label:
        """A label called `name`: with the phrases of the default label of that name, or else without any."""
        known = self.find(name)
        return known.as_label(name) if known else Label(name)

    def _claim(self, label: NamedLabel, names: Sequence[str]) -> None:
        for name in names:
            self._by_name.setdefault(_folded(name), label)


def default_labels(model_id: str) -> tuple[NamedLabel, ...]:
    """The labels that suit a model. model_id: as in ModelCard.id."""
    return bundled_labels() if model_id == BUNDLED_MODEL else photograph_labels()


@cache
def photograph_labels() -> tuple[NamedLabel, ...]:
    return _read(resources.files("bot") / "labels" / "photographs.json")


@cache
def bundled_labels() -> tuple[NamedLabel, ...]:
    return _read(resources.files("clipcore") / "bundled" / "labels.json")


def _read(file: Traversable) -> tuple[NamedLabel, ...]:
    return tuple(_label(entry) for entry in json.loads(file.read_text(encoding="utf-8")))


def _label(entry: dict[str, Any]) -> NamedLabel:
    return NamedLabel(
        id=entry["id"],
        emoji=entry["emoji"],
        en=entry["en"],
        zh=entry["zh"],
        synonyms=(*entry.get("synonyms_en", ()), *entry.get("synonyms_zh", ())),
        # The bundled model knows bare names, in both languages; its file has no phrases.
        phrases=tuple(entry.get("phrases", (entry["en"], entry["zh"]))),
    )


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())
