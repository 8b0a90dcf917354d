"""CLIP's transformer for images, read off at its first token, without the work that the token does not need.

Of what the last layer makes, only the class token is looked at. It attends to every token, so their keys and values
are needed; their own queries, outputs and MLP are not. At 50 tokens and 12 layers that is 7 % of all multiplications,
and the result is the same.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

_TOWER = {"embeddings", "pre_layrnorm", "encoder", "post_layernorm"}
_LAYER = {"layer_norm1", "self_attn", "layer_norm2", "mlp"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "out_proj"}


def is_read_off_first(tower: PreTrainedModel) -> bool:
    """Whether this is transformers' CLIP tower, or one of those that took after it, with the parts known here."""
    if not _parts(tower) >= _TOWER:
        return False
    last = tower.encoder.layers[-1]
    return _parts(last) == _LAYER and _parts(last.self_attn) == _ATTENTION


def first_token(tower: PreTrainedModel, pixels: Tensor) -> Tensor:
    """[n, 3, s, s] -> [n, width]: the tower's `pooler_output`. Not for training: there is no dropout in the last layer.

    tower: one that `is_read_off_first`.
    """
    tokens = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers[:-1]:
        tokens = layer(tokens, attention_mask=None)
    pooled: Tensor = tower.post_layernorm(_first_of_last_layer(tower.encoder.layers[-1], tokens))
    return pooled


def _first_of_last_layer(layer: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - to mypy a module's parts are any
    """[n, tokens, width] -> [n, width]"""
    first = tokens[:, 0] + _attended(layer.self_attn, layer.layer_norm1(tokens))
    made: Tensor = first + layer.mlp(layer.layer_norm2(first))
    return made


def _attended(attention: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - as above
    """What the first token takes from all. [n, tokens, width] -> [n, width]"""
    query, keys, values = (
        project(some).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for project, some in (
            (attention.q_proj, tokens[:, :1]),
            (attention.k_proj, tokens),
            (attention.v_proj, tokens),
        )
    )
    found: Tensor = attention.out_proj(functional.scaled_dot_product_attention(query, keys, values).flatten(1))
    return found


def _parts(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
