"""Folders of small real images, and a model that counts what it is asked to encode."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipcore.folder_search.paths import root_of
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import FolderStore
from clipcore.folder_search.sync import FileStatus, Step, index_folder
from clipcore.images.walk import WalkFilter
from clipcore.types import Box, Calibration, ModelCard, Pixels, Vectors
from tests.clipcore.images import png

CALIBRATION = Calibration(text_threshold=0.3, image_threshold=0.8, tag_threshold=0.2)


@dataclass
class CountingModel:
    """An image's vector is the colour of its corner; a text's is a colour by name. encoded: images so far."""

    name: str = "counting"
    encoded: int = 0
    loads: int = 0
    texts: list[str] = field(default_factory=list)
    calibration: Calibration = CALIBRATION

    @property
    def card(self) -> ModelCard:
        return ModelCard(self.name, "1", 4, 2, 16, 100.0)

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        return np.ascontiguousarray(pixels[:2, :2])

    def encode_prepared(self, batch: Pixels) -> Vectors:
        self.encoded += len(batch)
        return unit(np.concatenate([batch[:, 0, 0], np.full((len(batch), 1), 16)], axis=1))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.texts.extend(texts)
        colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
        rows = [[*next((rgb for name, rgb in colours.items() if name in text), (0, 0, 0)), 16] for text in texts]
        return unit(np.array(rows))

    def lazily(self) -> LazyModel:
        def load() -> CountingModel:
            self.loads += 1
            return self

        return LazyModel(self.card.key, CALIBRATION, load)


def unit(rows: np.ndarray) -> Vectors:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def paint(path: Path, colour: str = "red", *, width: int = 4, mtime: float | None = None) -> Path:
    """One colour: the same bytes for the same colour and width."""
    return write(path, png(colour, width=width, height=4), mtime=mtime)


def write(path: Path, data: bytes, *, mtime: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


@dataclass
class Indexed:
    """A folder and its index, brought up to date by `run`."""

    folder: Path
    file: Path
    model: CountingModel = field(default_factory=CountingModel)
    batch_size: int = 3

    def run(self, filter_: WalkFilter | None = None) -> dict[str, str]:
        """What status of each file, by its name below the folder."""
        steps: list[Step] = []
        with FolderStore(self.file) as store:
            index_folder(
                store,
                self.root,
                self.model.lazily(),
                steps.append,
                filter_=filter_,
                batch_size=self.batch_size,
                workers=2,
            )
        return {self.name(step.path): step.status.value for step in steps}

    def reasons(self) -> dict[str, str]:
        steps: list[Step] = []
        with FolderStore(self.file) as store:
            index_folder(store, self.root, self.model.lazily(), steps.append)
        return {self.name(step.path): step.reason for step in steps if step.status in SKIPPED}

    @property
    def root(self) -> bytes:
        return root_of(self.folder)

    def name(self, path: bytes) -> str:
        return os.fsdecode(path[len(self.root) + 1 :])


SKIPPED = (FileStatus.BROKEN, FileStatus.UNREADABLE)


def rows(file: Path, statement: str) -> list[tuple]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


def everything(file: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
    """All that the index holds, free of row ids."""
    return (
        rows(file, "SELECT path, size, mtime_ns, hash FROM files JOIN contents c ON c.id = content ORDER BY path"),
        rows(file, "SELECT hash, state, reason, width, height FROM contents ORDER BY hash"),
        rows(
            file,
            "SELECT c.hash, m.key, vector FROM vectors v LEFT JOIN contents c ON c.id = v.content "
            "JOIN models m ON m.id = v.model ORDER BY c.hash, m.key",
        ),
    )
