"""CLIP's two transformers in torch alone (Radford et al. 2021, §2.4), with the parameter names of the hub's
checkpoints. transformers' CLIPModel returns the same embeddings, but takes longer to import than torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipcore.errors import InvalidCheckpoint

# What transformers' CLIPTextConfig and CLIPVisionConfig assume where config.json is silent.
_DEFAULTS: dict[str, Any] = {
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
}
_TEXT_DEFAULTS = _DEFAULTS | {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}
_VISION_DEFAULTS = _DEFAULTS | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}
# Before 2023 the hub's configurations gave 2 as the end-of-text token, whatever it was.
_LEGACY_EOS = 2


class VisionTransformer(nn.Module):
    """Pixels [n, 3, s, s] -> [n, width]: the class token after the last layer norm.

    config: as transformers' CLIPVisionConfig, with its defaults.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        config = {**_VISION_DEFAULTS, **config}
        self.width, self.edge = int(config["hidden_size"]), int(config["image_size"])
        self.embeddings = _PatchEmbeddings(config)
        self.pre_layrnorm = _layer_norm(config)  # transformers' spelling
        self.encoder = _Encoder(config)
        self.post_layernorm = _layer_norm(config)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.pre_layrnorm(self.embeddings(pixels))
        *layers, last = self.encoder.layers
        for layer in layers:
            tokens = layer(tokens)
        # Only the class token leaves the tower. The last layer needs the keys and values of every token but the query,
        # output and MLP of this one alone: at 50 tokens and 12 layers that saves 7 % of all multiplications.
        pooled: Tensor = self.post_layernorm(last(tokens, first_only=True)[:, 0])
        return pooled


class TextTransformer(nn.Module):
    """Token ids [n, l] -> [n, width]: the end-of-text token after the last layer norm.

    Attention is causal, so that token sees nothing behind it and padding needs no mask.

    config: as transformers' CLIPTextConfig, with its defaults.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        config = {**_TEXT_DEFAULTS, **config}
        self.width = int(config["hidden_size"])
        self.embeddings = _TokenEmbeddings(config)
        self.encoder = _Encoder(config)
        self.final_layer_norm = _layer_norm(config)
        self._eos = config["eos_token_id"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """attention_mask: accepted because other families' tokens have one, and not needed."""
        tokens = self.embeddings(input_ids)
        for layer in self.encoder.layers:
            tokens = layer(tokens, causal=True)
        # With the legacy configuration the end is the largest id, as in the original.
        ends = input_ids if self._eos == _LEGACY_EOS else (input_ids == self._eos).int()
        rows = torch.arange(len(tokens), device=tokens.device)
        pooled: Tensor = self.final_layer_norm(tokens[rows, ends.argmax(dim=-1)])
        return pooled


class _PatchEmbeddings(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = _embedding((config["image_size"] // patch) ** 2 + 1, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        # `shape`, since a trace for OpenVINO takes `len` for a constant and works for that batch size only.
        tokens = torch.cat([self.class_embedding.expand(patches.shape[0], 1, -1), patches], dim=1)
        return tokens + self.position_embedding.weight


class _TokenEmbeddings(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.token_embedding = _embedding(config["vocab_size"], config["hidden_size"])
        self.position_embedding = _embedding(config["max_position_embeddings"], config["hidden_size"])

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded: Tensor = self.token_embedding(input_ids) + self.position_embedding.weight[: input_ids.shape[1]]
        return embedded


class _Encoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))


class _Layer(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.layer_norm1 = _layer_norm(config)
        self.mlp = _Mlp(config)
        self.layer_norm2 = _layer_norm(config)

    def forward(self, tokens: Tensor, *, causal: bool = False, first_only: bool = False) -> Tensor:
        """[n, tokens, width] -> the same; first_only: [n, 1, width], the first token alone."""
        normed = self.layer_norm1(tokens)
        if first_only:
            tokens, queries = tokens[:, :1], normed[:, :1]
        else:
            queries = normed
        tokens = tokens + self.self_attn(queries, normed, causal=causal)
        output: Tensor = tokens + self.mlp(self.layer_norm2(tokens))
        return output


class _Attention(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self._heads, self._dropout = config["num_attention_heads"], config["attention_dropout"] or 0.0

    def forward(self, queries: Tensor, tokens: Tensor, *, causal: bool) -> Tensor:
        projected = self.q_proj(queries), self.k_proj(tokens), self.v_proj(tokens)
        dropout = self._dropout if self.training else 0.0
        output: Tensor = self.out_proj(attention(*projected, self._heads, dropout=dropout, causal=causal))
        return output


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, *, dropout: float = 0.0, causal: bool = False
) -> Tensor:
    """[n, queries, width] and twice [n, tokens, width] -> [n, queries, width]"""
    query, key, value = (
        each.unflatten(-1, (heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
        for each in (queries, keys, values)
    )
    attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal)
    return attended.transpose(1, 2).flatten(2)


class _Mlp(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config["hidden_size"], config["intermediate_size"])
        self.fc2 = nn.Linear(config["intermediate_size"], config["hidden_size"])
        self._activation = _activation(config["hidden_act"])

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.fc2(self._activation(self.fc1(tokens)))
        return output


def _layer_norm(config: dict[str, Any]) -> nn.LayerNorm:
    return nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in _ACTIVATIONS:
        raise InvalidCheckpoint(f"its activation {name!r} is none of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


# By transformers' names.
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": _quick_gelu,
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}


def _embedding(rows: int, width: int) -> nn.Embedding:
    """Without a first draw of weights, which on the meta device imports torch's compiler: a second of every start."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))
