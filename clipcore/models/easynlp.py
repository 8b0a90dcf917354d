"""Checkpoints of EasyNLP's CLIP application (github.com/alibaba/EasyNLP, easynlp/appzoo/clip), in its three layouts.

Each directory is a config.json, a pytorch_model.bin and a vocab.txt. EasyNLP resizes the short edge and crops, with
OpenAI's colours, whichever the layout: so is it done here, also where the original Chinese CLIP squashes.
"""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    ChineseCLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaModel,
)

from clipcore.errors import NotWeights
from clipcore.files import read_object
from clipcore.images.preprocess import Preprocessing
from clipcore.models.bpe import Merges
from clipcore.models.checkpoint import Checkpoint
from clipcore.models.easynlp_files import EasyNlpLayout
from clipcore.models.first_token import first_token, is_read_off_first
from clipcore.models.openai import assembled, opened_clip, opened_transformer, seen_at
from clipcore.models.openai_names import (
    Style,
    Weights,
    has_vision_transformer,
    in_hub_names,
    shape,
    vision_config,
    weights_alone,
)
from clipcore.models.resnet import ResNetShape, load_exactly, opened_resnet
from clipcore.models.tokenizers import padded_to_longest
from clipcore.models.towers import Opened, Tokens, Towers
from clipcore.models.weights import read_weights

_VISION = "vision_encoder."
_VISION_AS_SAVED = "vision_encoder.vision_model."  # transformers of EasyNLP's time had one module more around it

# Where config.json is silent EasyNLP's CLIPTextConfig assumes a RoBERTa-large over Chinese BERT's vocabulary.
_TEXT_ASSUMED: dict[str, Any] = {
    "vocab_size": 21128,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "pad_token_id": 0,
}
_VISION_READ = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)


def opened_roberta_clip(
    config: dict[str, Any], weights: Weights, directory: Path, tokenizer: PreTrainedTokenizerBase, context_length: int
) -> Opened:
    """Saved, it is in the same layout, so that EasyNLP can go on with it. Raises NotWeights where the weights do
    not fit.
    """
    texts = RobertaConfig(**_TEXT_ASSUMED | {k: v for k, v in config["text_config"].items() if k in _TEXT_ASSUMED})
    images = CLIPVisionConfig(**{k: v for k, v in config["vision_config"].items() if k in _VISION_READ})
    model = RobertaClip(texts, images, dimension=shape(weights, "text_projection.weight", 2)[0])
    named = {name.replace(_VISION_AS_SAVED, _VISION): value for name, value in weights.items()}
    scale = named.get("logit_scale")
    # EasyNLP begins at CLIP's initial temperature of 0.07, and keeps it as a vector of one number.
    named["logit_scale"] = torch.tensor(1 / 0.07).log() if scale is None else scale.reshape(())
    load_exactly(model, named)
    length = min(context_length, texts.max_position_embeddings - texts.pad_token_id - 1)

    def save(target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(directory / "vocab.txt", target / "vocab.txt")
        torch.save(_as_saved(model), target / "pytorch_model.bin")

    return Opened(
        towers=roberta_clip_towers(model),
        tokenize=padded_to_longest(tokenizer, length),
        preprocessing=Preprocessing(size=images.image_size, crop=images.image_size),
        dimension=model.text_projection.out_features,
        context_length=length,
        save=save,
    )


def _as_saved(model: RobertaClip) -> Weights:
    saved = {name.replace(_VISION, _VISION_AS_SAVED): value for name, value in model.state_dict().items()}
    return {**saved, "logit_scale": saved["logit_scale"].reshape(1)}


class RobertaClip(nn.Module):
    """Under the names of EasyNLP's application."""

    def __init__(self, texts: RobertaConfig, images: CLIPVisionConfig, dimension: int) -> None:
        super().__init__()
        self.text_encoder = RobertaModel(texts)
        self.vision_encoder = CLIPVisionModel(images)
        self.text_projection = nn.Linear(texts.hidden_size, dimension)
        self.vision_projection = nn.Linear(images.hidden_size, dimension)
        self.logit_scale = nn.Parameter(torch.zeros(()))


def roberta_clip_towers(model: RobertaClip) -> Towers:
    return Towers(
        module=model,
        vision=(model.vision_encoder, model.vision_projection),
        text=(model.text_encoder, model.text_projection),
        image_features=partial(_image_features, model),
        text_features=partial(_text_features, model),
        log_scale=model.logit_scale,
        quick_image_features=partial(_quick, model) if is_read_off_first(model.vision_encoder) else None,
    )


def _image_features(model: RobertaClip, pixels: Tensor) -> Tensor:
    features: Tensor = model.vision_projection(model.vision_encoder(pixel_values=pixels).pooler_output)
    return features


def _quick(model: RobertaClip, pixels: Tensor) -> Tensor:
    features: Tensor = model.vision_projection(first_token(model.vision_encoder, pixels))
    return features


def _text_features(model: RobertaClip, tokens: Tokens) -> Tensor:
    # Read off by RoBERTa's own pooling: the first token, through a layer and a tanh.
    features: Tensor = model.text_projection(model.text_encoder(**tokens).pooler_output)
    return features


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
    """The original's image tower and a BERT, read off at its first token without BERT's own pooling."""
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
    images = vision_config(weights, Style())
    hub_config = ChineseCLIPConfig(text_config=texts, vision_config=images, projection_dim=texts["projection_dim"])
    return opened_transformer(
        assembled(ChineseCLIPModel, hub_config, named),
        tokenizer,
        context_length=_CHINESE_CONTEXT,
        preprocessing=seen_at(Preprocessing(), images["image_size"]),
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
