"""Whose checkpoint this is, and so who opens it."""

from __future__ import annotations

from clipcore.checkpoint import Checkpoint, model_type
from clipcore.easynlp import easynlp_layout
from clipcore.errors import ModelUnavailable
from clipcore.towers.clip_resnet import MODEL_TYPE, open_clip_resnet
from clipcore.towers.easynlp import open_easynlp
from clipcore.towers.hub import open_hub_layout
from clipcore.towers.not_weights import NotWeights
from clipcore.towers.openai_file import open_weights_file
from clipcore.towers.seam import Opened


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
