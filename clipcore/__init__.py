"""Magpie's CLIP library. Importing it loads neither torch nor transformers.

from clipcore import ClipModel
model = ClipModel.load("bundled")
model.encode_texts(["a red apple"])

`load` and `tokenize` are those of OpenAI's `clip` package, for models of every family.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipcore.engine.engine import ClipEngine as ClipEngine
    from clipcore.folder_search.folder import Folder as Folder
    from clipcore.images.decode import ImageLimits as ImageLimits
    from clipcore.images.decode import decode_image as decode_image
    from clipcore.index.vector_index import VectorIndex as VectorIndex
    from clipcore.linear_probe import LinearProbe as LinearProbe
    from clipcore.model import ClipModel as ClipModel
    from clipcore.models.catalogue import KnownModel as KnownModel
    from clipcore.models.catalogue import available_models as available_models
    from clipcore.openai_api import load as load
    from clipcore.openai_api import tokenize as tokenize
    from clipcore.types import Label as Label
    from clipcore.types import Lane as Lane
    from clipcore.zero_shot import ZeroShotClassifier as ZeroShotClassifier

# Each public name and the module that it is fetched from on first use.
_HOMES = {
    "ClipEngine": "engine.engine",
    "ClipModel": "model",
    "Folder": "folder_search.folder",
    "ImageLimits": "images.decode",
    "KnownModel": "models.catalogue",
    "Label": "types",
    "Lane": "types",
    "LinearProbe": "linear_probe",
    "VectorIndex": "index.vector_index",
    "ZeroShotClassifier": "zero_shot",
    "available_models": "models.catalogue",
    "decode_image": "images.decode",
    "load": "openai_api",
    "tokenize": "openai_api",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module holds
    if name not in _HOMES:
        raise AttributeError(f"module 'clipcore' has no attribute {name!r}")
    return getattr(import_module(f"clipcore.{_HOMES[name]}"), name)
