"""Changes of a set of labels: from one set to another, or a refusal with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bot.errors import MagpieError
from bot.indexing.labels import LabelBook, ShippedLabels
from bot.indexing.tag_scores import HIGHEST, LOWEST
from bot.label_names import MAX_LABEL_CHARACTERS, is_label_name, label_key, label_name
from bot.store.labels import LabelSet, OwnLabel

MAX_LABELS = 1000
MAX_PROMPTS = 5
MAX_PROMPT_CHARACTERS = 120

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.IGNORECASE)
_BETWEEN_PROMPTS = re.compile(r"[;；\n]")


class Problem(StrEnum):
    """Why labels are refused. limit: what the sentence about it names."""

    NO_LABELS = "no_labels"
    NAME = "name"
    TWICE = "twice"
    PROMPTS = "prompts"
    PROMPT = "prompt"
    THRESHOLD = "threshold"
    LANGUAGE = "language"
    ENTRY = "entry"
    JSON = "json"
    NO_TEXT = "no_text"
    UNKNOWN_SET = "unknown_set"
    TOO_MANY = "too_many"
    TOO_LARGE = "too_large"
    EXISTS = "exists"
    UNKNOWN = "unknown"


LIMITS = {
    Problem.NAME: MAX_LABEL_CHARACTERS,
    Problem.PROMPTS: MAX_PROMPTS,
    Problem.PROMPT: MAX_PROMPT_CHARACTERS,
    Problem.TOO_MANY: MAX_LABELS,
}


class LabelsRefused(MagpieError):
    """value: what was refused, as it was written. line: of the file, from 1. first: the line that named it before."""

    def __init__(self, problem: Problem, value: str = "", line: int | None = None, first: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.value, self.line, self.first = problem, value, line, first

    def at(self, line: int) -> LabelsRefused:
        return LabelsRefused(self.problem, self.value, line, self.first)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file holds. shipped: the shipped sets that it names; None: it says nothing of them."""

    labels: tuple[OwnLabel, ...]
    shipped: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()


def own_label(name: str, prompts: Iterable[str] = (), threshold: int | None = None, language: str = "") -> OwnLabel:
    """A label as people wrote it. Raises LabelsRefused."""
    written = label_name(name)
    if not is_label_name(written):
        raise LabelsRefused(Problem.NAME, written)
    phrases = [phrase for prompt in prompts if (phrase := label_name(prompt))]
    if len(phrases) > MAX_PROMPTS:
        raise LabelsRefused(Problem.PROMPTS, written)
    if too_long := [phrase for phrase in phrases if len(phrase) > MAX_PROMPT_CHARACTERS]:
        raise LabelsRefused(Problem.PROMPT, too_long[0])
    if threshold is not None and not LOWEST <= threshold <= HIGHEST:
        raise LabelsRefused(Problem.THRESHOLD, str(threshold))
    language = language.strip().casefold()
    if language and _LANGUAGE.fullmatch(language) is None:
        raise LabelsRefused(Problem.LANGUAGE, language)
    return OwnLabel(written, tuple(dict.fromkeys(phrases)), threshold, language or None)


def split_prompts(text: str) -> list[str]:
    """`a blue bird; the bird on our flag` -> two prompts. Commas may stand within one."""
    return _BETWEEN_PROMPTS.split(text)


def with_label(chosen: LabelSet, label: OwnLabel, shipped: ShippedLabels) -> LabelSet:
    """Adds a label, or changes one of that name. Raises LabelsRefused where that changes nothing."""
    key = label_key(label.name)
    says_more = label.prompts or label.threshold is not None or label.language is not None
    exists = any(label_key(one.name) == key for one in shipped.in_force(chosen))
    if exists and not says_more:
        raise LabelsRefused(Problem.EXISTS, label.name)
    left_out = _without(chosen.without, [key])
    if not says_more and left_out != chosen.without:  # a shipped label comes back as it was
        return _checked(replace(chosen, without=left_out), shipped)
    return _checked(replace(chosen, own=_with_own(chosen.own, [label])), shipped)


def without_label(chosen: LabelSet, name: str, shipped: ShippedLabels) -> tuple[LabelSet, str]:
    """Removes a label by any of its names. Returns its name, too. Raises LabelsRefused where there is none."""
    known = LabelBook(shipped.chosen(chosen)).find(name)
    keys = [label_key(name), *(() if known is None else [label_key(known.en)])]
    found = next((one for key in keys for one in shipped.in_force(chosen) if label_key(one.name) == key), None)
    if found is None:
        raise LabelsRefused(Problem.UNKNOWN, name)
    key = label_key(found.name)
    left_out = chosen.without
    if any(label_key(one.en) == key for one in shipped.chosen(chosen)):
        left_out = (*_without(left_out, [key]), found.name)
    own = tuple(one for one in chosen.own if label_key(one.name) != key)
    return replace(chosen, own=own, without=left_out), found.name


def with_shipped(chosen: LabelSet, name: str | None, shipped: ShippedLabels, *, together: bool) -> LabelSet:
    """Uses a shipped set, or none, instead of those in use or together with them. Labels of the guild's own stay."""
    before = chosen.shipped if together else ()
    sets = before if name is None or name in before else (*before, name)
    return _checked(replace(chosen, shipped=sets, without=chosen.without if together else ()), shipped)


def with_imported(chosen: LabelSet, file: Imported, shipped: ShippedLabels, *, merge: bool) -> LabelSet:
    """Raises LabelsRefused where they are too many."""
    if not merge:
        return _checked(LabelSet(file.shipped or (), file.labels, file.without), shipped)
    added = [label_key(label.name) for label in file.labels]
    left_out = (*_without(chosen.without, [*added, *map(label_key, file.without)]), *file.without)
    sets = tuple(dict.fromkeys((*chosen.shipped, *(file.shipped or ()))))
    return _checked(LabelSet(sets, _with_own(chosen.own, file.labels), left_out), shipped)


NO_LABELS = LabelSet((), (), ())


def known_sets(names: Sequence[str], shipped: ShippedLabels) -> tuple[str, ...]:
    """The same names. Raises LabelsRefused for one that is no shipped set."""
    for name in names:
        if name not in shipped.sets:
            raise LabelsRefused(Problem.UNKNOWN_SET, name)
    return tuple(dict.fromkeys(names))


def _with_own(own: Sequence[OwnLabel], added: Iterable[OwnLabel]) -> tuple[OwnLabel, ...]:
    """A label that has the name of another takes its place."""
    by_key = {label_key(label.name): label for label in own}
    by_key |= {label_key(label.name): label for label in added}
    return tuple(by_key.values())


def _without(names: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if label_key(name) not in keys)


def _checked(chosen: LabelSet, shipped: ShippedLabels) -> LabelSet:
    if len(shipped.in_force(chosen)) > MAX_LABELS:
        raise LabelsRefused(Problem.TOO_MANY)
    return chosen
