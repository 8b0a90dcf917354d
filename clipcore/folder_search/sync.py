"""Brings the index up to date with a folder: reads new and changed files, encodes contents that the model has not seen.

Each batch is one transaction, so an interrupted run loses at most the batch in progress.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.encoding.batch import EncodedImage, ImageOutcome, ImageSource, NotNeeded, encode_sources
from clipcore.errors import ImageRejected, RejectReason
from clipcore.files import read_regular
from clipcore.folder_search.paths import path_of, shown
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import Content, FolderStore, KnownFile, State, hash_of, is_own_sheet
from clipcore.images.decode import OWN_FILES, ImageLimits
from clipcore.images.walk import SEPARATOR, ImageFile, Unreadable, UnsupportedFormat, WalkEntry, WalkFilter, walk


class FileStatus(StrEnum):
    """REUSED: read, but its content was already indexed. BROKEN: not an image; read again only when it changes.
    UNREADABLE: tried again next time. SHEET: a contact sheet, which is not searched. UNSUPPORTED: in a format that is
    not read. KEPT: not found, but still indexed; see `index_folder`.
    """

    UNCHANGED = "unchanged"
    ENCODED = "encoded"
    REUSED = "reused"
    BROKEN = "broken"
    UNREADABLE = "unreadable"
    SHEET = "sheet"
    FORGOTTEN = "forgotten"
    UNSUPPORTED = "unsupported"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Step:
    """reason: one sentence where a file was skipped; the suffix where its format is unsupported. known: the file was
    indexed before."""

    path: bytes
    status: FileStatus
    reason: str = ""
    known: bool = False


def index_folder(
    store: FolderStore,
    root: bytes,
    model: LazyModel,
    observe: Callable[[Step], None],
    *,
    filter_: WalkFilter | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    limits: ImageLimits = OWN_FILES,
    keep_filtered: bool = False,
) -> None:
    """Reports the status of each file to `observe` once it is committed. An interrupted run resumes where it stopped.

    A folder without any image, while the index knows some below it, is taken for a drive that is not mounted:
    nothing is forgotten, and the files are reported as KEPT. keep_filtered: whether to keep known files that only the
    filter leaves out. Raises ModelUnavailable and IndexUnusable.
    """
    filter_ = filter_ or WalkFilter()
    known = store.known_files(root, model.key)
    if keep_filtered:
        known = (row for row in known if filter_.visits(row.file.path, root))
    if not any(isinstance(entry, ImageFile) for entry in walk(root, filter_)):
        for row in known:
            observe(Step(row.file.path, FileStatus.KEPT))
    run = _Run(store, model.key, observe, batch_size, limits)
    sources = run.sources(decide(walk(root, filter_), known))
    # Closing the outcomes ends the threads that read files, before the caller closes the connection that they use.
    with closing(encode_sources(model, sources, batch_size=batch_size, workers=workers, limits=limits)) as outcomes:
        for outcome in outcomes:
            run.take(outcome)
    run.finish()
    store.prune()


@dataclass(slots=True)
class Reading:
    """A file to read: it is new, changed, or not yet encoded by this model. changed: the index has its former content.
    hash is set once it has been read; content, unless that is indexed or being encoded for a copy."""

    file: ImageFile
    changed: bool = False
    hash: bytes = b""
    content: Content | None = None


def decide(entries: Iterable[WalkEntry], known: Iterable[KnownFile]) -> Iterator[Reading | Step]:
    """Merges the walk with the index; both are in the order of their paths' bytes. Known files in a folder that could
    not be read are not forgotten.
    """
    rows = iter(known)
    row = next(rows, None)
    for entry in entries:
        while row is not None and row.file.path < entry.path:
            yield Step(row.file.path, FileStatus.FORGOTTEN)
            row = next(rows, None)
        if isinstance(entry, UnsupportedFormat):
            yield Step(entry.path, FileStatus.UNSUPPORTED, entry.suffix)
        elif isinstance(entry, Unreadable):
            yield Step(entry.path, FileStatus.UNREADABLE, entry.reason)
            while row is not None and _covers(entry, row.file.path):
                row = next(rows, None)
        elif row is None or row.file.path != entry.path:
            yield Reading(entry)
        else:
            yield _compare(entry, row)
            row = next(rows, None)
    while row is not None:
        yield Step(row.file.path, FileStatus.FORGOTTEN)
        row = next(rows, None)


def _covers(entry: Unreadable, path: bytes) -> bool:
    return path.startswith(entry.path) if entry.path.endswith(SEPARATOR) else path == entry.path


def _compare(file: ImageFile, known: KnownFile) -> Reading | Step:
    if file != known.file or not known.complete:
        return Reading(file, changed=file != known.file)
    return Step(file.path, FileStatus.BROKEN if known.broken else FileStatus.UNCHANGED, known.broken, known=True)


# Images that are read again next time, when the limits may be higher.
_LIMITS = (RejectReason.TOO_MANY_BYTES, RejectReason.TOO_MANY_PIXELS, RejectReason.TOO_MANY_FRAMES)


@dataclass
class _Run:
    """Collects results and commits them in batches. `_read` runs in the decoding threads, all else in the caller's.

    claimed: the hashes of contents that are being encoded, so that copies in the same run are encoded once. files:
    waiting for the next commit. gone: files to delete from the index.
    """

    store: FolderStore
    model: str
    observe: Callable[[Step], None]
    batch_size: int
    limits: ImageLimits
    lock: threading.Lock = field(default_factory=threading.Lock)
    claimed: set[bytes] = field(default_factory=set)
    readings: deque[Reading] = field(default_factory=deque)
    files: list[Reading] = field(default_factory=list)
    gone: list[Step] = field(default_factory=list)

    def sources(self, decisions: Iterable[Reading | Step]) -> Iterator[ImageSource]:
        """Yields the files to read, and reports all others."""
        for decision in decisions:
            if isinstance(decision, Reading):
                self.readings.append(decision)
                yield ImageSource(shown(decision.file.path), partial(self._read, decision))
            elif decision.status is FileStatus.FORGOTTEN:
                self._forget(decision)
            else:
                self.observe(decision)

    def take(self, outcome: ImageOutcome) -> None:
        """Outcomes come in the order of their sources."""
        reading = self.readings.popleft()
        if isinstance(outcome, EncodedImage):
            reading.content = Content(
                reading.hash, State.IMAGE, width=outcome.width, height=outcome.height, vector=outcome.embedding
            )
        elif isinstance(outcome.cause, ImageRejected) and outcome.cause.reason not in _LIMITS:
            reading.content = Content(reading.hash, State.BROKEN, outcome.reason)
        elif not isinstance(outcome.cause, NotNeeded):
            step = Step(reading.file.path, FileStatus.UNREADABLE, outcome.reason)
            report = self._forget if reading.changed else self.observe
            report(step)
            return
        self.files.append(reading)
        self._commit_when_full()

    def finish(self) -> None:
        self._commit()
        for reading in self.files:
            reason = "A file with the same content could not be encoded."
            self.observe(Step(reading.file.path, FileStatus.UNREADABLE, reason))

    def _read(self, reading: Reading) -> bytes:
        """Raises ImageRejected, OSError, and NotNeeded where the content need not be encoded."""
        size, max_bytes = reading.file.size, self.limits.max_bytes
        if size > max_bytes:
            raise ImageRejected(
                RejectReason.TOO_MANY_BYTES, f"The file has {size} bytes; at most {max_bytes} are read."
            )
        data = read_regular(path_of(reading.file.path))
        reading.hash = hash_of(data)
        with self.lock:
            if reading.hash in self.claimed or self.store.settled(reading.hash, self.model):
                raise NotNeeded("Its content is known.")
            self.claimed.add(reading.hash)
        if is_own_sheet(data):
            reading.content = Content(reading.hash, State.SHEET)
            raise NotNeeded("It is a contact sheet.")
        return data

    def _forget(self, step: Step) -> None:
        self.gone.append(step)
        self._commit_when_full()

    def _commit_when_full(self) -> None:
        if len(self.files) + len(self.gone) >= self.batch_size:
            self._commit()

    def _commit(self) -> None:
        """A copy may come before the file whose content it shares is encoded; it waits for a later commit."""
        contents = [reading.content for reading in self.files if reading.content is not None]
        hashes = [(reading.file, reading.hash) for reading in self.files]
        written = self.store.write(self.model, contents, hashes, [step.path for step in self.gone])
        with self.lock:
            self.claimed.difference_update(content.hash for content in contents)
        steps, files = self.gone, self.files
        self.gone, self.files = [], []
        for reading in files:
            path = reading.file.path
            if path not in written:
                self.files.append(reading)
                continue
            state, reason = written[path]
            if state is State.IMAGE:
                status = FileStatus.REUSED if reading.content is None else FileStatus.ENCODED
            else:
                status = FileStatus(state.value)
            steps.append(Step(path, status, reason))
        for step in steps:
            self.observe(step)
