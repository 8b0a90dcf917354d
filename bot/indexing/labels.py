"""The default labels: one set for photographs, one for the scenes of the bundled model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
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


class LabelBook:
    """Finds default labels by name, whatever its case. Where two labels share a name, the first one is found."""

    def __init__(self, labels: Sequence[NamedLabel]) -> None:
        self._by_name: dict[str, NamedLabel] = {}
        # A label's own names take precedence over the synonyms of others.
        own = [(name, each) for each in labels for name in (each.en, each.zh, each.id)]
        synonyms = [(name, each) for each in labels for name in each.synonyms]
        for name, label in [*own, *synonyms]:
            self._by_name.setdefault(_folded(name), label)

    def find(self, name: str) -> NamedLabel | None:
        return self._by_name.get(_folded(name))

    def describe(self, name: str) -> Label:
        """A label called `name`: with the phrases of the default label of that name, or else without any."""
        known = self.find(name)
        return Label(name, known.phrases if known else ())


@cache
def default_labels(model_id: str) -> tuple[NamedLabel, ...]:
    """The labels that suit a model: the bundled one's own, or those for photographs. model_id: as in ModelCard.id."""
    if model_id == BUNDLED_MODEL:
        file = resources.files("clipcore") / "bundled" / "labels.json"
    else:
        file = resources.files("bot") / "labels" / "photographs.json"
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
