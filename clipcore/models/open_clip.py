"""open_clip's files (github.com/mlfoundations/open_clip): the original's names for the image tower, and either the
original's text tower or Hugging Face's XLM-RoBERTa, averaged over its tokens and projected (`HFTextEncoder`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from clipcore.errors import InvalidCheckpoint
from clipcore.images.preprocess import Preprocessing
from clipcore.models.checkpoint import OPEN_CLIP_CONFIG, Checkpoint, open_clip_description
from clipcore.models.clip import XLM_ROBERTA_TEXT
from clipcore.models.openai import (
    ORIGINAL_PREPROCESSING,
    Style,
    block_count,
    clip_network,
    head_count,
    open_original_weights,
)
from clipcore.models.tokenizers import CONTEXT_LENGTH, XlmRobertaTokenizer
from clipcore.models.towers import Opened
from clipcore.models.weights import Weights, read_weights, weight_shape, without_buffers

_TEXT = "text.transformer."
_XLM_ROBERTA_HEAD = 64  # in both of its sizes, as in the original's towers


def is_open_clip_file(file: Path) -> bool:
    """open_clip's names are the original's, but not its activation, and no weight tells that. So files named as
    open_clip names them are read with its own description, and all others as OpenAI's.
    """
    return file.name.startswith("open_clip_")


def open_open_clip_file(checkpoint: Checkpoint, file: Path) -> Opened:
    """Raises InvalidCheckpoint where the file holds no such model, or more than weights."""
    description = open_clip_description(checkpoint.id, file.parent)
    if description is None:
        raise InvalidCheckpoint(f"an open_clip file needs its {OPEN_CLIP_CONFIG} beside it, which names the activation")
    model, preprocessing = description["model_cfg"], _preprocessing(description.get("preprocess_cfg", {}))
    texts = model["text_cfg"]
    style = Style(
        activation="quick_gelu" if model.get("quick_gelu") else "gelu",
        vision_head=int(model["vision_cfg"].get("head_width", 64)),
        text_head=int(texts.get("width", 512)) // int(texts.get("heads", 8)),
    )
    if "hf_model_name" in texts:
        return _open_multilingual(read_weights(file), texts, style, preprocessing, file.parent)
    if model.get("custom_text"):
        raise InvalidCheckpoint("open_clip's models with a text tower of another kind are not supported")
    return open_original_weights(read_weights(file), style, preprocessing)


def _preprocessing(transform: dict[str, Any]) -> Preprocessing:
    assumed = ORIGINAL_PREPROCESSING
    return replace(
        assumed,
        squash=transform.get("resize_mode") == "squash",
        mean=tuple(transform.get("mean", assumed.mean)),
        std=tuple(transform.get("std", assumed.std)),
    )


def _open_multilingual(
    weights: Weights, texts: dict[str, Any], style: Style, preprocessing: Preprocessing, directory: Path
) -> Opened:
    """texts: open_clip's `text_cfg`."""
    tower, pooler = str(texts["hf_model_name"]), texts.get("hf_pooler_type", "mean_pooler")
    if not tower.rpartition("/")[2].startswith("xlm-roberta-") or pooler != "mean_pooler":
        raise InvalidCheckpoint(
            f"its text tower is {tower!r} with the pooling {pooler!r}; of open_clip's text towers from Hugging Face, "
            "XLM-RoBERTa with the mean of its tokens is supported"
        )
    weights = without_buffers(weights)
    config = _text_config(weights)
    # Positions are numbered from behind the padding token's id.
    positions = int(config["max_position_embeddings"]) - int(config["pad_token_id"]) - 1
    length = min(int(texts.get("context_length", CONTEXT_LENGTH)), positions)
    tokenizer = XlmRobertaTokenizer(directory, config["vocab_size"], length)
    network = clip_network(_with_our_names(weights), config, style)
    edge = network.config["vision_config"]["image_size"]
    return network.opened(tokenizer, replace(preprocessing, size=edge, crop=edge), length, tokenizer.save)


def _text_config(weights: Weights) -> dict[str, Any]:
    """As transformers' XLMRobertaConfig has it, with the widths between the layers of the projection."""
    words, width = weight_shape(weights, f"{_TEXT}embeddings.word_embeddings.weight", 2)
    layers = f"{_TEXT}encoder.layer."
    linear = sorted(name for name in weights if name.startswith("text.proj."))
    return {
        "model_type": XLM_ROBERTA_TEXT,
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": weight_shape(weights, f"{layers}0.intermediate.dense.weight", 2)[0],
        "num_hidden_layers": block_count(weights, layers),
        "num_attention_heads": head_count(width, _XLM_ROBERTA_HEAD),
        "max_position_embeddings": weight_shape(weights, f"{_TEXT}embeddings.position_embeddings.weight", 2)[0],
        "type_vocab_size": weight_shape(weights, f"{_TEXT}embeddings.token_type_embeddings.weight", 2)[0],
        "projection_hidden_sizes": [weight_shape(weights, name, 2)[0] for name in linear[:-1]],
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        **{"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
    }


def _with_our_names(weights: Weights) -> Weights:
    prefixes = {_TEXT: "text_model.", "text.proj.": "text_projection."}
    renamed: Weights = {}
    for name, value in weights.items():
        old = next((old for old in prefixes if name.startswith(old)), "")
        renamed[prefixes.get(old, "") + name.removeprefix(old)] = value
    return renamed
