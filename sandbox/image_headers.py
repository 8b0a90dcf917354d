"""An image's width and height, read from its header, and its content type, as Discord's attachments have them."""

from __future__ import annotations

import mimetypes
import re
import struct

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def content_type_of(filename: str, declared: str | None) -> str | None:
    """By the name first, like Discord: libraries upload everything as application/octet-stream."""
    guessed, _ = mimetypes.guess_type(filename)
    if guessed is None and filename.lower().endswith((".webp", ".avif")):
        guessed = f"image/{filename[-4:].lower()}"
    if guessed is None and declared is not None and _MEDIA_TYPE.fullmatch(declared):
        return None if declared == "application/octet-stream" else declared
    return guessed


def image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG, GIF, BMP, JPEG or WebP; None for anything else."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _pair(struct.unpack_from(">II", data, 16))
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return _pair(struct.unpack_from("<HH", data, 6))
        if data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
            return _pair((width, abs(height)))
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        return None
    return None


def _pair(values: tuple[int, ...]) -> tuple[int, int] | None:
    width, height = values
    return (width, height) if width > 0 and height > 0 else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 < len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return _pair((width, height))
        position += 1 if marker == 0xFF else 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        return _pair((1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")))
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return _pair((1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)))
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return _pair((width & 0x3FFF, height & 0x3FFF))
    return None
