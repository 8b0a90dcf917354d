"""Small checkpoints as EasyNLP's CLIP application writes its three layouts, with random weights.

Learned from github.com/alibaba/EasyNLP at a4ee956: easynlp/appzoo/clip/model.py, easynlp/modelzoo/models/clip.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcore.models.tokenizers import clip_merges
from tests.clipcore import originals
from tests.clipcore.originals import DIMENSION, drawn

if TYPE_CHECKING:
    from tests.clipcore.originals import Weights

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一只猫狗在沙发上abc", "cat", "##s"]
WIDTH, HEADS, LAYERS, POSITIONS = 32, 4, 2, 64
TEXT_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 2 * WIDTH,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
VISION_SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "image_size": 32,
    "patch_size": 8,
}


def write_open_clip(directory: Path, weights: Weights, *, fine_tuned: bool = False) -> Path:
    config = {
        "model_type": "open_clip",
        "embed_dim": DIMENSION,
        "image_resolution": originals.VIT_INPUT,
        "vision_layers": originals.VISION_LAYERS,
        "vision_width": originals.VISION_WIDTH,
        "vision_patch_size": originals.PATCH,
        "context_length": originals.CONTEXT,
        "vocab_size": originals.WORDS,
        "transformer_width": originals.TEXT_WIDTH,
        "transformer_heads": 1,
        "transformer_layers": 1,
    }
    _write(directory, config, weights, "open_clip." if fine_tuned else "")
    with gzip.open(directory / "vocab.txt", "wt", encoding="utf-8") as vocabulary:
        lines = ["#version: 0.2", *map(" ".join, clip_merges()), "more merges", "than are read"]
        vocabulary.write("\n".join(lines))
    return directory


def chinese_clip_weights(kind: str = "vit", seed: int = 0) -> Weights:
    """The original's names for images, a BERT's for words, whose pooling EasyNLP does not use."""
    images = originals.vit_weights(seed) if kind == "vit" else originals.resnet_weights(seed)
    return {
        **{name: value for name, value in images.items() if name.startswith("visual.")},
        **drawn({**_bert("bert."), "text_projection": (WIDTH, DIMENSION), "logit_scale": ()}, seed),
    }


def write_chinese_clip(directory: Path, kind: str = "vit", *, fine_tuned: bool = False) -> Path:
    config: dict[str, Any] = {
        "model_type": "chinese_clip",
        "embed_dim": DIMENSION,
        "image_resolution": originals.VIT_INPUT if kind == "vit" else originals.RESNET_INPUT,
        "vision_layers": originals.VISION_LAYERS if kind == "vit" else list(originals.RESNET_BLOCKS),
        "vision_width": originals.VISION_WIDTH if kind == "vit" else originals.RESNET_WIDTH,
        "vision_patch_size": originals.PATCH if kind == "vit" else None,
        "vocab_size": len(WORDS),
        **{f"text_{name}": value for name, value in TEXT_SIZES.items()},
    }
    _write(directory, config, chinese_clip_weights(kind), "chinese_clip." if fine_tuned else "")
    return _with_words(directory)


def huggingface_clip_weights(seed: int = 2) -> Weights:
    shapes = {
        **_bert("text_encoder."),
        **_vision("vision_encoder.vision_model."),
        **originals.linear("text_projection", WIDTH, DIMENSION),
        **originals.linear("vision_projection", WIDTH, DIMENSION),
        "logit_scale": (),
    }
    return {name: value.reshape(1) if name == "logit_scale" else value for name, value in drawn(shapes, seed).items()}


def write_huggingface_clip(directory: Path, *, named: bool = True) -> Path:
    """named: with a model_type, which EasyNLP does not ask for."""
    config = {
        **({"model_type": "clip"} if named else {}),
        "text_config": {**TEXT_SIZES, "vocab_size": len(WORDS), "model_type": "clip_text_model", "eos_token_id": 2},
        "vision_config": {**VISION_SIZES, "model_type": "clip_vision_model"},
    }
    _write(directory, config, huggingface_clip_weights())
    return _with_words(directory)


def _write(directory: Path, config: dict[str, Any], weights: Weights, prefix: str = "") -> None:
    import torch

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save({prefix + name: value for name, value in weights.items()}, directory / "pytorch_model.bin")


def _with_words(directory: Path) -> Path:
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return directory


def _bert(prefix: str) -> dict[str, tuple[int, ...]]:
    linear, norm = originals.linear, originals.norm
    shapes = {
        f"{prefix}embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        f"{prefix}embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        f"{prefix}embeddings.token_type_embeddings.weight": (2, WIDTH),
        f"{prefix}embeddings.position_ids": (1, POSITIONS),
        **norm(f"{prefix}embeddings.LayerNorm", WIDTH),
        **linear(f"{prefix}pooler.dense", WIDTH, WIDTH),
    }
    for layer in (f"{prefix}encoder.layer.{number}" for number in range(LAYERS)):
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.self.{part}", WIDTH, WIDTH)
        shapes |= {
            **linear(f"{layer}.attention.output.dense", WIDTH, WIDTH),
            **norm(f"{layer}.attention.output.LayerNorm", WIDTH),
            **linear(f"{layer}.intermediate.dense", WIDTH, 2 * WIDTH),
            **linear(f"{layer}.output.dense", 2 * WIDTH, WIDTH),
            **norm(f"{layer}.output.LayerNorm", WIDTH),
        }
    return shapes


def _vision(prefix: str) -> dict[str, tuple[int, ...]]:
    linear, norm = originals.linear, originals.norm
    shapes = {
        f"{prefix}embeddings.class_embedding": (WIDTH,),
        f"{prefix}embeddings.position_ids": (1, 17),
        f"{prefix}embeddings.patch_embedding.weight": (WIDTH, 3, 8, 8),
        f"{prefix}embeddings.position_embedding.weight": (17, WIDTH),
        **norm(f"{prefix}pre_layrnorm", WIDTH),
        **norm(f"{prefix}post_layernorm", WIDTH),
    }
    for layer in (f"{prefix}encoder.layers.{number}" for number in range(LAYERS)):
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", WIDTH, WIDTH)
        shapes |= {
            **norm(f"{layer}.layer_norm1", WIDTH),
            **linear(f"{layer}.mlp.fc1", WIDTH, 2 * WIDTH),
            **linear(f"{layer}.mlp.fc2", 2 * WIDTH, WIDTH),
            **norm(f"{layer}.layer_norm2", WIDTH),
        }
    return shapes
