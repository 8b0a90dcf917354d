"""What classes are called: to the model, whose words a folder's name may not be, and on a table or plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from clipcore.errors import BadInput
from clipcore.types import Label


@dataclass(frozen=True, slots=True)
class ClassNames:
    """labels: for the model, one a class. shown: for people, all different."""

    labels: tuple[Label, ...]
    shown: tuple[str, ...]


def name_classes(classes: Sequence[str], words: Sequence[Label]) -> ClassNames:
    """classes: as the data set has them, such as n02123045. words: what they are called, by those names; none at all
    where the names are words themselves, with underscores for spaces.

    A class that words are given for and that the data set lacks does not compete. Raises BadInput where words are given
    but not for every class.
    """
    if not words:
        return ClassNames(tuple(Label(name, (name.replace("_", " "),)) for name in classes), tuple(classes))
    phrases_of = {label.name: label.phrases or (label.name,) for label in words}
    if missing := [name for name in classes if name not in phrases_of]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInput(f"The names have no words for the class {missing[0]!r}{more}; give each class a line.")
    first = [phrases_of[name][0] for name in classes]
    times = Counter(first)
    shown = tuple(word if times[word] == 1 else f"{word} ({name})" for name, word in zip(classes, first, strict=True))
    return ClassNames(tuple(Label(name, phrases_of[name]) for name in classes), shown)
