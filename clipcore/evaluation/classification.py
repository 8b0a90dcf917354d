"""Zero-shot and probe classification: counts predictions as they come, in memory that depends on the classes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.batching import batches_of
from clipcore.encoding.batch import ImageOutcome, OnProblem, without_skipped
from clipcore.errors import BadInput
from clipcore.evaluation import TIE
from clipcore.types import Label, Vectors

TOP = 5
_IMAGES_AT_ONCE = 256
# Any class may be predicted for any other: the counts of ImageNet-21k's 21,841 classes take 3.8 GB.
_MAX_CLASSES = 25_000


@dataclass(frozen=True, slots=True)
class ClassResult:
    """images: of the class. predicted: images that it was predicted for, rightly or not. recall, precision: 0 to 1;
    None where nothing was counted.
    """

    name: str
    images: int
    predicted: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class Classification:
    """classes: names. counts: int64 [true class, predicted class]. among_top: the number of images whose class was
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
        """None for five classes or fewer, of which it would always be 1."""
        return _share(self.among_top, self.images) if len(self.classes) > TOP else None

    @property
    def mean_recall(self) -> float | None:
        """The mean recall of the classes that have images, so that large classes do not weigh more."""
        recalls = [one.recall for one in self.per_class if one.recall is not None]
        return _share(sum(recalls), len(recalls))

    @property
    def per_class(self) -> tuple[ClassResult, ...]:
        counted = (self.counts.sum(axis=1), self.counts.sum(axis=0), self.counts.diagonal())
        return tuple(
            ClassResult(name, images, predicted, recall=_share(right, images), precision=_share(right, predicted))
            for name, images, predicted, right in zip(self.classes, *(array.tolist() for array in counted), strict=True)
        )

    def confusions(self, limit: int) -> list[tuple[str, str, int]]:
        """The most frequent mistakes, in descending order; equals in the order of the classes. Each is the true class,
        the predicted one, and the number of images.
        """
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        true, predicted = np.nonzero(wrong)
        images = wrong[true, predicted]
        return [
            (self.classes[true[at]], self.classes[predicted[at]], int(images[at]))
            for at in np.argsort(-images, kind="stable")[:limit]
        ]


def classify_images(
    outcomes: Iterable[ImageOutcome],
    class_of: npt.NDArray[np.int64],
    classes: Sequence[str],
    scores: Callable[[Vectors], Vectors],
    on_skip: OnProblem,
) -> Classification:
    """outcomes: one for each source, in order. class_of: int64 [sources]. scores: embeddings [n, dim] -> [n, classes].

    scores returns a new array, greater is likelier. A class that ties with the true one counts as predicted (see the
    package). Memory: a few hundred embeddings and scores, however many images there are. Raises BadInput where no
    image can be read.
    """
    counts = np.zeros((len(classes), len(classes)), np.int64)
    among_top = 0
    for batch in batches_of(without_skipped(outcomes, on_skip), _IMAGES_AT_ONCE):
        true = class_of[[row for row, _ in batch]]
        others = scores(np.stack([image.embedding for _, image in batch]))
        rows = np.arange(len(batch))
        own = others[rows, true]
        others[rows, true] = -np.inf
        before = (~(others < (own - TIE)[:, None])).sum(axis=1)
        # A true class without a finite score has its own -inf counted above; it is wrong either way.
        predicted = np.where(before == 0, true, others.argmax(axis=1))
        np.add.at(counts, (true, predicted), 1)
        among_top += int((before < TOP).sum())
    if not counts.any():
        raise BadInput("None of the images could be read, so there is nothing to measure.")
    return Classification(tuple(classes), counts, among_top)


def check_classes(classes: Sequence[str]) -> None:
    """Checks before any work that the counts fit in memory. Raises BadInput where captions were given as classes."""
    if len(classes) > _MAX_CLASSES:
        raise BadInput(
            f"There are {len(classes)} classes; the limit is {_MAX_CLASSES}. For captions, use `clipcore evaluate "
            "retrieval`."
        )


def name_classes(classes: Sequence[str], labels: Sequence[Label]) -> tuple[list[Label], list[str]]:
    """Returns a label for the model and a unique name for people, for each class.

    classes: the names in the data set, such as n02123045. labels: phrases for those names; without any, the names
    themselves are used, with spaces for underscores.

    A label whose class is not in the data set is ignored. Raises BadInput where labels are given but not for every
    class.
    """
    if not labels:
        return [Label(name, (name.replace("_", " "),)) for name in classes], list(classes)
    phrases_of = {label.name: label.phrases or (label.name,) for label in labels}
    if missing := [name for name in classes if name not in phrases_of]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInput(f"The names file has no line for the class {missing[0]!r}{more}; add one for each class.")
    first = [phrases_of[name][0] for name in classes]
    times = Counter(first)
    shown = [
        phrase if times[phrase] == 1 else f"{phrase} ({name})" for name, phrase in zip(classes, first, strict=True)
    ]
    return [Label(name, phrases_of[name]) for name in classes], shown


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
