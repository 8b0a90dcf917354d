"""Captioned images: what retrieval is measured on and what training learns from."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.encoding.batch import ImageSource, Problem
from clipcore.errors import BadInput


@dataclass(frozen=True, slots=True)
class Pairs:
    """captions: in memory. image_of: int64 [captions], each caption's row in `images`. images: read when needed.
    problems: the rows and files that were skipped, in order.

    An image may have several captions (Flickr30k has five). text_of: int64 [captions], the number of each caption's
    text, which is its row where the captions come from a table; equal where one text describes several images, as in
    MUGE, and so is listed once for each. None where each caption is a text of its own.
    """

    captions: Sequence[str]
    image_of: npt.NDArray[np.int64]
    images: Sequence[ImageSource]
    problems: Sequence[Problem] = ()
    text_of: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.captions)


class PairsBuilder:
    """Collects captions, images and problems while a data set is read. Arrays keep long tables small."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._captions: list[str] = []
        self._image_of, self._text_of = array("q"), array("q")
        self._images: list[ImageSource] = []

    def add_image(self, image: ImageSource, captions: Sequence[str]) -> None:
        """Adds an image with all of its captions. Use this, or `add_caption`, for the whole data set."""
        if not captions:
            self.skip(image.name, "It has no caption.")
            return
        for caption in captions:
            self.add_caption(caption, len(self._images), len(self._captions))
        self._images.append(image)

    def add_caption(self, caption: str, image: int, text: int) -> None:
        """image: the row in the images that are given to `build`. text: see `Pairs.text_of`."""
        self._captions.append(caption)
        self._image_of.append(image)
        self._text_of.append(text)

    def skip(self, name: str, reason: str) -> None:
        self.problems.append(Problem(name, reason))

    def build(self, nothing: str, images: Sequence[ImageSource] | None = None) -> Pairs:
        """images: those of `add_caption`. Raises BadInput, with `nothing` and the first problem, without captions."""
        if not self._captions:
            first = f"; {self.problems[0].name}: {self.problems[0].reason}" if self.problems else "."
            raise BadInput(f"{nothing}{first}")
        return Pairs(
            captions=self._captions,
            image_of=np.asarray(self._image_of, np.int64),
            images=self._images if images is None else images,
            problems=self.problems,
            text_of=np.asarray(self._text_of, np.int64),
        )


class ImageFinder:
    """Finds the images that a captions file names, in a folder or in the folders directly below it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders = [folder, *sub_folders(folder)] if folder.is_dir() else [folder]

    def find(self, name: str) -> Path:
        """Looks for the whole path, then for the file name alone, since archives are unpacked with or without their
        folder. Raises BadInput where there is no such file.
        """
        candidates = (folder / each for folder in self._folders for each in (name, name.rsplit("/", 1)[-1]))
        if (path := next(filter(Path.is_file, candidates), None)) is None:
            raise BadInput(f"There is no file {name!r} in {str(self._folder)!r}.")
        return path


def read_part(path: Path, start: int, length: int) -> bytes:
    """Reads an image, or its base64, that is a part of a file."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def sub_folders(folder: Path) -> list[Path]:
    """The folders directly below, without hidden ones, sorted by name. Raises BadInput where it cannot be listed."""
    try:
        folders = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError as error:
        raise BadInput(f"{str(folder)!r} cannot be listed: {error.strerror}.") from error
    return sorted(folders, key=lambda path: path.name)
