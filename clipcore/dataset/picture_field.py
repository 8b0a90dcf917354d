"""A picture as one field of a table: base64, url-safe or standard (RFC 4648, §4 and §5), padded or not."""

from __future__ import annotations

import base64

from clipcore.errors import ImageRejected, RejectReason
from clipcore.formats import sniff, unsupported_name

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
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
    if not is_base64(field):
        raise ImageRejected(RejectReason.BROKEN, "This is not a picture in base64.")
    return base64.b64decode(core + b"=" * (-len(core) % 4))


def is_base64(field: bytes) -> bool:
    core = canonical(field)
    return bool(core) and len(core) % 4 != 1 and not core.translate(None, _ALPHABET)


def canonical(field: bytes) -> bytes:
    """The same for every spelling of the same bytes: the standard alphabet, no padding."""
    return field.strip().rstrip(b"=").translate(_TO_STANDARD)


def begins_as_picture(field: bytes) -> bool:
    """Whether the first bytes carry a picture format's signature. Cheap, whatever the field's length."""
    head = canonical(field[:_HEAD])
    head = head[: len(head) // 4 * 4]
    if len(head) < _LEAST or not is_base64(head):
        return False
    data = base64.b64decode(head)
    return sniff(data) is not None or unsupported_name(data) is not None
