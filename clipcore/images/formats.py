"""Image formats, recognised by the files' bytes: names and content types may be wrong."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

Format = Literal["jpeg", "png", "webp", "gif", "avif", "bmp", "tiff", "heic", "jxl"]
"""The formats that can be read, the last two where their extras are installed."""

READS_HEIC = find_spec("pillow_heif") is not None
READS_JXL = find_spec("pillow_jxl") is not None
# Only for finding candidates in folders; the bytes decide.
_HEIC_SUFFIXES, _JXL_SUFFIXES = frozenset({".heic", ".heif"}), frozenset({".jxl"})
SUFFIXES = (
    frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif", ".bmp", ".dib", ".tif", ".tiff"})
    | (_HEIC_SUFFIXES if READS_HEIC else frozenset())
    | (_JXL_SUFFIXES if READS_JXL else frozenset())
)


def has_image_suffix(name: str) -> bool:
    """Whether a file's name ends as that of a supported format, in any case."""
    return name[name.rfind(".") :].lower() in SUFFIXES


def sniff(data: bytes) -> Format | None:
    """The format whose signature the bytes carry, or None."""
    for signature, found in _SIGNATURES:
        if data.startswith(signature):
            return found
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    brands = _brands(data)
    if brands & {b"avif", b"avis"}:
        return "avif"
    if READS_HEIC and brands & _HEIC_BRANDS:
        return "heic"
    return "jxl" if READS_JXL and data.startswith(_JXL_SIGNATURES) else None


def unsupported_name(data: bytes) -> str | None:
    """The name of a format that is recognised but not supported, or None."""
    for signature, name in _UNSUPPORTED:
        if data.startswith(signature):
            return name
    if _brands(data) & _HEIC_BRANDS:
        return "HEIC"
    if data.startswith(_JXL_SIGNATURES):
        return "JPEG XL"
    # An XML declaration, comments and a doctype may stand before the root element.
    return "SVG" if b"<svg" in data[:4096].lower() and data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else None


def _brands(data: bytes) -> set[bytes]:
    """The brands in the leading `ftyp` box (ISO/IEC 14496-12, §4.3); empty where there is none."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_JXL_SIGNATURES = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")
_UNSUPPORTED = (
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"%PDF", "PDF"),
)
