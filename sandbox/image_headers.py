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


_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"\xff\xd8\xff": "image/jpeg",
    b"BM": "image/bmp",
}


def sniffed_type(data: bytes) -> str | None:
    """By the first bytes; None for anything but an image."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), None)


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


def is_animated(data: bytes) -> bool:
    """Whether a GIF, PNG or WebP has more than one frame, read from its structure."""
    try:
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return _gif_frames(data) > 1
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_frames(data) > 1
        return data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and bool(data[20] & 0x02)
    except (struct.error, IndexError):
        return False


def _gif_frames(data: bytes) -> int:
    """Counts to two at most."""
    position = 13 + _colour_table(data[10])
    frames = 0
    while frames < 2:
        match data[position]:
            case 0x21:
                position = _after_blocks(data, position + 2)
            case 0x2C:
                frames += 1
                position = _after_blocks(data, position + 11 + _colour_table(data[position + 9]))
            case _:
                break
    return frames


def _colour_table(flags: int) -> int:
    """The length of the colour table that these flags announce."""
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    while data[position]:
        position += 1 + data[position]
    return position + 1


def _png_frames(data: bytes) -> int:
    """The number in the animation control chunk, which stands before the image data."""
    position = 8
    while data[position + 4 : position + 8] not in (b"IDAT", b""):
        length: int = struct.unpack_from(">I", data, position)[0]
        if data[position + 4 : position + 8] == b"acTL":
            return int(struct.unpack_from(">I", data, position + 8)[0])
        position += 12 + length
    return 1
