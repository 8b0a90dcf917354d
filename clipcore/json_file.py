"""The small files of JSON beside a checkpoint's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipcore.errors import ModelUnavailable


def read_object(path: Path) -> dict[str, Any]:
    """Raises ModelUnavailable where the file cannot be read or is no object in JSON."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelUnavailable(f"The model's file {str(path)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ModelUnavailable(f"The model's file {str(path)!r} is broken; delete it and download the model again.")
    return said
