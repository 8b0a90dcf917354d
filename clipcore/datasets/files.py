"""Which files of a folder are images, in an order that no file system decides."""

from __future__ import annotations

import os
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.folder_search.walk import Foreign, Unreachable, walk
from clipcore.images.formats import SUFFIXES


def has_image_suffix(name: str) -> bool:
    return name[name.rfind(".") :].lower() in SUFFIXES


def image_files(folder: Path) -> list[Path]:
    """At any depth, in the order of their names' bytes, as `walk` meets them. Links that lead nowhere are among them,
    and fail when they are read. Raises BadInput where a folder cannot be listed: half of a data set is another one.
    """
    files: list[Path] = []
    for sight in walk(os.fsencode(folder)):
        if isinstance(sight, Unreachable) and sight.path.endswith(os.fsencode(os.sep)):
            raise BadInput(f"{os.fsdecode(sight.path)!r} cannot be read: {sight.reason}")
        if not isinstance(sight, Foreign):
            files.append(Path(os.fsdecode(sight.path)))
    return files


def sub_folders(folder: Path) -> list[Path]:
    """Its own, not theirs, in the order of their names."""
    try:
        beneath = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError as error:
        raise BadInput(f"{str(folder)!r} cannot be listed: {error.strerror}.") from error
    return sorted(beneath, key=lambda path: path.name)


def loose_images(folder: Path) -> list[Path]:
    """Those that lie in the folder itself, beside its own folders, in no order."""
    beneath = (path for path in folder.iterdir() if has_image_suffix(path.name) and not path.name.startswith("."))
    return [path for path in beneath if not path.is_dir()]


class ImageFinder:
    """Finds images that a captions file names: in the folder, or in a folder in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders = [folder, *sub_folders(folder)] if folder.is_dir() else [folder]

    def find(self, name: str) -> Path:
        """Under its whole path, else under its bare name: unpacked archives keep or lose the folder in it.

        Raises BadInput where it is not there.
        """
        names = dict.fromkeys((name, name.rsplit("/", 1)[-1]))
        for folder in self._folders:
            for spelling in names:
                if (path := folder / spelling).is_file():
                    return path
        raise BadInput(f"There is no file {name!r} in {str(self._folder)!r}.")
