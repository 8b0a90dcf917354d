"""Files that end: a pipe or a device may keep whoever opens it waiting for good."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """For reading. Raises OSError, for what is no regular file too."""
    check_regular(path)
    return path.open("rb")


def read_regular(path: Path) -> bytes:
    """Raises OSError as `open_regular` does."""
    check_regular(path)
    return path.read_bytes()


def check_regular(path: Path) -> None:
    """Raises OSError for a pipe or a device, and where there is nothing. Folders fail when they are opened."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "the link leads nowhere", str(path)) from error
        raise
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
