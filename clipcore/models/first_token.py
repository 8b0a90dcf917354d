"""The class token of transformers' CLIP-like image towers, without the work that it does not need.

Only the class token leaves the tower. In the last layer it attends to every token, so their keys and values are needed,
but not their queries, outputs and MLP: 7 % of all multiplications at 50 tokens and 12 layers. The result is the same.
`models/clip.py` has this built in.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

_TOWER = {"embeddings", "pre_layrnorm", "encoder", "post_layernorm"}
_LAYER = {"layer_norm1", "self_attn", "layer_norm2", "mlp"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "out_proj"}


def pools_class_token(tower: PreTrainedModel) -> bool:
    """Whether this is transformers' CLIP tower or one derived from it, with exactly the parts that are used here."""
    if not _parts(tower) >= _TOWER:
        return False
    last = tower.encoder.layers[-1]
    return _parts(last) == _LAYER and _parts(last.self_attn) == _ATTENTION


def first_token(tower: PreTrainedModel, pixels: Tensor) -> Tensor:
    """[n, 3, s, s] -> [n, width]: the tower's `pooler_output`. Not for training: there is no dropout in the last layer.

    tower: `pools_class_token` must hold.
    """
    tokens = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers[:-1]:
        tokens = layer(tokens, attention_mask=None)
    pooled: Tensor = tower.post_layernorm(_first_of_last_layer(tower.encoder.layers[-1], tokens))
    return pooled


def _first_of_last_layer(layer: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - to mypy a module's parts are any
    """[n, tokens, width] -> [n, width]"""
    first = tokens[:, 0] + _attended(layer.self_attn, layer.layer_norm1(tokens))
    output: Tensor = first + layer.mlp(layer.layer_norm2(first))
    return output


def _attended(attention: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - as above
    """Attention with the first token as the only query. [n, tokens, width] -> [n, width]"""
    query, keys, values = (
        project(some).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for project, some in (
            (attention.q_proj, tokens[:, :1]),
            (attention.k_proj, tokens),
            (attention.v_proj, tokens),
        )
    )
    output: Tensor = attention.out_proj(functional.scaled_dot_product_attention(query, keys, values).flatten(1))
    return output


def _parts(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
