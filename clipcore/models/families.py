"""Opens a checkpoint of any family: picks the module that reads its layout."""

from __future__ import annotations

from clipcore.errors import InvalidCheckpoint, ModelUnavailable
from clipcore.models import clip, resnet
from clipcore.models.checkpoint import Checkpoint, model_type
from clipcore.models.easynlp import easynlp_layout, open_easynlp
from clipcore.models.openai import open_weights_file
from clipcore.models.towers import Opened


def open_checkpoint(checkpoint: Checkpoint) -> Opened:
    """In float32, on the CPU. Raises ModelUnavailable, and whatever the parsers of broken files raise."""
    try:
        return _open(checkpoint)
    except InvalidCheckpoint as error:
        raise ModelUnavailable(f"The model {checkpoint.id!r} cannot be loaded: {error}.") from error


def _open(checkpoint: Checkpoint) -> Opened:
    if checkpoint.file is not None:
        return open_weights_file(checkpoint.file)
    if layout := easynlp_layout(checkpoint.directory):
        return open_easynlp(checkpoint.directory, layout)
    kind = model_type(checkpoint.directory)
    if kind == clip.MODEL_TYPE:
        return clip.open_clip_directory(checkpoint)
    if kind == resnet.MODEL_TYPE:
        return resnet.open_clip_resnet(checkpoint)
    # transformers takes longer to import than torch, so it is imported only for the families that need it.
    from clipcore.models.hub import open_with_transformers

    return open_with_transformers(checkpoint)
