"""Tables and folders of images for the tests, made by hand."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from tests.clipcore.images import png

RED, GREEN, BLUE = png("red"), png("green"), png("blue")


def url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def write_lines(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def row(text: str, image: bytes) -> str:
    return f"{text}\t{url_safe(image)}"


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """files: bytes by path beneath the folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
