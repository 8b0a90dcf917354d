"""A disk that takes no more, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from clipcore.errors import BadInput


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
    """The system's words, also where another error was raised over them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _reason(error.__context__) if error.__context__ else str(error)
