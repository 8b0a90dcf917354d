"""The names and shapes of the original CLIP's weights, and what transformers calls the same.

The original's names are those of github.com/openai/CLIP, which open_clip and EasyNLP kept. It has no configuration:
the shapes tell everything but the activation and the width of a head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isqrt
from typing import Any

from torch import Tensor

from clipcore.errors import NotWeights

Weights = dict[str, Tensor]

# State that is no weight: sizes as numbers, the causal mask, counters and position numbers.
_NO_WEIGHTS = re.compile(
    r"(input_resolution|context_length|vocab_size)$|(.*\.)?(attn_mask|num_batches_tracked|position_ids)$"
)

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
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # transformers' own spelling
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


@dataclass(frozen=True, slots=True)
class Style:
    """What the shapes do not tell. activation: as transformers names it; the others: the width of a head."""

    activation: str = "quick_gelu"
    vision_head: int = 64
    text_head: int = 64


def weights_alone(weights: Weights) -> Weights:
    """Without the buffers that are stored among the weights."""
    return {name: value for name, value in weights.items() if not _NO_WEIGHTS.fullmatch(name)}


def has_vision_transformer(weights: Weights) -> bool:
    return "visual.proj" in weights


def in_hub_names(weights: Weights) -> Weights:
    """Transformers under transformers' names. A ResNet's names stay, as do those that the original does not have."""
    hub_names = {**_TEXT, **_VISION} if has_vision_transformer(weights) else _TEXT
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
        # One matrix makes queries, keys and values, in this order, as torch's MultiheadAttention lays them out.
        return {
            f"{layer}.self_attn.{part}_proj.{fused[1]}": third.clone()
            for part, third in zip("qkv", value.chunk(3), strict=True)
        }
    part, _, kind = rest.rpartition(".")
    return {f"{layer}.{_LAYERS.get(part, part)}.{kind}": value}


def text_config(weights: Weights, style: Style) -> dict[str, Any]:
    """As transformers' CLIPTextConfig takes it. Raises NotWeights where these are no weights of CLIP's."""
    vocabulary, width = shape(weights, "token_embedding.weight", 2)
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shape(weights, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": blocks(weights, "transformer."),
        "num_attention_heads": heads(width, style.text_head),
        "max_position_embeddings": shape(weights, "positional_embedding", 2)[0],
        "hidden_act": style.activation,
        "projection_dim": shape(weights, "text_projection", 2)[1],
        # The last two tokens of the vocabulary (see clipcore/bpe); a text is read off at its first end mark.
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def vision_config(weights: Weights, style: Style) -> dict[str, Any]:
    """As transformers' CLIPVisionConfig takes it."""
    width, _, patch, _ = shape(weights, "visual.conv1.weight", 4)
    return {
        "hidden_size": width,
        "intermediate_size": shape(weights, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": blocks(weights, "visual.transformer."),
        "num_attention_heads": heads(width, style.vision_head),
        "patch_size": patch,
        "image_size": patch * grid(weights, "visual.positional_embedding"),
        "hidden_act": style.activation,
        "projection_dim": shape(weights, "visual.proj", 2)[1],
    }


def shape(weights: Weights, name: str, axes: int) -> tuple[int, ...]:
    if name not in weights or weights[name].ndim != axes:
        raise NotWeights(f"these are no weights of a CLIP model, which have a {name} of {axes} axes")
    return tuple(weights[name].shape)


def blocks(weights: Weights, prefix: str) -> int:
    """How many residual blocks have names that begin so."""
    return len({name.split(".")[prefix.count(".") + 1] for name in weights if name.startswith(f"{prefix}resblocks.")})


def grid(weights: Weights, positions: str) -> int:
    """Patches along an edge. The first of the positions is no patch: the class token, or the mean of all."""
    count = shape(weights, positions, 2)[0] - 1
    edge = isqrt(count)
    if edge**2 != count:
        raise NotWeights(f"the weights see {count} patches, which make no square")
    return edge


def heads(width: int, head: int) -> int:
    if width % head:
        raise NotWeights(f"the weights are {width} wide, which is no multiple of heads of {head}")
    return width // head
