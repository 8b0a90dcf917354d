"""Brings the index up to date with a folder tree: reads what is new or changed, encodes what is unknown.

Every batch is one transaction, so that whatever ends the run, at most the batch in flight has to be done again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from pathlib import Path
from types import TracebackType

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.encoding.batch import EncodedImage, ImageSource, NotNeeded, SkippedImage, encode_images
from clipcore.errors import ImageRejected, RejectReason
from clipcore.files import read_regular
from clipcore.folder_search.paths import path_of, shown
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import Content, FileRow, FolderStore, KnownFile, State, hash_of, is_own_sheet
from clipcore.images.decode import OWN_FILES, ImageLimits
from clipcore.images.walk import SEPARATOR, ImageFile, Unreadable, UnsupportedFormat, WalkEntry, WalkFilter, walk


class ContentClaims:
    """Which contents are being encoded just now, so that each is encoded once. Thread-safe.

    Has a connection of its own; memory: one hash for each content that is not committed yet.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._store = FolderStore(path, any_thread=True)
        self._model = model
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()

    def __enter__(self) -> ContentClaims:
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

    def __init__(self, decision: Read, claims: ContentClaims, limits: ImageLimits) -> None:
        self.file = decision.file
        self.changed = decision.changed
        self.hash = b""
        self.is_sheet = False
        self._claims = claims
        self._limits = limits

    @property
    def source(self) -> ImageSource:
        return ImageSource(shown(self.file.path), self._read)

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


class FileStatus(StrEnum):
    """What status of a file. REUSED: read, and its content was known. BROKEN: no image, and not read again until it
    changes. UNREADABLE: tried again next time. KEPT: not seen, and remembered all the same; see `index_folder`.
    """

    UNCHANGED = "unchanged"
    ENCODED = "encoded"
    REUSED = "reused"
    BROKEN = "broken"
    UNREADABLE = "unreadable"
    SHEET = "sheet"
    FORGOTTEN = "forgotten"
    FOREIGN = "foreign"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Step:
    """reason: one sentence where a file was skipped; the suffix of an unsupported format. known: the index knew it."""

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
    leading, first = _up_to_first_file(entries)
    known = store.known_files(root, model.key)
    decisions = decide(chain(leading, [first], entries), known) if first else _without_images(leading, known, observe)
    if keep_filtered:
        decisions = _without_filtered(decisions, filter_ or WalkFilter(), root)
    with ContentClaims(store.path, model.key) as claims:
        run = _Run(store, model.key, claims, observe, batch_size, limits)
        sources = run.sources(decisions)
        # Closed before the claims are: the reading threads end first, whatever ends the run.
        with closing(encode_images(model, sources, batch_size=batch_size, workers=workers, limits=limits)) as outcomes:
            for outcome in outcomes:
                run.take(outcome)
        run.finish()
    store.prune()


def _up_to_first_file(entries: Iterator[WalkEntry]) -> tuple[list[WalkEntry], ImageFile | None]:
    leading: list[WalkEntry] = []
    for entry in entries:
        if isinstance(entry, ImageFile):
            return leading, entry
        leading.append(entry)
    return leading, None


def _without_images(entries: Iterable[WalkEntry], known: Iterable[KnownFile], observe: Observe) -> Iterator[Decision]:
    for row in known:
        observe(Step(row.path, FileStatus.KEPT))
    return decide(entries, ())


def _without_filtered(decisions: Iterable[Decision], filter_: WalkFilter, root: bytes) -> Iterator[Decision]:
    for decision in decisions:
        if not isinstance(decision, Forget) or filter_.visits(decision.known.path, root):
            yield decision


