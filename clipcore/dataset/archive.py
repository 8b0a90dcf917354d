"""A tar of `key.jpg` with `key.txt` or `key.json` beside it, as webdataset and EasyNLP's training have it.

Read through once for names, places and captions; a picture's bytes are read from their place when they are wanted.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from clipcore.dataset.files import has_picture_suffix
from clipcore.dataset.pairs import Pairs, Problem
from clipcore.errors import BadInput
from clipcore.features import PictureSource


@dataclass(slots=True)
class _Sample:
    """texts: what its .txt says, line by line. told: what its .json calls the caption; heard where there is no .txt."""

    picture: PictureSource | None = None
    texts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def captions(self) -> list[str]:
        return self.texts or self.told


def read_archive(path: Path) -> Pairs:
    """Samples without a picture or a caption are problems. Raises BadInput where none has both, or this is no tar."""
    samples: dict[str, _Sample] = {}
    try:
        for key, name, offset, size, data in _members(path):
            sample = samples.setdefault(key, _Sample())
            if has_picture_suffix(name):
                sample.picture = PictureSource(name, partial(_read, path, offset, size))
            elif name.endswith(".txt"):
                sample.texts = _lines(data.decode(errors="replace"))
            else:
                sample.told = _told(data)
    except (tarfile.TarError, OSError) as error:
        raise BadInput(f"{str(path)!r} cannot be read as an uncompressed tar: {error}.") from error
    return _pairs(samples, path)


def _members(path: Path) -> Iterator[tuple[str, str, int, int, bytes]]:
    """Key, name, place and size of each file that matters, with the bytes of those that are text."""
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            # tarfile remembers every member otherwise; its types do not know the list.
            archive.members = []  # type: ignore[attr-defined]
            folder, _, base = member.name.rpartition("/")
            is_picture = has_picture_suffix(base)
            if not member.isfile() or not (is_picture or base.endswith((".txt", ".json"))):
                continue
            file = None if is_picture else archive.extractfile(member)
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


def _pairs(samples: dict[str, _Sample], path: Path) -> Pairs:
    captions: list[str] = []
    picture_of: list[int] = []
    pictures: list[PictureSource] = []
    problems: list[Problem] = []
    for key, sample in samples.items():
        if sample.picture is None:
            problems.append(Problem(key.lstrip("/"), "There is no picture with this caption."))
        elif not sample.captions:
            problems.append(Problem(sample.picture.name, "It has no caption."))
        else:
            captions += sample.captions
            picture_of += [len(pictures)] * len(sample.captions)
            pictures.append(sample.picture)
    if not pictures:
        raise BadInput(f"{str(path)!r} has no pictures with captions: no key.jpg with a key.txt or key.json.")
    return Pairs(captions, np.asarray(picture_of, np.int64), pictures, problems=problems)


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
