"""Captions in JSON, as COCO and Karpathy's splits have them, beside a folder of images.

COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]} (Chen et al. 2015).
Karpathy: {"dataset", "images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]} (Karpathy & Fei-Fei 2015).
"""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.datasets.files import ImageFinder, has_image_suffix
from clipcore.datasets.pairs import Pairs, Problem
from clipcore.datasets.rows import open_table, read_rows
from clipcore.datasets.tables import Columns, read_table
from clipcore.encoding.batch import ImageSource
from clipcore.errors import BadInput


@dataclass(frozen=True, slots=True)
class _Captioned:
    """file: the image's, as the captions file names it."""

    file: str
    captions: list[str]


def read_captions_json(path: Path, folder: Path, split: str | None) -> Pairs:
    """split: one of Karpathy's (train, restval, val, test), several joined by `+`; None for all.

    Images lie in `folder` or a folder in it. Raises BadInput where none is found.
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
        raise BadInput(f"No image of {str(path)!r} can be used{first}")
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
    finder = ImageFinder(folder)
    captions: list[str] = []
    image_of: list[int] = []
    images: list[ImageSource] = []
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
        image_of += [len(images)] * len(told)
        images.append(ImageSource.file(path))
    return Pairs(captions, np.asarray(image_of, np.int64), images, problems)


_COLUMNS = Columns(text="1", image="2", header=False)


def read_captions_lines(images: Path, captions: Path) -> Pairs:
    """A text that tells of several images is a pair with each, and its rows of `text_of` are equal. Images that no
    text tells of stay: others must be told from them. Raises BadInput where nothing can be used.
    """
    table = read_table(images, images.parent, _COLUMNS, merge=False)
    place = {name: at for at, name in enumerate(table.texts)}
    texts: list[str] = []
    image_of: list[int] = []
    text_of: list[int] = []
    problems = list(table.problems)
    with open_table(captions) as file:
        for row in read_rows(file):
            if row.is_blank:
                continue
            try:
                text, ids = _entry(row.line)
                found = [place[name] for name in ids if name in place]
                if not found:
                    raise BadInput("None of its images is in the table.")
            except BadInput as error:
                problems.append(Problem(f"{captions.name}, {row.name}", str(error)))
                continue
            texts += [text] * len(found)
            image_of += found
            text_of += [row.number] * len(found)
    if not texts:
        raise BadInput(f"No text of {str(captions)!r} tells of an image of {str(images)!r}.")
    places = np.asarray(image_of, np.int64)
    return Pairs(texts, places, table.images, problems, np.asarray(text_of, np.int64))


def _entry(line: bytes) -> tuple[str, list[str]]:
    try:
        entry = json.loads(line)
        text, ids = " ".join(entry["text"].split()), [str(one) for one in entry["image_ids"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput('It is not {"text": …, "image_ids": […]}.') from error
    if not text:
        raise BadInput("Its text is empty.")
    return text, ids


@dataclass(slots=True)
class _Sample:
    """texts: what its .txt says, line by line. told: what its .json calls the caption; heard where there is no .txt."""

    image: ImageSource | None = None
    texts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def captions(self) -> list[str]:
        return self.texts or self.told


def read_archive(path: Path) -> Pairs:
    """Samples without an image or a caption are problems. Raises BadInput where none has both, or this is no tar."""
    samples: dict[str, _Sample] = {}
    try:
        for key, name, offset, size, data in _members(path):
            sample = samples.setdefault(key, _Sample())
            if has_image_suffix(name):
                sample.image = ImageSource(name, partial(_read, path, offset, size))
            elif name.endswith(".txt"):
                sample.texts = _lines(data.decode(errors="replace"))
            else:
                sample.told = _told(data)
    except (tarfile.TarError, OSError) as error:
        raise BadInput(f"{str(path)!r} cannot be read as an uncompressed tar: {error}.") from error
    return _pairs_archive(samples, path)


def _members(path: Path) -> Iterator[tuple[str, str, int, int, bytes]]:
    """Key, name, place and size of each file that matters, with the bytes of those that are text."""
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            # tarfile remembers every member otherwise; its types do not know the list.
            archive.members = []  # type: ignore[attr-defined]
            folder, _, base = member.name.rpartition("/")
            is_image = has_image_suffix(base)
            if not member.isfile() or not (is_image or base.endswith((".txt", ".json"))):
                continue
            file = None if is_image else archive.extractfile(member)
            data = b"" if file is None else file.read()
            # webdataset's key ends with the first dot of the name itself.
            yield f"{folder}/{base.split('.', 1)[0]}", member.name, member.offset_data, member.size, data


def _lines(text: str) -> list[str]:
    return [line for part in text.splitlines() if (line := part.strip())]


def _told(data: bytes) -> list[str]:
    try:
        caption = json.loads(data).get("caption", [])
    except (ValueError, AttributeError):
        return []
    told = [caption] if isinstance(caption, str) else caption if isinstance(caption, list) else []
    return [line for one in told if isinstance(one, str) and (line := " ".join(one.split()))]


def _pairs_archive(samples: dict[str, _Sample], path: Path) -> Pairs:
    captions: list[str] = []
    image_of: list[int] = []
    images: list[ImageSource] = []
    problems: list[Problem] = []
    for key, sample in samples.items():
        if sample.image is None:
            problems.append(Problem(key.lstrip("/"), "There is no image with this caption."))
        elif not sample.captions:
            problems.append(Problem(sample.image.name, "It has no caption."))
        else:
            captions += sample.captions
            image_of += [len(images)] * len(sample.captions)
            images.append(sample.image)
    if not images:
        raise BadInput(f"{str(path)!r} has no images with captions: no key.jpg with a key.txt or key.json.")
    return Pairs(captions, np.asarray(image_of, np.int64), images, problems=problems)


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
