"""One file of weights under the original CLIP's names: OpenAI's `.pt`, as TorchScript or state dict.

The original (github.com/openai/CLIP) has no configuration: the shapes tell everything but the activation and the width
of an attention head. open_clip and EasyNLP kept its names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from clipcore.errors import InvalidCheckpoint
from clipcore.images.preprocess import Preprocessing
from clipcore.models.clip import (
    CHINESE_CLIP,
    CHINESE_TEXT,
    CLIP,
    CLIP_RESNET,
    CLIP_XLM_ROBERTA,
    XLM_ROBERTA_TEXT,
    ClipNetwork,
)
from clipcore.models.resnet import REDUCTION
from clipcore.models.tokenizers import ClipTokenizer, Merges
from clipcore.models.towers import Opened
from clipcore.models.weights import Weights, build_exactly, grid, read_weights, weight_shape, without_buffers

# As torchvision transforms, which OpenAI's and open_clip's code use, crop.
ORIGINAL_PREPROCESSING = Preprocessing(rounded_crop=True)


@dataclass(frozen=True, slots=True)
class Style:
    """What the shapes do not tell. activation: as transformers names it; the others: the width of an attention head."""

    activation: str = "quick_gelu"
    vision_head: int = 64
    text_head: int = 64


def open_weights_file(file: Path) -> Opened:
    """OpenAI's. Raises InvalidCheckpoint where the file holds no CLIP model, or more than weights."""
    return open_original_weights(read_weights(file), Style(), ORIGINAL_PREPROCESSING)


def open_original_weights(
    weights: Weights, style: Style, preprocessing: Preprocessing, merges: Merges | None = None
) -> Opened:
    """preprocessing: its size is ignored, since the weights tell it. merges: the tokenizer's, if not CLIP's own.
    Raises InvalidCheckpoint where these are no weights of CLIP's.
    """
    weights = without_buffers(weights)
    texts = _text_config(weights, style)
    length = texts["max_position_embeddings"]
    tokenizer = ClipTokenizer(texts["vocab_size"], length, merges)
    network = clip_network(weights, texts, style)
    edge = network.config["vision_config"]["image_size"]
    return network.opened(tokenizer, replace(preprocessing, size=edge, crop=edge), length, tokenizer.save)


def clip_network(weights: Weights, text_config: dict[str, Any], style: Style) -> ClipNetwork:
    """text_config: as transformers has it, of CLIP's, Chinese CLIP's or XLM-RoBERTa's text tower."""
    config: dict[str, Any] = {"text_config": text_config}
    if not _has_vision_transformer(weights):
        config |= {"model_type": CLIP_RESNET, "vision_config": _resnet_config(weights)}
    else:
        config |= {
            **_KINDS[text_config.get("model_type")],
            "projection_dim": weight_shape(weights, "visual.proj", 2)[1],
            "vision_config": _vision_config(weights, style),
        }
    named = _with_hub_names(weights)
    return build_exactly(partial(ClipNetwork, config), lambda _: named)


# By the text tower's `model_type`: what config.json says of the whole model.
_KINDS: dict[str | None, dict[str, Any]] = {
    None: {"architectures": ["CLIPModel"], "model_type": CLIP},
    CHINESE_TEXT: {"architectures": ["ChineseCLIPModel"], "model_type": CHINESE_CLIP},
    XLM_ROBERTA_TEXT: {"model_type": CLIP_XLM_ROBERTA},
}


def _has_vision_transformer(weights: Weights) -> bool:
    return "visual.proj" in weights


def _with_hub_names(weights: Weights) -> Weights:
    """Transformers under the hub's names. A ResNet's names stay, and so do those that the original does not have."""
    hub_names = {**_TEXT, **_VISION} if _has_vision_transformer(weights) else _TEXT
    renamed: Weights = {}
    for name, value in weights.items():
        if block := _BLOCK.fullmatch(name):
            renamed.update(_block(block, value))
        else:
            renamed[hub_names.get(name, name)] = value.t().contiguous() if name in _TRANSPOSED else value
    return renamed


def _block(name: re.Match[str], value: Tensor) -> Weights:
    tower, number, rest = name.groups()
    layer = f"{'vision' if tower else 'text'}_model.encoder.layers.{number}"
    if fused := _FUSED.fullmatch(rest):
        # One matrix makes queries, keys and values, in this order, as in torch's MultiheadAttention.
        return {
            f"{layer}.self_attn.{part}_proj.{fused[1]}": third.clone()
            for part, third in zip("qkv", value.chunk(3), strict=True)
        }
    part, _, kind = rest.rpartition(".")
    return {f"{layer}.{_LAYERS.get(part, part)}.{kind}": value}


def _text_config(weights: Weights, style: Style) -> dict[str, Any]:
    """As transformers' CLIPTextConfig has it. Raises InvalidCheckpoint where these are no weights of CLIP's."""
    vocabulary, width = weight_shape(weights, "token_embedding.weight", 2)
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": weight_shape(weights, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": block_count(weights, "transformer.resblocks."),
        "num_attention_heads": head_count(width, style.text_head),
        "max_position_embeddings": weight_shape(weights, "positional_embedding", 2)[0],
        "hidden_act": style.activation,
        "projection_dim": weight_shape(weights, "text_projection", 2)[1],
        # The last two tokens of the vocabulary.
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _vision_config(weights: Weights, style: Style) -> dict[str, Any]:
    """As transformers' CLIPVisionConfig has it."""
    width, _, patch, _ = weight_shape(weights, "visual.conv1.weight", 4)
    return {
        "hidden_size": width,
        "intermediate_size": weight_shape(weights, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": block_count(weights, "visual.transformer.resblocks."),
        "num_attention_heads": head_count(width, style.vision_head),
        "patch_size": patch,
        "image_size": patch * grid(weights, "visual.positional_embedding"),
        "hidden_act": style.activation,
        "projection_dim": weight_shape(weights, "visual.proj", 2)[1],
    }


def _resnet_config(weights: Weights) -> dict[str, Any]:
    """As `ResNetTower` takes it."""
    return {
        "width": weight_shape(weights, "visual.layer1.0.conv1.weight", 4)[0],
        "blocks": [block_count(weights, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "image_size": REDUCTION * grid(weights, "visual.attnpool.positional_embedding"),
        "dimension": weight_shape(weights, "visual.attnpool.c_proj.weight", 2)[0],
    }


def block_count(weights: Weights, prefix: str) -> int:
    """prefix: what stands before a block's number."""
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def head_count(width: int, head: int) -> int:
    if width % head:
        raise InvalidCheckpoint(f"its weights are {width} wide, which is no multiple of heads of {head}")
    return width // head


_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_VISION = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # transformers' spelling
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
_TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
# The original multiplies by these from the right, a linear layer by its weight's transpose.
_TRANSPOSED = ("visual.proj", "text_projection")

_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
_FUSED = re.compile(r"attn\.in_proj_(weight|bias)")
