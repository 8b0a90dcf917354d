"""What has to be done about a folder, decided from what is seen and what is known. Touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clipcore.images.walk import SEPARATOR, Foreign, SeenFile, Sight, Unreachable


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it was when last indexed. complete: all that the model in question could want of it is there.
    broken: why it is no image; empty where it is one."""

    path: bytes
    size: int
    mtime_ns: int
    complete: bool
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Unchanged:
    known: KnownFile


@dataclass(frozen=True, slots=True)
class Read:
    """New, changed, or not yet seen by this model. changed: what is known of it is of other bytes."""

    file: SeenFile
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """Gone from the folder."""

    known: KnownFile


Decision = Unchanged | Read | Forget | Unreachable | Foreign


def decide(sights: Iterable[Sight], known: Iterable[KnownFile]) -> Iterator[Decision]:
    """Both in the order of their paths' bytes. What lies where nobody could look is neither seen nor forgotten."""
    rows = iter(known)
    row = next(rows, None)
    for sight in sights:
        while row is not None and row.path < sight.path:
            yield Forget(row)
            row = next(rows, None)
        if isinstance(sight, SeenFile):
            match = row if row is not None and row.path == sight.path else None
            yield _compared(sight, match)
            row = next(rows, None) if match else row
            continue
        yield sight
        while row is not None and _covers(sight, row.path):
            row = next(rows, None)
    while row is not None:
        yield Forget(row)
        row = next(rows, None)


def _compared(file: SeenFile, known: KnownFile | None) -> Decision:
    if known is None:
        return Read(file)
    if (known.size, known.mtime_ns) != (file.size, file.mtime_ns):
        return Read(file, changed=True)
    return Unchanged(known) if known.complete else Read(file)


def _covers(sight: Unreachable | Foreign, path: bytes) -> bool:
    if isinstance(sight, Foreign):
        return False
    return path.startswith(sight.path) if sight.path.endswith(SEPARATOR) else path == sight.path
