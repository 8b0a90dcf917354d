"""How a contact sheet says that it is one, so that indexing leaves it out and no sheet finds itself."""

from __future__ import annotations

MARK = "clipcore contact sheet"
_HEAD = 1024  # PNG writes its texts and JPEG its comment before any pixel


def is_own_sheet(data: bytes) -> bool:
    return MARK.encode() in data[:_HEAD]
