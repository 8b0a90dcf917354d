"""Writes outputs that take long: an interrupted command, run again, resumes where it stopped.

`out.tsv.part` grows; `out.tsv.part.json`, its journal, records the job and how much of the part is complete. Both are
removed when `out.tsv` is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from clipcore.encoding.batch import Problem
from clipcore.errors import BadInput
from clipcore.files import write_atomically

if sys.platform != "win32":
    import fcntl

# Often enough to lose little in a crash, seldom enough for a long list of problems.
_JOURNAL_SECONDS = 1.0

Progress = Callable[[Any], Iterable[Any]]
"""Wraps the items of a loop, as a progress bar does; `iter` shows nothing."""


@contextmanager
def resumable(
    path: Path,
    job: Mapping[str, Any] | None,
    *,
    force: bool = False,
    convert: Callable[[Path, Path], object] = Path.replace,
) -> Iterator[Partial]:
    """Writes an output file. Where the body is left early, what is complete is kept for the next run.

    job: what determines the output, as JSON; only the same job resumes. None where the input cannot be read again, such
    as a pipe: then nothing is kept. convert: makes the output (second path) from the complete part (first path).

    Raises BadInput where the output, or the part of another job, exists, unless `force`, and where its folder is
    missing.
    """
    check_output(path, force=force)
    part, journal = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    part.touch()
    with _locked(part):
        partial = Partial(part, journal, job, force=force)
        keep = job is not None
        try:
            with closing(partial):
                yield partial
            convert(part, path)
            keep = False
        finally:
            if not keep:
                part.unlink(missing_ok=True)
                journal.unlink(missing_ok=True)


class Partial:
    """What is complete of an output. taken: the number of inputs that are finished. problems: of these inputs. file:
    the part, open for writing.
    """

    def __init__(self, part: Path, journal: Path, job: Mapping[str, Any] | None, *, force: bool) -> None:
        self._journal = journal
        # As the journal returns it: lists instead of tuples.
        self._job = json.loads(json.dumps(job))
        self._journal_written = 0.0
        state = self._resumable_state(part, force)
        self.taken: int = state["taken"]
        self.problems = [Problem(*problem) for problem in state["problems"]]
        self._bytes: int = state["bytes"]
        self.file: BinaryIO = part.open("r+b")
        self.file.truncate(self._bytes)
        self.file.seek(self._bytes)

    def commit(self, taken: int, problems: Sequence[Problem] = ()) -> None:
        """Records that what has been written covers the first `taken` inputs. problems: those of the new inputs.

        Ctrl-C loses nothing that was committed; a crash loses at most a second.
        """
        self.problems += problems
        self.taken, self._bytes = taken, self.file.tell()
        if time.monotonic() - self._journal_written > _JOURNAL_SECONDS:
            self._write_journal()

    def close(self) -> None:
        self._write_journal()
        self.file.close()

    def _resumable_state(self, part: Path, force: bool) -> dict[str, Any]:
        nothing: dict[str, Any] = {"taken": 0, "bytes": 0, "problems": []}
        state = read_json_object(self._journal) or nothing
        size = part.stat().st_size
        job = state.get("job")
        if self._job is not None and job == self._job and size >= state["bytes"]:
            return state
        if force or not size or job is None or job == self._job:
            return nothing
        raise BadInput(f"{str(part)!r} is the beginning of another command's output; add --force to replace it.")

    def _write_journal(self) -> None:
        self.file.flush()
        problems = [[problem.name, problem.reason] for problem in self.problems]
        state = {"job": self._job, "taken": self.taken, "bytes": self._bytes, "problems": problems}
        write_atomically(self._journal, json.dumps(state).encode())
        self._journal_written = time.monotonic()


def check_output(path: Path, *, force: bool) -> None:
    """Checks before any work that an output can be written. Raises BadInput where its folder is missing, or where it
    exists, unless `force`.
    """
    check_output_folder(path)
    if path.exists() and not force:
        raise BadInput(f"{str(path)!r} exists; name another output, or add --force to replace it.")


def check_output_folder(path: Path) -> None:
    """Raises BadInput where the path is a folder, or its folder is missing: creating that would hide a typo."""
    if path.is_dir():
        raise BadInput(f"{str(path)!r} is a folder; name a file.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {str(path.parent)!r} for {path.name!r}; make it first.")


def read_json_object(path: Path) -> dict[str, Any] | None:
    """Reads a journal; None where there is none or it is broken."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def file_identity(path: Path) -> list[Any]:
    """Identifies a file and its state, so that a changed input is noticed: path, size and modification time."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def fingerprint(parts: Iterable[object]) -> str:
    """Identifies a long list of inputs, each of which JSON can express."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks the file; a lock ends with its process. Does nothing on Windows, which has no flock.

    Raises BadInput where another process holds the lock, or has just renamed the file to its final name.
    """
    if sys.platform == "win32":
        yield
        return
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_locked = False
        if not is_locked:
            raise BadInput(f"{str(path)!r} is being written by another command; wait for that, or name another output.")
        yield
