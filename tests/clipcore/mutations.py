"""Image files that are nearly right: seeds in every format that is read, and ways to break them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from hypothesis import strategies as st
from PIL import Image

from clipcore.images.formats import READS_HEIC, READS_JXL
from tests.clipcore.images import encode, quarters

Mutation = Callable[[bytes], bytes]


def seeds() -> list[bytes]:
    """Small files of each format, in the variants whose headers and compressions differ."""
    image = quarters(24, 16)
    frames = {"save_all": True, "append_images": [Image.new("RGB", (24, 16), "black"), image.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    variants: list[tuple[Image.Image, str, dict[str, object]]] = [
        (image, "JPEG", {}),
        (image, "JPEG", {"progressive": True, "exif": exif, "comment": b"comment"}),
        (image.convert("CMYK"), "JPEG", {"icc_profile": b"profile" * 20, "restart_marker_blocks": 1}),
        (image, "PNG", {"exif": exif}),
        (image.quantize(8), "PNG", {"transparency": 0}),
        (image.convert("I;16"), "PNG", {}),
        (image, "PNG", frames),
        (image, "WEBP", {"exif": exif}),
        (image.convert("RGBA"), "WEBP", {"lossless": True}),
        (image, "WEBP", frames),
        (image, "GIF", {}),
        (image, "GIF", {**frames, "transparency": 0, "disposal": 2}),
        (image, "AVIF", {}),
        (image, "AVIF", frames),
        (image.convert("RGBA"), "AVIF", {}),
        (image, "BMP", {}),
        (image.convert("1"), "BMP", {}),
        (image.quantize(4), "BMP", {}),
        (image, "TIFF", {**frames, "exif": exif}),
        (image, "TIFF", {"big_tiff": True, "compression": "tiff_adobe_deflate"}),
        *((image, "TIFF", {"compression": kind}) for kind in ("tiff_lzw", "jpeg", "packbits")),
        (image.convert("1"), "TIFF", {"compression": "group4"}),
        (image.convert("F"), "TIFF", {}),
        (image.convert("CMYK"), "TIFF", {}),
    ]
    files = [encode(each, kind, **options) for each, kind, options in variants]
    if READS_HEIC:
        import pillow_heif

        pillow_heif.register_heif_opener()  # for `save` alone: what is tested opens its classes itself
        files += [encode(image, "HEIF", exif=exif), encode(image.convert("RGBA"), "HEIF", quality=-1)]
        files.append(encode(image, "HEIF", save_all=True, append_images=[image.rotate(180)]))
    if READS_JXL:
        import pillow_jxl  # noqa: F401 - registers itself for `save`

        files += [encode(image, "JXL"), encode(image.convert("RGBA"), "JXL", lossless=True, use_container=True)]
        files.append(encode(image.convert("L"), "JXL", exif=exif.tobytes()))
    return files


SEEDS = seeds()
_PNG = b"\x89PNG\r\n\x1a\n"
_PLACE = st.integers(0, 4095)  # of 4096: a part of the file
# What length, count and size fields are made to say.
_CLAIMS = st.sampled_from([0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])


def _at(data: bytes, place: int) -> int:
    return place * len(data) // 4096


def _flip(place: int, bits: int) -> Mutation:
    return lambda data: _replaced(data, place, bytes([data[_at(data, place)] ^ bits]) if data else b"")


def _claim(place: int, claim: int, code: str) -> Mutation:
    packed = struct.pack(code, claim & (1 << 8 * struct.calcsize(code)) - 1)
    return lambda data: _replaced(data, place, packed)


def _replaced(data: bytes, place: int, by: bytes) -> bytes:
    return data[: _at(data, place)] + by + data[_at(data, place) + len(by) :]


def _cut(start: int, end: int) -> Mutation:
    return lambda data: data[: _at(data, min(start, end))] + data[_at(data, max(start, end)) :]


def _repeat(start: int, end: int, times: int) -> Mutation:
    def repeated(data: bytes) -> bytes:
        first, last = _at(data, min(start, end)), _at(data, max(start, end))
        return data[:last] + data[first:last] * min(times, 200_000 // max(1, last - first)) + data[last:]

    return repeated


def _splice(place: int, other: bytes, start: int) -> Mutation:
    return lambda data: data[: _at(data, place)] + other[_at(other, start) :]


_MUTATIONS: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(_flip, _PLACE, st.integers(1, 255)),
    st.builds(_claim, _PLACE, _CLAIMS, st.sampled_from(["B", "<H", ">H", "<I", ">I"])),
    st.builds(_cut, _PLACE, _PLACE),
    st.builds(lambda end: lambda data: data[: _at(data, end)], _PLACE),
    st.builds(_repeat, _PLACE, _PLACE, st.sampled_from([1, 2, 10, 1000])),
    st.builds(_splice, _PLACE, st.sampled_from(SEEDS), _PLACE),
)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes] = SEEDS) -> bytes:
    data = draw(st.sampled_from(seeds))
    for mutation in draw(st.lists(_MUTATIONS, min_size=1, max_size=6)):
        data = mutation(data)
    return with_checksums(data) if draw(st.booleans()) else data


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks are believed; anything else as it is."""
    if not data.startswith(_PNG):
        return data
    at, parts = len(_PNG), [_PNG]
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunk = data[at + 4 : at + 8 + length]
        parts += [data[at : at + 4], chunk, struct.pack(">I", zlib.crc32(chunk))]
        at += 12 + length
    return b"".join(parts) + data[at:]
