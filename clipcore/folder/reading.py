"""Reads files in the decoding threads, and sees there which of them need no inference."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from clipcore.errors import ImageRejected, RejectReason
from clipcore.features import NotNeeded, PictureSource
from clipcore.folder.contents import hash_of, is_own_sheet
from clipcore.folder.deciding import Read
from clipcore.folder.paths import path_of, shown
from clipcore.folder.store import FolderStore
from clipcore.images import ImageLimits
from clipcore.regular_file import read_regular


class Claims:
    """Which contents are being encoded just now, so that each is encoded once. Thread-safe.

    Has a connection of its own; memory: one hash for each content that is not committed yet.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._store = FolderStore(path, any_thread=True)
        self._model = model
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._store.close()

    def claim(self, content_hash: bytes) -> bool:
        """Whether the caller is to encode it: nobody has, and nobody else is about to."""
        with self._lock:
            if content_hash in self._claimed or self._store.settled(content_hash, self._model):
                return False
            self._claimed.add(content_hash)
            return True

    def committed(self, hashes: Iterable[bytes]) -> None:
        """The index answers for these from now on."""
        with self._lock:
            self._claimed.difference_update(hashes)


class Reading:
    """One file on its way. After its `source` was read: hash, empty where it could not be read, and whether it is a
    sheet. changed: what the index holds of it is of other bytes.
    """

    def __init__(self, decision: Read, claims: Claims, limits: ImageLimits) -> None:
        self.file = decision.file
        self.changed = decision.changed
        self.hash = b""
        self.is_sheet = False
        self._claims = claims
        self._limits = limits

    @property
    def source(self) -> PictureSource:
        return PictureSource(shown(self.file.path), self._read)

    def _read(self) -> bytes:
        if self.file.size > self._limits.max_bytes:
            raise ImageRejected(
                RejectReason.TOO_MANY_BYTES,
                f"The file has {self.file.size} bytes; at most {self._limits.max_bytes} are read.",
            )
        data = read_regular(path_of(self.file.path))
        self.hash = hash_of(data)
        if not self._claims.claim(self.hash):
            raise NotNeeded("Its content is known.")
        if is_own_sheet(data):
            self.is_sheet = True
            raise NotNeeded("It is a contact sheet.")
        return data
