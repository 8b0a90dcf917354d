"""Which files of a folder are pictures, in an order that no file system decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.formats import SUFFIXES


def has_picture_suffix(name: str) -> bool:
    return name[name.rfind(".") :].lower() in SUFFIXES


def picture_files(folder: Path) -> list[Path]:
    """At any depth, in the order of their names; hidden files and folders are passed over."""
    return sorted(_pictures(folder), key=lambda path: path.relative_to(folder).as_posix())


def sub_folders(folder: Path) -> list[Path]:
    """Its own, not theirs, in the order of their names."""
    return sorted((path for path in _visible(folder) if path.is_dir()), key=lambda path: path.name)


class PictureFinder:
    """Finds pictures that a captions file names: in the folder, or in a folder in it."""

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


def _pictures(folder: Path) -> Iterator[Path]:
    for path in _visible(folder):
        if path.is_dir():
            yield from _pictures(path)
        elif has_picture_suffix(path.name):
            yield path


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"{str(folder)!r} cannot be listed: {error.strerror}.") from error
