"""An output that takes long: written beside its name, told of in a journal, and gone on with by the same command.

`out.tsv.part` grows; `out.tsv.part.json` says what makes it and how far it is whole. Both go when `out.tsv` is done.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from clipcore.datasets.pairs import Problem
from clipcore.errors import BadInput

if sys.platform != "win32":
    import fcntl

# Often enough for a crash, seldom enough for a long list of problems.
_TELL_SECONDS = 1.0

Watch = Callable[[Sequence[int]], Iterable[int]]
"""Passes things on and sees each go by, as a progress bar does."""


class Partial:
    """A file in the making; a context manager that keeps what is whole when it is left early.

    job: whatever makes the output what it is, as JSON takes it: only the same job goes on; None where it cannot be told
    again, as of a pipe, and then nothing is kept. taken: how many inputs are answered already.

    Raises BadInput where the output exists, or another job's beginning, unless `force`, and where there is no folder
    for it.
    """

    def __init__(self, path: Path, job: Mapping[str, Any] | None, *, force: bool = False) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._journal = path.with_name(f"{path.name}.part.json")
        self._job = job
        self._told = 0.0
        check_output(path, force=force)
        self._part.touch()
        self._lock = _lock(self._part)
        try:
            begun = self._begun(force)
        except BadInput:
            self._release()
            raise
        self.taken: int = begun["taken"]
        self.problems = [Problem(*told) for told in begun["problems"]]
        self._bytes: int = begun["bytes"]
        self.file: BinaryIO = self._part.open("r+b")
        self.file.truncate(self._bytes)
        self.file.seek(self._bytes)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file.closed:
            return
        self._tell()
        self.file.close()
        if self._job is None:
            self._remove()
        self._release()

    def commit(self, taken: int, problems: Sequence[Problem] = ()) -> None:
        """What has been written answers so many inputs, those that had problems included. Ctrl-C loses none of it;
        anything rougher loses a second.
        """
        self.problems += problems
        self.taken, self._bytes = taken, self.file.tell()
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._tell()

    def finish(self, convert: Callable[[Path, Path], object] = Path.replace) -> None:
        """The output takes its name. convert: makes it of what was written."""
        self._tell()
        self.file.close()
        convert(self._part, self._path)
        self._remove()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def _remove(self) -> None:
        self._part.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

    def _tell(self) -> None:
        self.file.flush()
        problems = [[problem.name, problem.reason] for problem in self.problems]
        state = {"job": self._job, "taken": self.taken, "bytes": self._bytes, "problems": problems}
        write_whole(self._journal, json.dumps(state).encode())
        self._told = time.monotonic()

    def _begun(self, force: bool) -> dict[str, Any]:
        nothing: dict[str, Any] = {"taken": 0, "bytes": 0, "problems": []}
        state = read_state(self._journal) or nothing
        size = self._part.stat().st_size
        told = state.get("job")
        if self._job is not None and told == self._job and size >= state["bytes"]:
            return state
        if force or not size or told is None or told == self._job:
            return nothing
        raise BadInput(f"{str(self._part)!r} is the beginning of another command's output; add --force to replace it.")


def _lock(path: Path) -> int | None:
    """A descriptor that holds the file until it is closed or the process ends. Windows has none.

    Raises BadInput where another process holds the file, or has given it its final name meanwhile.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    raise BadInput(f"{str(path)!r} is being written by another command; wait for that, or name another output.")


def check_output(path: Path, *, force: bool) -> None:
    """To be asked before any work. Raises BadInput where a file cannot be written there, or one is, unless `force`."""
    check_place(path)
    if path.exists() and not force:
        raise BadInput(f"{str(path)!r} exists; name another output, or add --force to replace it.")


def check_place(path: Path) -> None:
    """Raises BadInput where a file of that name has no folder, or the name is a folder's own. None is made: it would
    hide a slip of the pen.
    """
    if path.is_dir():
        raise BadInput(f"{str(path)!r} is a folder; name a file.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {str(path.parent)!r} for {path.name!r}; make it first.")


def read_state(path: Path) -> dict[str, Any] | None:
    """What a journal says; None where there is none that can be read."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def write_whole(path: Path, data: bytes) -> None:
    """All of it or nothing, whenever this is interrupted; what has the name until then stays."""
    with whole(path) as part:
        part.write_bytes(data)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what is to have this name once it is whole."""
    # Of this process alone, and short: the name itself may be as long as names can be.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def unwatched(things: Sequence[int]) -> Iterable[int]:
    return things


def reason(error: Exception) -> str:
    """One sentence on why an image cannot be used, from what reading it raised."""
    if isinstance(error, OSError):
        return f"It cannot be read: {error.strerror or type(error).__name__}."
    return str(error)


def file_identity(path: Path) -> list[Any]:
    """Tells an input that has changed since from one that has not."""
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]
