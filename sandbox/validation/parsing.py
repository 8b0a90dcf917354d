"""JSON from outside: what parses is finite, of bounded depth, and can be written out again."""

from __future__ import annotations

import json

from sandbox.world import Json

MAX_DEPTH = 64
"""Far below Python's own limit, so that whatever walks a body can do so by recursion; Discord's bodies need a dozen."""


def parse_json(raw: bytes | str) -> Json:
    """Raises ValueError for broken JSON, NaN and infinities, lone surrogates (no UTF-8 can hold them), deep nesting."""
    try:
        content = json.loads(raw)
        # Written out as it will be answered: refuses what is no number, and what is no text.
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [inner for node in level for inner in _children(node)]
    if level:
        raise ValueError("nested too deep")
    return content


def _children(node: Json) -> list[Json]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
