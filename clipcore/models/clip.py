"""CLIP: two towers of any of its kinds, a projection after each, and a temperature (Radford et al. 2021, §2.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from clipcore.files import read_object
from clipcore.images.preprocess import Preprocessing
from clipcore.models.checkpoint import Checkpoint, copy_processor_files, preprocessing_of
from clipcore.models.resnet import ResNetTower
from clipcore.models.tokenizers import XlmRobertaTokenizer, context_length, hub_tokenizer
from clipcore.models.towers import Opened, Tokenize, Tokens, Towers
from clipcore.models.transformer import TextTransformer, VisionTransformer
from clipcore.models.weights import build_exactly, read_checkpoint_weights

# By `model_type` in config.json. The first two are transformers'; those with CLIP's ResNet, or with open_clip's
# multilingual texts, are our own.
MODEL_TYPES = ("clip", "chinese_clip", "clip_resnet", "clip_xlm_roberta")
CLIP, CHINESE_CLIP, CLIP_RESNET, CLIP_XLM_ROBERTA = MODEL_TYPES
CHINESE_TEXT = "chinese_clip_text_model"  # transformers' name for Chinese CLIP's BERT
XLM_ROBERTA_TEXT = "xlm-roberta"


def open_clip_directory(checkpoint: Checkpoint) -> Opened:
    """A checkpoint in the layout of transformers' CLIPModel or ChineseCLIPModel, or with CLIP's ResNet. Raises
    InvalidCheckpoint, ModelUnavailable, and what the parsers of broken files raise.
    """
    directory = checkpoint.directory
    config = read_object(directory / "config.json")
    weights = read_checkpoint_weights(directory)
    network = build_exactly(
        partial(ClipNetwork, config),
        lambda network: {name: weights[name] for name in network.state_dict() if name in weights},
    )
    texts = _tower_config(config, "text")
    length = context_length(texts, directory)
    if texts.get("model_type") == XLM_ROBERTA_TEXT:
        tokenize: Tokenize = XlmRobertaTokenizer(directory, texts["vocab_size"], length)
    else:
        tokenize = hub_tokenizer(checkpoint, length)
    save_tokenizer = partial(copy_processor_files, directory)
    return network.opened(tokenize, preprocessing_of(checkpoint), length, save_tokenizer)


class ClipNetwork(nn.Module):
    """An image tower, CLIP's transformer or ResNet, beside a text tower: CLIP's transformer, Chinese CLIP's BERT or
    XLM-RoBERTa. `build_exactly` assigns the weights.

    config: the content of a config.json of one of `MODEL_TYPES`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        text, vision = _tower_config(config, "text"), _tower_config(config, "vision")
        dimension = config.get("projection_dim", 512)
        self._has_resnet = config.get("model_type") == CLIP_RESNET
        with torch.device("meta"):  # so that no weights are drawn at random first
            if self._has_resnet:
                dimension = vision["dimension"]
                self.visual = ResNetTower(**vision)
            else:
                self.vision_model = VisionTransformer(vision)
                self.visual_projection = nn.Linear(self.vision_model.width, dimension, bias=False)
            self.logit_scale = nn.Parameter(torch.zeros(()))
        self.text_model, width = _text_tower(text)
        self.text_projection = _projection([width, *text.get("projection_hidden_sizes", ()), dimension])
        self._dimension = int(dimension)
        # Where texts are averaged over their tokens; None where one token stands for them.
        self._padding = int(text["pad_token_id"]) if text.get("model_type") == XLM_ROBERTA_TEXT else None

    @property
    def _vision(self) -> tuple[nn.Module, ...]:
        """A ResNet ends in its own projection."""
        return (self.visual,) if self._has_resnet else (self.vision_model, self.visual_projection)

    def opened(
        self,
        tokenize: Tokenize,
        preprocessing: Preprocessing,
        context_length: int,
        save_tokenizer: Callable[[Path], object],
    ) -> Opened:
        text = (self.text_model, self.text_projection)
        towers = Towers(self, self._vision, text, self.image_features, self.text_features)
        return Opened(towers, tokenize, preprocessing, self._dimension, context_length, self._save, save_tokenizer)

    def image_features(self, pixels: Tensor) -> Tensor:
        """[n, 3, s, s], normalised -> [n, dim], not of unit length."""
        features = pixels
        for part in self._vision:
            features = part(features)
        return features

    def text_features(self, tokens: Tokens) -> Tensor:
        """[n, l] -> [n, dim], not of unit length."""
        if self._padding is not None:
            pooled = self._mean_of_tokens(tokens["input_ids"], self._padding)
        else:
            output = self.text_model(**tokens)
            # Chinese CLIP reads its BERT at the first token.
            pooled = output if isinstance(output, Tensor) else output.last_hidden_state[:, 0]
        features: Tensor = self.text_projection(pooled)
        return features

    def _mean_of_tokens(self, ids: Tensor, padding: int) -> Tensor:
        """Without the padding, which open_clip knows by the token alone (`MeanPooler`, `HFTextEncoder`)."""
        mask = ids.ne(padding).long()
        states = self.text_model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean: Tensor = (states * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return mean

    def _save(self, target: Path) -> None:
        """Writes config.json and model.safetensors, which transformers reads as well."""
        dtype = str(next(self.text_projection.parameters()).dtype).removeprefix("torch.")
        # transformers loads the weights in the precision that config.json names.
        config = {**{key: value for key, value in self.config.items() if key != "torch_dtype"}, "dtype": dtype}
        (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        safetensors.torch.save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def _tower_config(config: dict[str, Any], tower: str) -> dict[str, Any]:
    """Files of 2022 repeat a tower's configuration under a second name, which transformers prefers."""
    return {**(config.get(f"{tower}_config") or {}), **(config.get(f"{tower}_config_dict") or {})}


def _text_tower(config: dict[str, Any]) -> tuple[nn.Module, int]:
    """With its width."""
    kind = config.get("model_type")
    if kind == CHINESE_TEXT:
        from transformers import ChineseCLIPTextConfig, ChineseCLIPTextModel

        chinese = ChineseCLIPTextConfig(**config)
        return ChineseCLIPTextModel(chinese, add_pooling_layer=False), chinese.hidden_size
    if kind == XLM_ROBERTA_TEXT:
        from transformers import XLMRobertaConfig, XLMRobertaModel

        multilingual = XLMRobertaConfig(**config)
        return XLMRobertaModel(multilingual, add_pooling_layer=False), multilingual.hidden_size
    with torch.device("meta"):
        tower = TextTransformer(config)
    return tower, tower.width


def _projection(widths: list[int]) -> nn.Module:
    """One linear layer or, as open_clip's `mlp`, several with GELU between them."""
    linear = [nn.Linear(*pair, bias=False, device="meta") for pair in pairwise(widths)]
    if len(linear) == 1:
        return linear[0]
    return nn.Sequential(*[part for layer in linear for part in (nn.GELU(), layer)][1:])
