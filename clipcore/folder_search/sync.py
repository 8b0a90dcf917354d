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
from clipcore.folder_search.deciding import Decision, Forget, KnownFile, Read, Unchanged, decide
from clipcore.folder_search.paths import path_of, shown
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import Content, FileRow, FolderStore, State, hash_of, is_own_sheet
from clipcore.images.decode import OWN_FILES, ImageLimits
from clipcore.images.walk import Foreign, Reach, SeenFile, Sight, Unreachable, walk


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


class Became(StrEnum):
    """What became of a file. REUSED: read, and its content was known. BROKEN: no image, and not read again until it
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
    """reason: one sentence where a file was skipped; the suffix of a foreign one."""

    path: bytes
    became: Became
    reason: str = ""


Observe = Callable[[Step], None]


def index_folder(
    store: FolderStore,
    root: bytes,
    model: LazyModel,
    observe: Observe,
    *,
    reach: Reach | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    limits: ImageLimits = OWN_FILES,
) -> None:
    """Tells `observe` what became of each file, once that is committed. Running it again goes on where it ended.

    A folder without any image, while the index knows some below it, is taken for a drive that is not mounted:
    nothing is forgotten, and the files are told as KEPT. Raises ModelUnavailable and IndexUnusable.
    """
    sights = walk(root, reach)
    leading, first = _up_to_first_file(sights)
    known = store.known_files(root, model.key)
    decisions = decide(chain(leading, [first], sights), known) if first else _without_images(leading, known, observe)
    with Claims(store.path, model.key) as claims:
        run = _Run(store, model.key, claims, observe, batch_size, limits)
        sources = run.sources(decisions)
        # Closed before the claims are: the reading threads end first, whatever ends the run.
        with closing(encode_images(model, sources, batch_size=batch_size, workers=workers, limits=limits)) as outcomes:
            for outcome in outcomes:
                run.take(outcome)
        run.finish()
    store.prune()


def _up_to_first_file(sights: Iterator[Sight]) -> tuple[list[Sight], SeenFile | None]:
    leading: list[Sight] = []
    for sight in sights:
        if isinstance(sight, SeenFile):
            return leading, sight
        leading.append(sight)
    return leading, None


def _without_images(sights: Iterable[Sight], known: Iterable[KnownFile], observe: Observe) -> Iterator[Decision]:
    for row in known:
        observe(Step(row.path, Became.KEPT))
    return decide(sights, ())


@dataclass
class _Run:
    """What is between a decision and its commit. Belongs to the thread that owns the store."""

    store: FolderStore
    model: str
    claims: Claims
    observe: Observe
    batch_size: int
    limits: ImageLimits
    readings: deque[Reading] = field(default_factory=deque)
    contents: list[Content] = field(default_factory=list)
    files: list[tuple[FileRow, Became]] = field(default_factory=list)
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
        self.files.append((row, Became.REUSED if content is None else Became.ENCODED))

    def _leave(self, reading: Reading, reason: str) -> None:
        step = Step(reading.file.path, Became.UNREADABLE, reason)
        if reading.changed:
            self.gone.append((reading.file.path, step))
        else:
            self.observe(step)

    def finish(self) -> None:
        self._commit()
        for row, _ in self.files:
            self.observe(Step(row.path, Became.UNREADABLE, "A file with the same content could not be encoded."))

    def _pass(self, decision: Unchanged | Forget | Unreachable | Foreign) -> None:
        match decision:
            case Unchanged(known):
                became = Became.BROKEN if known.broken else Became.UNCHANGED
                self.observe(Step(known.path, became, known.broken))
            case Forget(known):
                self.gone.append((known.path, Step(known.path, Became.FORGOTTEN)))
                self._commit_when_full()
            case Unreachable(path, reason):
                self.observe(Step(path, Became.UNREADABLE, reason))
            case Foreign(path, suffix):
                self.observe(Step(path, Became.FOREIGN, suffix))

    def _commit_when_full(self) -> None:
        if len(self.files) + len(self.gone) >= self.batch_size:
            self._commit()

    def _commit(self) -> None:
        """A copy may arrive before what it is a copy of: it waits for a later commit."""
        written = self.store.write(
            self.model, self.contents, [row for row, _ in self.files], [path for path, _ in self.gone]
        )
        self.claims.committed(content.hash for content in self.contents)
        done = [(row, became) for row, became in self.files if row.path in written]
        self.files = [(row, became) for row, became in self.files if row.path not in written]
        steps = [*(step for _, step in self.gone), *(_step(row, became, *written[row.path]) for row, became in done)]
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


def _step(row: FileRow, became: Became, state: State, reason: str) -> Step:
    match state:
        case State.IMAGE:
            return Step(row.path, became)
        case State.BROKEN:
            return Step(row.path, Became.BROKEN, reason)
        case State.SHEET:
            return Step(row.path, Became.SHEET)


_LIMITS = (RejectReason.TOO_MANY_BYTES, RejectReason.TOO_MANY_PIXELS, RejectReason.TOO_MANY_FRAMES)
