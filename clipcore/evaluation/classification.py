"""Which class each image was taken for: counted as the images come, in memory that depends on the classes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.encoding.batch import ImageOutcome, OnSkip, gather_parts
from clipcore.errors import BadInput
from clipcore.evaluation import TIE
from clipcore.types import Label, Vectors

TOP = 5
# Every class may be taken for every other: at ImageNet-21k's 21,841 classes the counts take 3.8 GB.
_MOST_CLASSES = 25_000


@dataclass(frozen=True, slots=True)
class ClassResult:
    """images: how many are of it. taken_for: how many were taken for it, rightly or not. Each share is 0 to 1, and
    None where there is nothing to take a share of.
    """

    name: str
    images: int
    taken_for: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """images: how many of class `true` were taken for class `taken`."""

    true: str
    taken: str
    images: int


@dataclass(frozen=True, slots=True)
class Classification:
    """classes: names. counts: int64 [true class, class that it was taken for]. among_top: images whose class was
    among the TOP best.
    """

    classes: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    among_top: int

    @property
    def images(self) -> int:
        return int(self.counts.sum())

    @property
    def top_1(self) -> float | None:
        return _share(int(np.trace(self.counts)), self.images)

    @property
    def top_5(self) -> float | None:
        """None where five guesses or fewer would cover every class, so that the figure says nothing."""
        return _share(self.among_top, self.images) if len(self.classes) > TOP else None

    @property
    def mean_recall(self) -> float | None:
        """The mean of the classes' recalls, so that large classes weigh no more; classes without images left out."""
        recalls = [one.recall for one in self.per_class if one.recall is not None]
        return sum(recalls) / len(recalls) if recalls else None

    @property
    def per_class(self) -> tuple[ClassResult, ...]:
        images, taken = self.counts.sum(axis=1), self.counts.sum(axis=0)
        return tuple(
            ClassResult(
                name=name,
                images=int(images[row]),
                taken_for=int(taken[row]),
                recall=_share(int(self.counts[row, row]), int(images[row])),
                precision=_share(int(self.counts[row, row]), int(taken[row])),
            )
            for row, name in enumerate(self.classes)
        )

    def confusions(self, most: int) -> tuple[Confusion, ...]:
        """The likeliest mistakes, most frequent first; among equals in the order of the classes."""
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        true, taken = np.nonzero(wrong)
        images = wrong[true, taken]
        return tuple(
            Confusion(self.classes[true[at]], self.classes[taken[at]], int(images[at]))
            for at in np.argsort(-images, kind="stable")[:most]
        )


def check_classes(classes: Sequence[str]) -> None:
    """To be asked before any work. Raises BadInput where the counts would not fit, as when captions are taken for
    classes.
    """
    if len(classes) > _MOST_CLASSES:
        raise BadInput(
            f"There are {len(classes)} classes, and at most {_MOST_CLASSES} are measured; captions are measured by "
            "`clipcore evaluate retrieval`."
        )


def classify_images(
    outcomes: Iterable[ImageOutcome],
    class_of: npt.NDArray[np.int64],
    classes: Sequence[str],
    scores: Callable[[Vectors], Vectors],
    on_skip: OnSkip,
) -> Classification:
    """outcomes: one a source, in order. class_of: int64 [sources]. scores: embeddings [n, dim] -> [n, classes].

    Memory: a few hundred embeddings and scores, however many images there are.
    """
    tally = Tally(classes)
    for part in gather_parts(outcomes, on_skip):
        tally.add(scores(part.embeddings), class_of[part.rows])
    return tally.result()


class Tally:
    """Counts what came of each image. A class that ties with the true one was preferred to it (see the package)."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._counts = np.zeros((len(classes), len(classes)), np.int64)
        self._among_top = 0

    def add(self, scores: Vectors, class_of: npt.NDArray[np.int64]) -> None:
        """scores: [n, classes], greater is likelier. class_of: int64 [n], the true classes."""
        rows = np.arange(len(scores))
        own = scores[rows, class_of]
        others = scores.copy()
        others[rows, class_of] = -np.inf
        before = (~(others < (own - TIE)[:, None])).sum(axis=1)
        # A true class without a finite score has its own -inf counted above; it is wrong either way.
        taken = np.where(before == 0, class_of, others.argmax(axis=1))
        np.add.at(self._counts, (class_of, taken), 1)
        self._among_top += int((before < TOP).sum())

    def result(self) -> Classification:
        return Classification(self._classes, self._counts.copy(), self._among_top)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


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
