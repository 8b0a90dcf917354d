"""Checkpoints of EasyNLP's CLIP application (github.com/alibaba/EasyNLP, easynlp/appzoo/clip), in its three layouts.

Each directory is a config.json, a pytorch_model.bin and a vocab.txt. EasyNLP resizes the short edge and crops, with
OpenAI's colours, whatever the layout; so does this module, also where the original Chinese CLIP squashes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from clipcore.errors import InvalidCheckpoint
from clipcore.files import read_object
from clipcore.images.preprocess import Preprocessing
from clipcore.models import openai
from clipcore.models.checkpoint import copy_processor_files
from clipcore.models.clip import CHINESE_TEXT
from clipcore.models.tokenizers import Merges, padded_to_longest
from clipcore.models.towers import Opened, Tokens, Towers
from clipcore.models.transformer import VisionTransformer
from clipcore.models.weights import Weights, build_exactly, read_weights, weight_shape, without_buffers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHINESE_CONTEXT = 52  # as Chinese CLIP was trained (Yang et al. 2022)
_ROBERTA_CONTEXT = 128  # the default `sequence_length` of EasyNLP's predictor
_MERGES = 49152 - 256 - 2  # how many EasyNLP reads, after a heading
_MERGES_BYTES = 8 * 2**20  # inflated; the original's 262,144 merges have 3 MiB
# EasyNLP's defaults where config.json is silent: a RoBERTa-large over Chinese BERT's vocabulary.
_ROBERTA: dict[str, Any] = {
    **{"vocab_size": 21128, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
    **{"num_attention_heads": 16, "max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 0},
    **{"hidden_act": "gelu", "layer_norm_eps": 1e-12, "initializer_range": 0.02},
    **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
}


Layout = Literal["open_clip", "chinese_clip", "huggingface_clip"]
"""As EasyNLP's `CLIPApp` names them."""


def easynlp_layout(directory: Path) -> Layout | None:
    """None for other layouts. Raises ModelUnavailable where config.json is broken."""
    if not all((directory / file).is_file() for file in ("config.json", "pytorch_model.bin", "vocab.txt")):
        return None
    config = read_object(directory / "config.json")
    kind = config.get("model_type")
    # The hub has a chinese_clip as well, with its sizes in a text_config and a vision_config.
    if kind in ("open_clip", "chinese_clip") and "embed_dim" in config:
        return "open_clip" if kind == "open_clip" else "chinese_clip"
    # The third is named clip, or not at all. The hub's clip has merges; a RoBERTa has a plain vocabulary and token
    # types.
    merges = any((directory / file).is_file() for file in ("merges.txt", "tokenizer.json"))
    texts = config.get("text_config") or {}
    if kind in ("clip", None) and "vision_config" in config and (not merges or "type_vocab_size" in texts):
        return "huggingface_clip"
    return None


