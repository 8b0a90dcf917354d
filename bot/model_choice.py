"""Which model is wanted: CLIP_MODEL, or what `python -m bot reindex` has asked for since that was set."""

from __future__ import annotations

import json
from pathlib import Path

from bot.errors import StartupError
from bot.settings import Settings
from bot.store.backend import open_backend


def wanted_model(settings: Settings) -> str:
    """A wish counts as long as CLIP_MODEL is what it was then, so that nobody has to change both.

    Raises StartupError.
    """
    file = _file(settings)
    try:
        wish = json.loads(file.read_text("utf-8"))
        return str(wish["wanted"]) if wish["instead_of"] == settings.clip_model else settings.clip_model
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return settings.clip_model
    except OSError as error:
        raise StartupError(f"{file} cannot be read ({error.strerror}): check its owner and rights.") from error


def want_model(settings: Settings, model: str) -> None:
    """Notes the wish for a running bot and for later starts. Raises StartupError."""
    file = _file(settings)
    part = file.with_name(file.name + ".part")
    try:
        part.touch(0o600)
        part.write_text(json.dumps({"instead_of": settings.clip_model, "wanted": model}), "utf-8")
        part.replace(file)
    except OSError as error:
        raise StartupError(f"{file} cannot be written ({error.strerror}): check its directory.") from error


def _file(settings: Settings) -> Path:
    """Beside the database, which a running bot has locked."""
    path = open_backend(settings.database_url, 0.0).path
    return path.with_name(path.name + ".model")
