"""One file of weights in the original CLIP's names: OpenAI's `.pt`, TorchScript or state dict, and open_clip's."""

from __future__ import annotations

from pathlib import Path

from clipcore.json_file import read_object
from clipcore.preprocess import Preprocessing
from clipcore.towers.not_weights import NotWeights
from clipcore.towers.openai_model import opened_clip
from clipcore.towers.openai_names import Style
from clipcore.towers.seam import Opened
from clipcore.towers.weights_file import read_weights

# open_clip's names are the original's, but not its activation, and no weight tells that. So files named as open_clip
# names them are read with its own description beside them, and all others as OpenAI's.
_OPEN_CLIP = "open_clip_"
_OPEN_CLIP_CONFIG = "open_clip_config.json"


def open_weights_file(file: Path) -> Opened:
    """Raises NotWeights where the file holds no CLIP model, or more than weights."""
    if file.name.startswith(_OPEN_CLIP):
        style, preprocessing = _described_by_open_clip(file.with_name(_OPEN_CLIP_CONFIG))
    else:
        style, preprocessing = Style(), Preprocessing()
    return opened_clip(read_weights(file), style, preprocessing)


def _described_by_open_clip(path: Path) -> tuple[Style, Preprocessing]:
    if not path.is_file():
        raise NotWeights(f"beside an open_clip file must lie its {path.name}, which says what activation to use")
    config = read_object(path)
    model, seen = config["model_cfg"], config.get("preprocess_cfg", {})
    if model.get("custom_text") or "hf_model_name" in model["text_cfg"]:
        raise NotWeights("open_clip's models with a text tower of another kind are not supported")
    assumed = Preprocessing()
    return (
        Style(
            activation="quick_gelu" if model.get("quick_gelu") else "gelu",
            vision_head=int(model["vision_cfg"].get("head_width", 64)),
            text_head=int(model["text_cfg"].get("width", 512)) // int(model["text_cfg"].get("heads", 8)),
        ),
        Preprocessing(
            squash=seen.get("resize_mode") == "squash",
            mean=tuple(seen.get("mean", assumed.mean)),
            std=tuple(seen.get("std", assumed.std)),
        ),
    )