def open_easynlp(directory: Path, layout: Layout) -> Opened:
    """Raises InvalidCheckpoint where the weights are not those of the layout."""
    config = read_object(directory / "config.json")
    # A model fine-tuned by EasyNLP has its application's attribute before each name.
    weights = {
        name.removeprefix(f"{layout}."): value
        for name, value in without_buffers(read_weights(directory / "pytorch_model.bin")).items()
    }
    if layout == "open_clip":
        style = openai.Style(text_head=int(config["transformer_width"]) // int(config["transformer_heads"]))
        return openai.open_original_weights(weights, style, Preprocessing(), _read_merges(directory / "vocab.txt"))
    open_layout = _open_chinese_clip if layout == "chinese_clip" else _open_huggingface_clip
    return open_layout(config, weights, directory)


def _open_chinese_clip(config: dict[str, Any], weights: Weights, directory: Path) -> Opened:
    """The original's image tower, and a BERT read at its first token."""
    tokenizer = _bert_tokenizer(directory, _CHINESE_CONTEXT, weights, "bert.")
    texts: dict[str, Any] = {
        **{name.removeprefix("text_"): value for name, value in config.items() if name.startswith("text_")},
        **{"model_type": CHINESE_TEXT, "vocab_size": config["vocab_size"]},
        **{"layer_norm_eps": 1e-12, "pad_token_id": 0},
    }
    named = {
        f"text_model.{name.removeprefix('bert.')}" if name.startswith("bert.") else name: value
        for name, value in weights.items()
        if not name.startswith("bert.pooler.")
    }
    network = openai.clip_network(named, texts, openai.Style())
    edge = network.config["vision_config"]["image_size"]
    tokenize = padded_to_longest(tokenizer, _CHINESE_CONTEXT)
    return network.opened(tokenize, Preprocessing(size=edge, crop=edge), _CHINESE_CONTEXT, tokenizer.save_pretrained)


def _open_huggingface_clip(config: dict[str, Any], weights: Weights, directory: Path) -> Opened:
    """Saved in the same layout, so that EasyNLP can load it."""
    tokenizer = _bert_tokenizer(directory, _ROBERTA_CONTEXT, weights, "text_encoder.")
    dimension = weight_shape(weights, "text_projection.weight", 2)[0]
    # EasyNLP starts at CLIP's initial temperature of 0.07, and keeps it as a vector of one number.
    scale = weights.get("logit_scale", torch.tensor(1 / 0.07).log())
    named = {**weights, "logit_scale": scale.reshape(())}
    model = build_exactly(partial(RobertaClip, config, dimension), lambda _: named)

    def save_weights(target: Path) -> None:
        (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        saved = {**model.state_dict(), "logit_scale": model.logit_scale.detach().reshape(1)}
        torch.save(saved, target / "pytorch_model.bin")

    vision, text = (model.vision_encoder, model.vision_projection), (model.text_encoder, model.text_projection)
    length = min(_ROBERTA_CONTEXT, model.positions)
    return Opened(
        Towers(model, vision, text, model.image_features, model.text_features),
        padded_to_longest(tokenizer, length),
        Preprocessing(size=model.edge, crop=model.edge),
        dimension,
        length,
        save_weights,
        save_tokenizer=partial(copy_processor_files, directory),
    )


class RobertaClip(nn.Module):
    """Under the names of EasyNLP's application."""

    def __init__(self, config: dict[str, Any], dimension: int) -> None:
        super().__init__()
        from transformers import RobertaConfig, RobertaModel

        texts = _ROBERTA | {name: value for name, value in config["text_config"].items() if name in _ROBERTA}
        self.positions = texts["max_position_embeddings"] - texts["pad_token_id"] - 1
        self.text_encoder = RobertaModel(RobertaConfig(**texts))
        vision = VisionTransformer(config["vision_config"])
        self.edge = vision.edge
        # The CLIPVisionModel of EasyNLP's time had a module of this name within.
        self.vision_encoder = nn.ModuleDict({"vision_model": vision})
        self.text_projection = nn.Linear(texts["hidden_size"], dimension)
        self.vision_projection = nn.Linear(vision.width, dimension)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def image_features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.vision_projection(self.vision_encoder["vision_model"](pixels))
        return features

    def text_features(self, tokens: Tokens) -> Tensor:
        # RoBERTa's own pooling: the first token, through a layer and a tanh.
        features: Tensor = self.text_projection(self.text_encoder(**tokens).pooler_output)
        return features


def _read_merges(path: Path) -> Merges:
    """EasyNLP's vocab.txt of this layout is the original's list of merges, compressed."""
    try:
        with gzip.open(path) as compressed:
            merges = compressed.read(_MERGES_BYTES + 1)
        lines = merges.decode("utf-8").split("\n", _MERGES + 1)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InvalidCheckpoint(f"its {path.name} is not the compressed merges of EasyNLP's open_clip") from error
    if len(merges) > _MERGES_BYTES:
        raise InvalidCheckpoint(
            f"its {path.name} inflates to more than {_MERGES_BYTES} bytes, which no list of merges has"
        )
    pairs = [tuple(line.split()) for line in lines[1 : _MERGES + 1]]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _bert_tokenizer(directory: Path, context_length: int, weights: Weights, prefix: str) -> PreTrainedTokenizerBase:
    from transformers import BertTokenizer

    words = weight_shape(weights, f"{prefix}embeddings.word_embeddings.weight", 2)[0]
    tokenizer: PreTrainedTokenizerBase = BertTokenizer(str(directory / "vocab.txt"), model_max_length=context_length)
    if len(tokenizer) > words:
        raise InvalidCheckpoint(f"its vocab.txt has {len(tokenizer)} words and the weights have {words}")
    return tokenizer
