"""Whose checkpoint this is, and so who opens it."""

from __future__ import annotations

from clipcore.errors import ModelUnavailable, NotWeights
from clipcore.models.checkpoint import Checkpoint, model_type
from clipcore.models.easynlp import open_easynlp
from clipcore.models.easynlp_files import easynlp_layout
from clipcore.models.hub import open_hub_layout
from clipcore.models.openai import open_weights_file
from clipcore.models.resnet import MODEL_TYPE, open_clip_resnet
from clipcore.models.towers import Opened


def open_checkpoint(checkpoint: Checkpoint) -> Opened:
    """In float32, on the CPU. Raises ModelUnavailable, and whatever the parsers of broken files raise."""
    try:
        return _opened(checkpoint)
    except NotWeights as error:
        raise ModelUnavailable(f"The model {checkpoint.id!r} cannot be loaded: {error}.") from error


def _opened(checkpoint: Checkpoint) -> Opened:
    if checkpoint.file is not None:
        return open_weights_file(checkpoint.file)
    if layout := easynlp_layout(checkpoint.directory):
        return open_easynlp(checkpoint, layout)
    if model_type(checkpoint.directory) == MODEL_TYPE:
        return open_clip_resnet(checkpoint)
    return open_hub_layout(checkpoint)
