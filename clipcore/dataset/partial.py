"""An output that takes long: written beside its name, told of in a journal, and gone on with by the same command.

`out.tsv.part` grows; `out.tsv.part.json` says what makes it and how far it is whole. Both go when `out.tsv` is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from clipcore.dataset.pairs import Problem
from clipcore.errors import BadInput

Watch = Callable[[Sequence[int]], Iterable[int]]
"""Passes things on and sees each go by, as a progress bar does."""


class Partial:
    """A file in the making; a context manager. taken: how many inputs it answers already.

    job: whatever makes the output what it is, as JSON takes it: only the same job goes on. Raises BadInput where the
    output exists, or another job's beginning, unless `force`.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], *, force: bool = False) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._journal = path.with_name(f"{path.name}.part.json")
        self._job = dict(job)
        if path.exists() and not force:
            raise BadInput(f"{str(path)!r} exists; name another output, or add --force to replace it.")
        begun = self._begun(force)
        self.taken: int = begun["taken"]
        self.problems = [Problem(*told) for told in begun["problems"]]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = self._part.open("r+b" if begun["bytes"] else "w+b")
        self.file.truncate(begun["bytes"])
        self.file.seek(begun["bytes"])

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    @property
    def is_new(self) -> bool:
        return self.file.tell() == 0

    def commit(self, taken: int) -> None:
        """What has been written answers so many inputs. From here on an interruption loses none of it."""
        self.file.flush()
        told = [[problem.name, problem.reason] for problem in self.problems]
        state = {"job": self._job, "taken": taken, "bytes": self.file.tell(), "problems": told}
        write_whole(self._journal, json.dumps(state, ensure_ascii=False).encode())
        self.taken = taken

    def finish(self) -> None:
        """The output takes its name."""
        self.file.close()
        self._part.replace(self._path)
        self._journal.unlink(missing_ok=True)

    def _begun(self, force: bool) -> dict[str, Any]:
        nothing: dict[str, Any] = {"taken": 0, "bytes": 0, "problems": []}
        if not self._part.exists():
            return nothing
        state = read_state(self._journal)
        if state is not None and state.get("job") == self._job and self._part.stat().st_size >= state["bytes"]:
            return state
        if state is None or force:
            return nothing
        raise BadInput(f"{str(self._part)!r} is the beginning of another command's output; add --force to replace it.")


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
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def unwatched(things: Sequence[int]) -> Iterable[int]:
    return things


def reason(error: Exception) -> str:
    """One sentence on why a picture cannot be used, from what reading it raised."""
    if isinstance(error, OSError):
        return f"It cannot be read: {error.strerror or type(error).__name__}."
    return str(error)


def file_identity(path: Path) -> list[Any]:
    """Tells an input that has changed since from one that has not."""
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]
