"""What makes two files the same picture."""

from __future__ import annotations

import asyncio
import hashlib


async def content_hash_of(data: bytes) -> str:
    """The file's SHA-256 in hexadecimal. Off the event loop: a large file takes longer than an event may wait."""
    return await asyncio.to_thread(_sha256, data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
