"""Labels that ship with Magpie, in sets, and which labels are in force where a guild chose among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from bot.label_names import label_key
from bot.store.labels import DEFAULT, LabelSet
from clipcore.types import Label

BUNDLED_MODEL = "bundled"

SHIPPED = ("photographs", "memes", "art", "animals", "games")
"""The sets that suit any model. Each is a file."""


@dataclass(frozen=True, slots=True)
class NamedLabel:
    """A shipped label: its names for people and its phrases for the model.

    id: stable, lower-case; emoji: one Unicode emoji, for reactions; phrases: what is encoded, English first.
    """

    id: str
    emoji: str
    en: str
    zh: str
    synonyms: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelInForce:
    """phrases: what describes it; none: its name. threshold, language: see OwnLabel. own: it is no shipped one."""

    name: str
    phrases: tuple[str, ...] = ()
    threshold: int | None = None
    language: str | None = None
    own: bool = False

    @property
    def for_model(self) -> Label:
        return Label(self.name, self.phrases)


class LabelBook:
    """Finds shipped labels by name, however it is written. Where two labels share a name, the first one is found."""

    def __init__(self, labels: Iterable[NamedLabel]) -> None:
        labels = tuple(labels)
        self._by_name: dict[str, NamedLabel] = {}
        # A label's own names take precedence over the synonyms of others.
        own = [(name, each) for each in labels for name in (each.en, each.zh, each.id)]
        synonyms = [(name, each) for each in labels for name in each.synonyms]
        for name, label in [*own, *synonyms]:
            self._by_name.setdefault(label_key(name), label)

    def find(self, name: str) -> NamedLabel | None:
        return self._by_name.get(label_key(name))


class ShippedLabels:
    """sets: by name; one is DEFAULT. book: of all of them, the default ones first."""

    def __init__(self, default: Sequence[NamedLabel], others: Mapping[str, Sequence[NamedLabel]] | None = None) -> None:
        self.sets = {DEFAULT: tuple(default)} | {name: tuple(labels) for name, labels in (others or {}).items()}
        self.book = LabelBook(label for labels in self.sets.values() for label in labels)

    def in_force(self, chosen: LabelSet) -> tuple[LabelInForce, ...]:
        """The labels of a set, its own first; each name once."""
        found: dict[str, LabelInForce] = {}
        for own in chosen.own:
            known = self.book.find(own.name)
            phrases = own.prompts or (known.phrases if known is not None else ())
            found.setdefault(
                label_key(own.name), LabelInForce(own.name, phrases, own.threshold, own.language, own=True)
            )
        left_out = set(map(label_key, chosen.without))
        for label in self.chosen(chosen):
            if (key := label_key(label.en)) not in left_out:
                found.setdefault(key, LabelInForce(label.en, label.phrases))
        return tuple(found.values())

    def chosen(self, chosen: LabelSet) -> list[NamedLabel]:
        """Everything in the shipped sets that were chosen. A set of another version counts as empty."""
        return [label for name in chosen.shipped for label in self.sets.get(name, ())]


def shipped_labels(model_id: str) -> ShippedLabels:
    """The sets for a model: the default is the bundled one's own, or that for photographs. model_id: as in
    ModelCard.id.
    """
    others = {name: _read("bot/labels", f"{name}.json") for name in SHIPPED}
    default = _read("clipcore/bundled", "labels.json") if model_id == BUNDLED_MODEL else others["photographs"]
    return ShippedLabels(default, others)


@cache
def _read(folder: str, file: str) -> tuple[NamedLabel, ...]:
    package, _, inner = folder.partition("/")
    text = (resources.files(package) / inner / file).read_text(encoding="utf-8")
    return tuple(_label(entry) for entry in json.loads(text))


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
