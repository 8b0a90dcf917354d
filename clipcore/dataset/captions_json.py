"""Captions in JSON, as COCO and Karpathy's splits have them, beside a folder of pictures.

COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]} (Chen et al. 2015).
Karpathy: {"dataset", "images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]} (Karpathy & Fei-Fei 2015).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.dataset.files import PictureFinder
from clipcore.dataset.pairs import Pairs, Problem
from clipcore.errors import BadInput
from clipcore.features import PictureSource


@dataclass(frozen=True, slots=True)
class _Captioned:
    """file: the picture's, as the captions file names it."""

    file: str
    captions: list[str]


def read_captions_json(path: Path, folder: Path, split: str | None) -> Pairs:
    """split: one of Karpathy's (train, restval, val, test), several joined by `+`; None for all.

    Pictures lie in `folder` or a folder in it. Raises BadInput where none is found.
    """
    document = _document(path)
    try:
        known = list(_karpathy(document, split) if _is_karpathy(document) else _coco(document, split, path))
    except (KeyError, TypeError, AttributeError) as error:
        wrong = f"lacks {error}" if isinstance(error, KeyError) else "is of another shape"
        raise BadInput(f"{str(path)!r} is neither COCO's nor Karpathy's captions: an entry {wrong}.") from error
    pairs = _pairs(known, folder)
    if not pairs.captions:
        first = f"; {pairs.problems[0].name}: {pairs.problems[0].reason}" if pairs.problems else "."
        raise BadInput(f"No picture of {str(path)!r} can be used{first}")
    return pairs


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or type(error).__name__}.") from error
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is not JSON: {error}.") from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise BadInput(f"{str(path)!r} is neither COCO's nor Karpathy's captions: it has no list of images.")
    return document


def _is_karpathy(document: dict[str, Any]) -> bool:
    return any("sentences" in image for image in document["images"])


def _karpathy(document: dict[str, Any], split: str | None) -> Iterator[_Captioned]:
    wanted = None if split is None else set(split.split("+"))
    there = {str(image.get("split", "")) for image in document["images"]}
    if wanted is not None and not wanted <= there:
        raise BadInput(f"There is no split {split!r}; the captions have {', '.join(sorted(there))}.")
    for image in document["images"]:
        if wanted is None or image.get("split") in wanted:
            file = "/".join(part for part in (image.get("filepath"), image["filename"]) if part)
            yield _Captioned(file, [_one_line(sentence["raw"]) for sentence in image["sentences"]])


def _coco(document: dict[str, Any], split: str | None, path: Path) -> Iterator[_Captioned]:
    if split is not None:
        raise BadInput(f"{str(path)!r} has no splits: COCO keeps each in a captions file of its own.")
    if not isinstance(document.get("annotations"), list):
        raise BadInput(f"{str(path)!r} has images but neither annotations nor sentences.")
    captions: defaultdict[Any, list[str]] = defaultdict(list)
    for annotation in document["annotations"]:
        if "caption" in annotation:
            captions[annotation["image_id"]].append(_one_line(annotation["caption"]))
    for image in document["images"]:
        yield _Captioned(image["file_name"], captions[image["id"]])


def _one_line(caption: str) -> str:
    return " ".join(caption.split())


def _pairs(known: list[_Captioned], folder: Path) -> Pairs:
    finder = PictureFinder(folder)
    captions: list[str] = []
    picture_of: list[int] = []
    pictures: list[PictureSource] = []
    problems: list[Problem] = []
    for one in known:
        told = [caption for caption in one.captions if caption]
        try:
            path = finder.find(one.file)
            if not told:
                raise BadInput("It has no caption.")
        except BadInput as error:
            problems.append(Problem(one.file, str(error)))
            continue
        captions += told
        picture_of += [len(pictures)] * len(told)
        pictures.append(PictureSource.file(path))
    return Pairs(captions, np.asarray(picture_of, np.int64), pictures, problems)
