"""A picture as one field of a table: base64, url-safe or standard (RFC 4648, §4 and §5), padded or not."""

from __future__ import annotations

import base64

from clipcore.errors import ImageRejected, RejectReason
from clipcore.formats import sniff, unsupported_name

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# Signatures lie within the first bytes; an AVIF's brands may take 256.
_HEAD = 344
# No picture is smaller, and some words do begin like base64 of a signature: "Qk" is a bitmap's.
_LEAST = 32


def encode_field(data: bytes) -> bytes:
    """Url-safe, padded: what Python's own and EasyNLP's decoder take."""
    return base64.urlsafe_b64encode(data)


def decode_field(field: bytes) -> bytes:
    """Raises ImageRejected where this is no base64."""
    core = canonical(field)
    if core is None:
        raise ImageRejected(RejectReason.BROKEN, "This is not a picture in base64.")
    return base64.urlsafe_b64decode(core + b"=" * (-len(core) % 4))


def canonical(field: bytes) -> bytes | None:
    """The same for every spelling of the same bytes: url-safe, without padding. None where this is no base64."""
    core = field.strip().rstrip(b"=")
    if b"+" in core or b"/" in core:
        core = core.translate(_TO_URL_SAFE)
    is_base64 = core and len(core) % 4 != 1 and not core.translate(None, _ALPHABET)
    return core if is_base64 else None


def begins_as_picture(field: bytes) -> bool:
    """Whether the first bytes carry a picture format's signature. Cheap, whatever the field's length."""
    head = canonical(field[:_HEAD])
    if head is None or len(head) < _LEAST:
        return False
    data = decode_field(head[: len(head) // 4 * 4])
    return sniff(data) is not None or unsupported_name(data) is not None
