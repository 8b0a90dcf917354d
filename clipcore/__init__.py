"""CLIP: embeddings of images and texts, zero-shot classification, search. Importing it loads neither torch nor
transformers.

import clipcore
clipcore.classify("cat.jpg", ["cat", "dog"])
model = clipcore.ClipModel.load("ViT-B/32")
model.encode(["photo.jpg", "a cat on a sofa"])

`import clipcore as clip` replaces OpenAI's `clip` package: `load`, `tokenize` and `available_models` are its functions,
for models of every family.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipcore.engine.engine import ClipEngine as ClipEngine
    from clipcore.errors import BadInput as BadInput
    from clipcore.errors import ClipError as ClipError
    from clipcore.errors import EncodingFailed as EncodingFailed
    from clipcore.errors import EngineClosed as EngineClosed
    from clipcore.errors import ImageRejected as ImageRejected
    from clipcore.errors import ModelUnavailable as ModelUnavailable
    from clipcore.errors import QueueFull as QueueFull
    from clipcore.errors import TextNotSupported as TextNotSupported
    from clipcore.errors import TextTooLong as TextTooLong
    from clipcore.folder_search.folder import Folder as Folder
    from clipcore.images.decode import ImageLimits as ImageLimits
    from clipcore.images.decode import decode_image as decode_image
    from clipcore.index.vector_index import VectorIndex as VectorIndex
    from clipcore.linear_probe import LinearProbe as LinearProbe
    from clipcore.model import ClipModel as ClipModel
    from clipcore.model import classify as classify
    from clipcore.models.known_models import KnownModel as KnownModel
    from clipcore.models.known_models import available_models as available_models
    from clipcore.models.known_models import list_models as list_models
    from clipcore.openai_api import load as load
    from clipcore.openai_api import tokenize as tokenize
    from clipcore.types import Label as Label
    from clipcore.types import LabelScore as LabelScore
    from clipcore.types import Lane as Lane
    from clipcore.types import SearchHit as SearchHit
    from clipcore.zero_shot import ZeroShotClassifier as ZeroShotClassifier

# Each public name and its module, which is imported when the name is first used.
_MODULES = {
    "BadInput": "errors",
    "ClipEngine": "engine.engine",
    "ClipError": "errors",
    "ClipModel": "model",
    "EncodingFailed": "errors",
    "EngineClosed": "errors",
    "Folder": "folder_search.folder",
    "ImageLimits": "images.decode",
    "ImageRejected": "errors",
    "KnownModel": "models.known_models",
    "Label": "types",
    "LabelScore": "types",
    "Lane": "types",
    "LinearProbe": "linear_probe",
    "ModelUnavailable": "errors",
    "QueueFull": "errors",
    "SearchHit": "types",
    "TextNotSupported": "errors",
    "TextTooLong": "errors",
    "VectorIndex": "index.vector_index",
    "ZeroShotClassifier": "zero_shot",
    "available_models": "models.known_models",
    "classify": "model",
    "decode_image": "images.decode",
    "list_models": "models.known_models",
    "load": "openai_api",
    "tokenize": "openai_api",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public object
    if name not in _MODULES:
        raise AttributeError(f"module 'clipcore' has no attribute {name!r}")
    value = getattr(import_module(f"clipcore.{_MODULES[name]}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return __all__
