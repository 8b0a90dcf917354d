"""What an MP4 says of itself: its size, its length, and its cover picture.

The sandbox decodes no video. Where Discord shows the first frame, it shows the picture that the file brings along.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

COVER = (b"udta", b"meta", b"ilst", b"covr", b"data")
JPEG, PNG = 13, 14
"""The types of a cover."""


@dataclass(frozen=True, slots=True)
class Video:
    width: int
    height: int
    seconds: float
    cover: bytes | None
    """A JPEG or PNG."""


def read_video(data: bytes) -> Video | None:
    """None for what is no MP4 with a picture track."""
    try:
        if data[4:8] != b"ftyp":
            return None
        movie = next((body for name, body in _boxes(data) if name == b"moov"), b"")
        sizes = [size for track in _children(movie, b"trak") for size in map(_size, _children(track, b"tkhd"))]
        width, height = max(sizes, default=(0, 0))
        seconds = next(map(_seconds, _children(movie, b"mvhd")), 0.0)
        return Video(width, height, seconds, _cover(movie)) if width and height else None
    except struct.error:
        return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        elif length == 0:
            length = len(data) - position
        if length < head:
            return
        yield name, data[position + head : position + length]
        position += length


def _children(data: bytes, name: bytes) -> list[bytes]:
    return [body for found, body in _boxes(data) if found == name]


def _size(track_header: bytes) -> tuple[int, int]:
    """(width, height), which stand at the end, as 16.16 fixed point. Of a sound track both are 0."""
    width, height = (
        struct.unpack_from(">II", track_header, len(track_header) - 8) if len(track_header) >= 84 else (0, 0)
    )
    return width >> 16, height >> 16


def _seconds(movie_header: bytes) -> float:
    long = movie_header[:1] == b"\x01"
    scale, duration = struct.unpack_from(">IQ" if long else ">II", movie_header, 20 if long else 12)
    unknown = duration == (1 << (64 if long else 32)) - 1
    return duration / scale if scale and not unknown else 0.0


def _cover(movie: bytes) -> bytes | None:
    node = movie
    for name in COVER:
        found = _children(node, name)
        if not found:
            return None
        # `meta` begins with four bytes of version and flags.
        node = found[0][4:] if name == b"meta" else found[0]
    kind = struct.unpack_from(">I", node)[0]
    return node[8:] if kind in (JPEG, PNG) else None
