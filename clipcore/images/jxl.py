"""The size that a JPEG XL file claims. Its plugin decodes an image to tell its size, which would be too late to refuse
one of a gigapixel.
"""

from __future__ import annotations

# Width by height, for the three bits that may stand for the width (ISO/IEC 18181-1, D.2).
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_LENGTHS = (9, 13, 18, 30)  # in bits, by the two bits before


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, before any turn. Raises ValueError where the file does not begin as JPEG XL does."""
    bits = _Bits(_codestream(data)[2:16])
    small = bits.take(1)
    height = _length(bits, small=bool(small))
    if ratio := bits.take(3):
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return _length(bits, small=bool(small)), height


def _codestream(data: bytes) -> bytes:
    """Its beginning, which a container has in its first box of codestream (ISO/IEC 18181-2)."""
    if data.startswith(b"\xff\x0a"):
        return data[:16]
    at = 0
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            start = at + head + (4 if kind == b"jxlp" else 0)  # a part has a number
            return data[start : start + 16]
        if length < head:
            break
        at += length
    raise ValueError("there is no codestream")


class _Bits:
    """From the lowest of each byte."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the header is cut off")
        value = self._bits & (1 << count) - 1
        self._bits, self._left = self._bits >> count, self._left - count
        return value


def _length(bits: _Bits, *, small: bool) -> int:
    return 8 * (bits.take(5) + 1) if small else bits.take(_LENGTHS[bits.take(2)]) + 1