@dataclass
class _Run:
    """What is between a decision and its commit. Belongs to the thread that owns the store."""

    store: FolderStore
    model: str
    claims: ContentClaims
    observe: Observe
    batch_size: int
    limits: ImageLimits
    readings: deque[Reading] = field(default_factory=deque)
    contents: list[Content] = field(default_factory=list)
    files: list[tuple[FileRow, FileStatus]] = field(default_factory=list)
    gone: list[tuple[bytes, Step]] = field(default_factory=list)

    def sources(self, decisions: Iterable[Decision]) -> Iterator[ImageSource]:
        """What has to be read. Everything else is told and done on the way."""
        for decision in decisions:
            if isinstance(decision, Read):
                reading = Reading(decision, self.claims, self.limits)
                self.readings.append(reading)
                yield reading.source
            else:
                self._pass(decision)

    def take(self, outcome: EncodedImage | SkippedImage) -> None:
        reading = self.readings.popleft()
        if isinstance(outcome, SkippedImage) and _may_pass(outcome.cause):
            self._leave(reading, outcome.reason)
        else:
            self._keep(reading, outcome)
        self._commit_when_full()

    def _keep(self, reading: Reading, outcome: EncodedImage | SkippedImage) -> None:
        content = _content(reading, outcome)
        if content is not None:
            self.contents.append(content)
        file = reading.file
        row = FileRow(file.path, file.size, file.mtime_ns, reading.hash)
        self.files.append((row, FileStatus.REUSED if content is None else FileStatus.ENCODED))

    def _leave(self, reading: Reading, reason: str) -> None:
        step = Step(reading.file.path, FileStatus.UNREADABLE, reason)
        if reading.changed:
            self.gone.append((reading.file.path, step))
        else:
            self.observe(step)

    def finish(self) -> None:
        self._commit()
        for row, _ in self.files:
            self.observe(Step(row.path, FileStatus.UNREADABLE, "A file with the same content could not be encoded."))

    def _pass(self, decision: Unchanged | Forget | Unreadable | UnsupportedFormat) -> None:
        match decision:
            case Unchanged(known):
                status = FileStatus.BROKEN if known.broken else FileStatus.UNCHANGED
                self.observe(Step(known.path, status, known.broken, known=True))
            case Forget(known):
                self.gone.append((known.path, Step(known.path, FileStatus.FORGOTTEN)))
                self._commit_when_full()
            case Unreadable(path, reason):
                self.observe(Step(path, FileStatus.UNREADABLE, reason))
            case UnsupportedFormat(path, suffix):
                self.observe(Step(path, FileStatus.FOREIGN, suffix))

    def _commit_when_full(self) -> None:
        if len(self.files) + len(self.gone) >= self.batch_size:
            self._commit()

    def _commit(self) -> None:
        """A copy may arrive before what it is a copy of: it waits for a later commit."""
        written = self.store.write(
            self.model, self.contents, [row for row, _ in self.files], [path for path, _ in self.gone]
        )
        self.claims.committed(content.hash for content in self.contents)
        done = [(row, status) for row, status in self.files if row.path in written]
        self.files = [(row, status) for row, status in self.files if row.path not in written]
        steps = [*(step for _, step in self.gone), *(_step(row, status, *written[row.path]) for row, status in done)]
        self.contents, self.gone = [], []
        for step in steps:
            self.observe(step)


def _content(reading: Reading, outcome: EncodedImage | SkippedImage) -> Content | None:
    """What has been learnt of the bytes; None where nothing."""
    if isinstance(outcome, EncodedImage):
        return Content(reading.hash, State.IMAGE, width=outcome.width, height=outcome.height, vector=outcome.embedding)
    if reading.is_sheet:
        return Content(reading.hash, State.SHEET)
    if isinstance(outcome.cause, NotNeeded):
        return None
    return Content(reading.hash, State.BROKEN, outcome.reason)


def _may_pass(cause: Exception) -> bool:
    """Whether trying again may help: too little memory, a drive that answers badly, limits that may be raised."""
    if isinstance(cause, ImageRejected):
        return cause.reason in _LIMITS
    return not isinstance(cause, NotNeeded)


def _step(row: FileRow, status: FileStatus, state: State, reason: str) -> Step:
    match state:
        case State.IMAGE:
            return Step(row.path, status)
        case State.BROKEN:
            return Step(row.path, FileStatus.BROKEN, reason)
        case State.SHEET:
            return Step(row.path, FileStatus.SHEET)


_LIMITS = (RejectReason.TOO_MANY_BYTES, RejectReason.TOO_MANY_PIXELS, RejectReason.TOO_MANY_FRAMES)


@dataclass(frozen=True, slots=True)
class Unchanged:
    known: KnownFile


@dataclass(frozen=True, slots=True)
class Read:
    """New, changed, or not yet seen by this model. changed: what is known of it is of other bytes."""

    file: ImageFile
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """Gone from the folder."""

    known: KnownFile


Decision = Unchanged | Read | Forget | Unreadable | UnsupportedFormat


def decide(entries: Iterable[WalkEntry], known: Iterable[KnownFile]) -> Iterator[Decision]:
    """Both in the order of their paths' bytes. What lies where nobody could look is neither seen nor forgotten."""
    rows = iter(known)
    row = next(rows, None)
    for entry in entries:
        while row is not None and row.path < entry.path:
            yield Forget(row)
            row = next(rows, None)
        if isinstance(entry, ImageFile):
            match = row if row is not None and row.path == entry.path else None
            yield _compared(entry, match)
            row = next(rows, None) if match else row
            continue
        yield entry
        while row is not None and _covers(entry, row.path):
            row = next(rows, None)
    while row is not None:
        yield Forget(row)
        row = next(rows, None)


def _compared(file: ImageFile, known: KnownFile | None) -> Decision:
    if known is None:
        return Read(file)
    if (known.size, known.mtime_ns) != (file.size, file.mtime_ns):
        return Read(file, changed=True)
    return Unchanged(known) if known.complete else Read(file)


def _covers(entry: Unreadable | UnsupportedFormat, path: bytes) -> bool:
    if isinstance(entry, UnsupportedFormat):
        return False
    return path.startswith(entry.path) if entry.path.endswith(SEPARATOR) else path == entry.path
