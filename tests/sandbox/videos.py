"""Small MP4 files, without a codec: their headers are real, their pictures are not."""

from __future__ import annotations

import struct


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def mp4(width: int = 64, height: int = 36, *, seconds: float = 2.5, cover: bytes | None = None) -> bytes:
    """`cover`: a PNG, or a JPEG."""
    header = box(b"mvhd", bytes(12), struct.pack(">II", 1000, int(seconds * 1000)), bytes(80))
    picture = box(b"trak", box(b"tkhd", bytes(76), struct.pack(">II", width << 16, height << 16)))
    sound = box(b"trak", box(b"tkhd", bytes(84)))
    movie = [header, sound, picture]
    if cover is not None:
        kind = 14 if cover.startswith(b"\x89PNG") else 13
        data = box(b"data", struct.pack(">II", kind, 0), cover)
        movie.append(box(b"udta", box(b"meta", bytes(4), box(b"ilst", box(b"covr", data)))))
    return box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"moov", *movie) + box(b"mdat", b"frames")
