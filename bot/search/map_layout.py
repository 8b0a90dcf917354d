"""Clusters of look-alikes, what they are called and where they lie on a page, decided from plain data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.types import Vectors

_MOST_CLUSTERS = 16
_SMALLEST_CLUSTER = 3
_ATTEMPTS, _ROUNDS = 8, 30
# Of the images of a cluster, the share from which one name says what they show.
_SAYS_IT_ALL = 0.6
_MOST_NAMES = 3

Positions = npt.NDArray[np.float32]
"""float32 [n, 2]: places in a plane."""


@dataclass(frozen=True, slots=True)
class Box:
    """In pixels, or any other unit."""

    x: float
    y: float
    width: float
    height: float


def plane(vectors: Vectors) -> Positions:
    """The two directions in which these differ most: [n, dim] -> [n, 2] (principal component analysis)."""
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    two = directions[:2]
    # A direction and its opposite are as good; the choice must not change from one map to the next.
    two *= np.where(two[np.arange(len(two)), np.abs(two).argmax(axis=1)] < 0, -1, 1)[:, np.newaxis]
    placed = np.zeros((len(vectors), 2), np.float32)
    placed[:, : len(two)] = centred @ two.T
    return placed


def clusters_of(vectors: Vectors) -> list[list[int]]:
    """The rows in clusters of look-alikes (k-means), the largest first. [n, dim], unit length."""
    count = len(vectors)
    centred = vectors - vectors.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    wanted = max(1, min(_MOST_CLUSTERS, round(math.sqrt(count * 2))))
    nearest = _k_means(centred, wanted)
    clusters = [np.flatnonzero(nearest == cluster).tolist() for cluster in range(wanted)]
    large = [cluster for cluster in clusters if len(cluster) >= _SMALLEST_CLUSTER] or [[*range(count)]]
    centers = np.stack([centred[cluster].mean(axis=0) for cluster in large])
    placed = {row for cluster in large for row in cluster}
    for row in range(count):  # a few that are like nothing else go where they fit best
        if row not in placed:
            large[int(np.argmax(centers @ centred[row]))].append(row)
    return sorted(large, key=len, reverse=True)


def _k_means(vectors: Vectors, clusters: int) -> npt.NDArray[np.int64]:
    """The cluster of each row: the best of some attempts, and the same each time. [n, dim], unit length."""
    random, best, found = np.random.default_rng(0), -math.inf, np.zeros(len(vectors), np.int64)
    for _ in range(_ATTEMPTS):
        nearest, likeness = _attempt(vectors, _seeds(vectors, clusters, random))
        if likeness > best:
            best, found = likeness, nearest
    return found


def _seeds(vectors: Vectors, clusters: int, random: np.random.Generator) -> Vectors:
    """Rows that are likely to be far from each other (k-means++)."""
    rows = [int(random.integers(len(vectors)))]
    for _ in range(clusters - 1):
        distance = np.maximum(0, 1 - (vectors @ vectors[rows].T).max(axis=1)).astype(np.float64)
        total = distance.sum()
        rows.append(int(random.choice(len(vectors), p=distance / total if total > 0 else None)))
    return vectors[rows]


def _attempt(vectors: Vectors, centers: Vectors) -> tuple[npt.NDArray[np.int64], float]:
    """The cluster of each row, and how much the rows are like their centers."""
    nearest = np.full(len(vectors), -1)
    for _ in range(_ROUNDS):
        before, nearest = nearest, (vectors @ centers.T).argmax(axis=1)
        if (before == nearest).all():
            break
        for cluster in range(len(centers)):
            if (members := vectors[nearest == cluster]).size:
                mean = members.mean(axis=0)
                centers[cluster] = mean / max(float(np.linalg.norm(mean)), 1e-6)
    return nearest, float((vectors * centers[nearest]).sum())


def names_of(clusters: Sequence[Sequence[Collection[str]]]) -> list[list[str]]:
    """What sets each cluster apart: of its images' labels those that are frequent in it and rare elsewhere. Nothing
    for a cluster without labels. A label names one cluster at most, where it has another.

    clusters: the labels of each image.
    """
    everywhere = Counter(label for cluster in clusters for labels in cluster for label in labels)
    taken: set[str] = set()
    found = []
    for cluster in clusters:
        counts = Counter(label for labels in cluster for label in labels)
        ranked = sorted(counts, key=lambda label: (-(counts[label] ** 2) / everywhere[label], label))
        fresh = [label for label in ranked if label not in taken] or ranked
        names = fresh[:1]
        for label in fresh[1:_MOST_NAMES]:
            covered = sum(any(name in labels for name in names) for labels in cluster)
            if covered < _SAYS_IT_ALL * len(cluster):
                names.append(label)
        taken.update(names)
        found.append(names)
    return found


def boxes_of(positions: Positions, weights: Sequence[float], whole: Box) -> list[Box]:
    """Divides a box among things by their weights, so that neighbours in the plane become neighbours: it is cut in two
    along its longer side, and so are the parts.

    positions: [n, 2].
    """
    boxes: dict[int, Box] = {}

    def divide(members: list[int], box: Box) -> None:
        if len(members) == 1:
            boxes[members[0]] = box
            return
        wide = box.width >= box.height
        ordered = sorted(members, key=lambda one: float(positions[one, 0 if wide else 1]))
        total = sum(weights[one] for one in ordered)
        sums = np.cumsum([weights[one] for one in ordered])[:-1] / total
        cut = int(np.abs(sums - 0.5).argmin())
        share = float(sums[cut])
        left, right = ordered[: cut + 1], ordered[cut + 1 :]
        if wide:
            divide(left, Box(box.x, box.y, box.width * share, box.height))
            divide(right, Box(box.x + box.width * share, box.y, box.width * (1 - share), box.height))
        else:
            divide(left, Box(box.x, box.y, box.width, box.height * share))
            divide(right, Box(box.x, box.y + box.height * share, box.width, box.height * (1 - share)))

    divide([*range(len(weights))], whole)
    return [boxes[one] for one in range(len(weights))]


def rows_of(positions: Positions, columns: int) -> list[int]:
    """The order in which these fill a grid row by row, so that neighbours in the plane stay near. positions: [n, 2]."""
    downwards = np.argsort(positions[:, 1], kind="stable")
    order: list[int] = []
    for start in range(0, len(downwards), columns):
        row = downwards[start : start + columns]
        order += row[np.argsort(positions[row, 0], kind="stable")].tolist()
    return order
