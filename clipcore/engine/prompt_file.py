"""Keeps the vectors of a fixed set of prompts on disk, a file for each model and set: they are the same at each start,
and a model takes seconds to minutes to encode them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clipcore.errors import BadInput
from clipcore.files import check_regular, read_tensors, write_tensors
from clipcore.types import ModelCard, Vectors

log = logging.getLogger(__name__)

_KIND = "prompts"
_VERSION = 1  # raise it when a text of some model is tokenized or encoded in another way


def prompt_file(folder: Path, card: ModelCard, texts: Sequence[str]) -> Path:
    """Its name is a digest of the model and the texts, so that no file is read for another model or set."""
    content = json.dumps([_VERSION, card.key, card.dimension, list(texts)])
    return folder / f"prompts-{hashlib.sha256(content.encode()).hexdigest()[:32]}.safetensors"


def read_prompts(path: Path, card: ModelCard, texts: Sequence[str]) -> dict[str, Vectors]:
    """The vector of each text; none where there is no file, or none that can be used."""
    try:
        check_regular(path)
        arrays, metadata = read_tensors(path, _KIND, "prompts")
        vectors = arrays["vectors"]
        whole = vectors.shape == (len(texts), card.dimension) and vectors.dtype == np.float32
        if not whole or metadata["sha256"] != _digest(vectors):
            raise BadInput(f"{str(path)!r} is damaged.")
    except FileNotFoundError:
        return {}
    except (OSError, BadInput, KeyError) as error:
        log.warning("the prompts' vectors are computed again, because those on disk cannot be used: %s", error)
        return {}
    return dict(zip(texts, vectors.astype(np.float32, copy=False), strict=True))


def write_prompts(path: Path, vectors: Mapping[str, Vectors], texts: Sequence[str]) -> None:
    """In one step. Where it cannot be written, the next start computes the vectors again."""
    stacked = np.stack([vectors[text] for text in texts]).astype(np.float32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_tensors(path, _KIND, {"vectors": stacked}, {"sha256": _digest(stacked)})
        path.chmod(0o600)
    except (OSError, BadInput) as error:
        log.warning("the prompts' vectors are not kept for the next start: %s", error)


def _digest(vectors: np.ndarray) -> str:
    return hashlib.sha256(vectors.tobytes()).hexdigest()
