"""Checkpoints of EasyNLP's CLIP application (github.com/alibaba/EasyNLP, easynlp/appzoo/clip), in its three layouts.

Each directory is a config.json, a pytorch_model.bin and a vocab.txt. EasyNLP resizes the short edge and crops, with
OpenAI's colours, whichever the layout: so is it done here, also where the original Chinese CLIP squashes.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from transformers import (
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    ChineseCLIPTextConfig,
    PreTrainedTokenizerBase,
)

from clipcore.bpe import Merges
from clipcore.checkpoint import Checkpoint
from clipcore.easynlp import EasyNlpLayout
from clipcore.json_file import read_object
from clipcore.preprocess import Preprocessing
from clipcore.towers.clip_resnet import opened_resnet
from clipcore.towers.easynlp_roberta import opened_roberta_clip
from clipcore.towers.not_weights import NotWeights
from clipcore.towers.openai_model import assembled, opened_clip, opened_transformer, seen_at
from clipcore.towers.openai_names import (
    Style,
    Weights,
    has_vision_transformer,
    in_hub_names,
    shape,
    vision_config,
    weights_alone,
)
from clipcore.towers.resnet_tower import ResNetShape
from clipcore.towers.seam import Opened
from clipcore.towers.weights_file import read_weights

# Yang et al. 2022 (Chinese CLIP) trained on 52 tokens, and the hub's copies ask for as many.
_CHINESE_CONTEXT = 52
# What EasyNLP's predictor takes where it is not told (`sequence_length`).
_ROBERTA_CONTEXT = 128
_LONGEST_VOCABULARY = 32 * 2**20
_LEARNED = 49152 - 256 - 2  # merges that EasyNLP reads, behind a line of heading


def open_easynlp(checkpoint: Checkpoint, layout: EasyNlpLayout) -> Opened:
    """Raises NotWeights where the weights are not what the layout promises."""
    directory = checkpoint.directory
    config = read_object(directory / "config.json")
    # A model fine-tuned by EasyNLP has its application's attribute before each name.
    weights = {
        name.removeprefix(f"{layout}."): value
        for name, value in weights_alone(read_weights(directory / "pytorch_model.bin")).items()
    }
    if layout is EasyNlpLayout.OPEN_CLIP:
        return _open_clip(config, weights, directory)
    if layout is EasyNlpLayout.CHINESE_CLIP:
        return _chinese_clip(config, weights, directory)
    return _huggingface_clip(config, weights, directory)


def _huggingface_clip(config: dict[str, Any], weights: Weights, directory: Path) -> Opened:
    table = "text_encoder.embeddings.word_embeddings.weight"
    if table not in weights:
        raise NotWeights(f"its vocab.txt is that of EasyNLP's huggingface_clip, but among its weights is no {table}")
    tokenizer = _bert_tokenizer(directory, _ROBERTA_CONTEXT, shape(weights, table, 2)[0])
    return opened_roberta_clip(config, weights, directory, tokenizer, _ROBERTA_CONTEXT)


def _open_clip(config: dict[str, Any], weights: Weights, directory: Path) -> Opened:
    """The original's model under the original's names."""
    texts, heads = int(config["transformer_width"]), int(config["transformer_heads"])
    return opened_clip(weights, Style(text_head=texts // heads), Preprocessing(), _merges(directory / "vocab.txt"))


def _merges(path: Path) -> Merges:
    """EasyNLP calls it vocab.txt; it is the original's list of merges, compressed."""
    try:
        with gzip.open(path) as compressed:
            lines = compressed.read(_LONGEST_VOCABULARY).decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise NotWeights(f"its {path.name} is not the compressed merges that EasyNLP's open_clip has") from error
    pairs = [tuple(line.split()) for line in lines[1 : _LEARNED + 1]]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _chinese_clip(config: dict[str, Any], weights: Weights, directory: Path) -> Opened:
    """The original's picture tower and a BERT, read off at its first token without BERT's own pooling."""
    texts = _bert_config(config, dimension=shape(weights, "text_projection", 2)[1])
    named = {
        name.replace("bert.", "text_model.", 1) if name.startswith("bert.") else name: value
        for name, value in in_hub_names(weights).items()
        if not name.startswith("bert.pooler.")
    }
    words = shape(weights, "bert.embeddings.word_embeddings.weight", 2)[0]
    tokenizer = _bert_tokenizer(directory, _CHINESE_CONTEXT, words)
    if not has_vision_transformer(weights):
        size = ResNetShape.of(weights)
        preprocessing = seen_at(Preprocessing(), size.image_size)
        return opened_resnet(
            size, texts, named, tokenizer, context_length=_CHINESE_CONTEXT, preprocessing=preprocessing
        )
    pictures = vision_config(weights, Style())
    hub_config = ChineseCLIPConfig(text_config=texts, vision_config=pictures, projection_dim=texts["projection_dim"])
    return opened_transformer(
        assembled(ChineseCLIPModel, hub_config, named),
        tokenizer,
        context_length=_CHINESE_CONTEXT,
        preprocessing=seen_at(Preprocessing(), pictures["image_size"]),
    )


def _bert_config(config: dict[str, Any], dimension: int) -> dict[str, Any]:
    said = {name.removeprefix("text_"): value for name, value in config.items() if name.startswith("text_")}
    return {
        **said,
        "model_type": ChineseCLIPTextConfig.model_type,
        "vocab_size": config["vocab_size"],
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "projection_dim": dimension,
    }


def _bert_tokenizer(directory: Path, context_length: int, words: int) -> PreTrainedTokenizerBase:
    """words: how many the model's table has."""
    path = directory / "vocab.txt"
    tokenizer: PreTrainedTokenizerBase = BertTokenizer(vocab=str(path), model_max_length=context_length)
    if len(tokenizer) > words:
        raise NotWeights(f"its {path.name} has {len(tokenizer)} words and the weights know {words}")
    return tokenizer
