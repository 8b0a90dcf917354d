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
from itertools import chain

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.encoding.batch import EncodedImage, ImageOutcome, ImageSource, NotNeeded, encode_sources
from clipcore.errors import ImageRejected, RejectReason
from clipcore.files import read_regular
from clipcore.folder_search.paths import path_of, shown
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import Content, FileRow, FolderStore, KnownFile, State, hash_of, is_own_sheet
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


Observe = Callable[[Step], None]


def index_folder(
    store: FolderStore,
    root: bytes,
    model: LazyModel,
    observe: Observe,
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
    entries = walk(root, filter_)
    known = store.known_files(root, model.key)
    leading: list[WalkEntry] = []
    for entry in entries:
        leading.append(entry)
        if isinstance(entry, ImageFile):
            break
    else:
        for file in known:
            observe(Step(file.path, FileStatus.KEPT))
    decisions = decide(chain(leading, entries), known)
    if keep_filtered:
        visits = (filter_ or WalkFilter()).visits
        decisions = (one for one in decisions if not isinstance(one, Forget) or visits(one.known.path, root))
    with FolderStore(store.path, any_thread=True) as lookups:
        run = _Run(store, lookups, model.key, observe, batch_size, limits)
        sources = run.sources(decisions)
        # Closing the outcomes ends the threads that read files, before the connection that they use is closed.
        with closing(encode_sources(model, sources, batch_size=batch_size, workers=workers, limits=limits)) as outcomes:
            for outcome in outcomes:
                run.take(outcome)
        run.finish()
    store.prune()


@dataclass(frozen=True, slots=True)
class Unchanged:
    known: KnownFile


@dataclass(frozen=True, slots=True)
class Read:
    """A file that is new, changed, or not yet encoded by this model. changed: the index has its former content."""

    file: ImageFile
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """A file that is gone from the folder."""

    known: KnownFile


Decision = Unchanged | Read | Forget | Unreadable | UnsupportedFormat


def decide(entries: Iterable[WalkEntry], known: Iterable[KnownFile]) -> Iterator[Decision]:
    """Merges the walk with the index; both are in the order of their paths' bytes. Known files in a folder that could
    not be read are not forgotten.
    """
    rows = iter(known)
    row = next(rows, None)
    for entry in entries:
        while row is not None and row.path < entry.path:
            yield Forget(row)
            row = next(rows, None)
        if not isinstance(entry, ImageFile):
            yield entry
            while row is not None and _covers(entry, row.path):
                row = next(rows, None)
        elif row is None or row.path != entry.path:
            yield Read(entry)
        else:
            changed = (row.size, row.mtime_ns) != (entry.size, entry.mtime_ns)
            yield Unchanged(row) if row.complete and not changed else Read(entry, changed)
            row = next(rows, None)
    while row is not None:
        yield Forget(row)
        row = next(rows, None)


def _covers(entry: Unreadable | UnsupportedFormat, path: bytes) -> bool:
    if isinstance(entry, UnsupportedFormat):
        return False
    return path.startswith(entry.path) if entry.path.endswith(SEPARATOR) else path == entry.path


@dataclass(slots=True)
class _Reading:
    """A file that is being read. hash and is_sheet are set once it has been."""

    file: ImageFile
    changed: bool
    hash: bytes = b""
    is_sheet: bool = False


@dataclass
class _Run:
    """Collects results and commits them in batches. `_read` runs in the decoding threads, all else in the caller's.

    lookups: a connection for the decoding threads. claimed: the hashes of contents that are being encoded, so that
    copies in the same run are encoded once. files: waiting for the next commit; without a content, they have one that
    is indexed or claimed. gone: files to delete from the index.
    """

    store: FolderStore
    lookups: FolderStore
    model: str
    observe: Observe
    batch_size: int
    limits: ImageLimits
    lock: threading.Lock = field(default_factory=threading.Lock)
    claimed: set[bytes] = field(default_factory=set)
    readings: deque[_Reading] = field(default_factory=deque)
    files: list[tuple[FileRow, Content | None]] = field(default_factory=list)
    gone: list[Step] = field(default_factory=list)

    def sources(self, decisions: Iterable[Decision]) -> Iterator[ImageSource]:
        """Yields the files to read, and reports all others."""
        for decision in decisions:
            match decision:
                case Read(file, changed):
                    reading = _Reading(file, changed)
                    self.readings.append(reading)
                    yield ImageSource(shown(file.path), partial(self._read, reading))
                case Unchanged(known):
                    status = FileStatus.BROKEN if known.broken else FileStatus.UNCHANGED
                    self.observe(Step(known.path, status, known.broken, known=True))
                case Forget(known):
                    self.gone.append(Step(known.path, FileStatus.FORGOTTEN))
                    self._commit_when_full()
                case Unreadable(path, reason):
                    self.observe(Step(path, FileStatus.UNREADABLE, reason))
                case UnsupportedFormat(path, suffix):
                    self.observe(Step(path, FileStatus.UNSUPPORTED, suffix))

    def take(self, outcome: ImageOutcome) -> None:
        """Outcomes come in the order of their sources."""
        reading = self.readings.popleft()
        file = reading.file
        if not isinstance(outcome, EncodedImage) and _is_temporary(outcome.cause):
            step = Step(file.path, FileStatus.UNREADABLE, outcome.reason)
            if reading.changed:
                self.gone.append(step)
            else:
                self.observe(step)
        else:
            row = FileRow(file.path, file.size, file.mtime_ns, reading.hash)
            self.files.append((row, _content(reading, outcome)))
        self._commit_when_full()

    def finish(self) -> None:
        self._commit()
        for row, _ in self.files:
            self.observe(Step(row.path, FileStatus.UNREADABLE, "A file with the same content could not be encoded."))

    def _read(self, reading: _Reading) -> bytes:
        """Raises ImageRejected, OSError, and NotNeeded where the content need not be encoded."""
        size, max_bytes = reading.file.size, self.limits.max_bytes
        if size > max_bytes:
            raise ImageRejected(
                RejectReason.TOO_MANY_BYTES, f"The file has {size} bytes; at most {max_bytes} are read."
            )
        data = read_regular(path_of(reading.file.path))
        reading.hash = hash_of(data)
        with self.lock:
            if reading.hash in self.claimed or self.lookups.settled(reading.hash, self.model):
                raise NotNeeded("Its content is known.")
            self.claimed.add(reading.hash)
        if is_own_sheet(data):
            reading.is_sheet = True
            raise NotNeeded("It is a contact sheet.")
        return data

    def _commit_when_full(self) -> None:
        if len(self.files) + len(self.gone) >= self.batch_size:
            self._commit()

    def _commit(self) -> None:
        """A copy may come before the file whose content it shares is encoded; it waits for a later commit."""
        contents = [content for _, content in self.files if content is not None]
        rows = [row for row, _ in self.files]
        written = self.store.write(self.model, contents, rows, [step.path for step in self.gone])
        with self.lock:
            self.claimed.difference_update(content.hash for content in contents)
        steps = self.gone + [
            _step(row.path, content is None, *written[row.path]) for row, content in self.files if row.path in written
        ]
        self.files = [(row, content) for row, content in self.files if row.path not in written]
        self.gone = []
        for step in steps:
            self.observe(step)


def _content(reading: _Reading, outcome: ImageOutcome) -> Content | None:
    """None where the content is known or claimed by another file."""
    if isinstance(outcome, EncodedImage):
        return Content(reading.hash, State.IMAGE, width=outcome.width, height=outcome.height, vector=outcome.embedding)
    if reading.is_sheet:
        return Content(reading.hash, State.SHEET)
    if isinstance(outcome.cause, NotNeeded):
        return None
    return Content(reading.hash, State.BROKEN, outcome.reason)


def _is_temporary(cause: Exception) -> bool:
    """Whether reading the same bytes again may succeed: with more memory, a drive that answers, or higher limits."""
    if isinstance(cause, ImageRejected):
        return cause.reason in (
            RejectReason.TOO_MANY_BYTES,
            RejectReason.TOO_MANY_PIXELS,
            RejectReason.TOO_MANY_FRAMES,
        )
    return not isinstance(cause, NotNeeded)


def _step(path: bytes, reused: bool, state: State, reason: str) -> Step:
    match state:
        case State.IMAGE:
            return Step(path, FileStatus.REUSED if reused else FileStatus.ENCODED)
        case State.BROKEN:
            return Step(path, FileStatus.BROKEN, reason)
        case State.SHEET:
            return Step(path, FileStatus.SHEET)
