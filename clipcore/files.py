"""Reads regular files only, since opening a pipe or a device may block forever; writes files in one step."""

from __future__ import annotations

import errno
import json
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from clipcore.errors import BadInput, ModelUnavailable


def open_regular(path: Path) -> BinaryIO:
    """Opens for reading. Raises OSError, also for anything but a regular file."""
    check_regular(path)
    return path.open("rb")


def read_regular(path: Path) -> bytes:
    """Raises OSError as `open_regular`."""
    check_regular(path)
    return path.read_bytes()


def check_regular(path: Path) -> None:
    """Raises OSError for a pipe, a device and a missing file. Folders fail when they are opened."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "the link is broken", str(path)) from error
        raise
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelUnavailable where the file cannot be read or holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelUnavailable(f"The model's file {str(path)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelUnavailable(f"The model's file {str(path)!r} is broken; delete it and download the model again.")
    return content


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file in one step: until all is written, an older file of that name stays."""
    with atomic_path(path) as part:
        part.write_bytes(data)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to; on success the file there is renamed to `path`."""
    # Unique to this process, and short: the name itself may be as long as names can be.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


Array = npt.NDArray[np.generic]

_KIND = "magpie"


def write_tensors(path: Path, kind: str, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Atomic: a file of that name stays as it was until the new one is complete. kind: as `read_tensors` expects.

    Raises BadInput where the file cannot be written.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        with atomic_path(path) as part:
            save_file(contiguous, part, {**metadata, _KIND: kind})
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{str(path)!r} cannot be written: {getattr(error, 'strerror', None) or error}.") from error


def read_tensors(path: Path, kind: str, what: str) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the metadata. what: the kind in words, for messages: "an index".

    Raises BadInput where the file is missing, broken, or of another kind.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            if metadata.pop(_KIND, None) != kind:
                raise BadInput(f"{str(path)!r} is not {what} saved by Magpie.")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no mapping, has keys()
    except FileNotFoundError as error:
        raise BadInput(f"There is no file {str(path)!r}.") from error
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise BadInput(f"{str(path)!r} is broken or not {what}; save it again.") from error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """For writing and nothing else: torch and safetensors put errors of their own in place of the system's.

    Raises BadInput.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadInput(
            f"{str(folder)!r} cannot be written to ({_reason(error)}); see to the disk, and the same command goes on "
            "from the last checkpoint."
        ) from error


def _reason(error: BaseException) -> str:
    """The system's reason, even where a library raised its own error over it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _reason(error.__context__) if error.__context__ else str(error)
