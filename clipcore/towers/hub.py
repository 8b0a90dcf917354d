"""Checkpoints in the layout of the model hub, through transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from clipcore.checkpoint import Checkpoint
from clipcore.errors import ModelUnavailable
from clipcore.preprocess import Preprocessing
from clipcore.towers.seam import Opened, Tokenize, Tokens

# Checkpoints whose text and image features share one space under one temperature.
ARCHITECTURES = ("clip", "chinese_clip")


def open_hub_layout(checkpoint: Checkpoint) -> Opened:
    """Raises ModelUnavailable, and whatever the parsers of broken files raise."""
    directory = checkpoint.directory
    _check_architecture(checkpoint)
    model, report = AutoModel.from_pretrained(
        directory, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ModelUnavailable(f"The weights of {checkpoint.id!r} are incomplete; download the model again.")
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    context_length = _context_length(model.config.text_config, directory)

    def save(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        shutil.copyfile(directory / "preprocessor_config.json", target / "preprocessor_config.json")

    return Opened(
        towers=HubTowers(model),
        tokenize=padded_to_longest(tokenizer, context_length),
        preprocessing=Preprocessing.read(directory / "preprocessor_config.json"),
        dimension=int(model.config.projection_dim),
        context_length=context_length,
        save=save,
    )


class HubTowers:
    """CLIP and Chinese CLIP, which transformers gives one shape."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    @property
    def module(self) -> nn.Module:
        module: nn.Module = self._model
        return module

    @property
    def vision(self) -> Sequence[nn.Module | nn.Parameter]:
        return self._model.vision_model, self._model.visual_projection

    @property
    def text(self) -> Sequence[nn.Module | nn.Parameter]:
        return self._model.text_model, self._model.text_projection

    @property
    def log_scale(self) -> nn.Parameter | None:
        log_scale: nn.Parameter = self._model.logit_scale
        return log_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        return None

    def image_features(self, pixels: Tensor) -> Tensor:
        # transformers 5 wraps features in an output object, whose pooler_output is the projection.
        features: Tensor = self._model.get_image_features(pixel_values=pixels).pooler_output
        return features

    def text_features(self, tokens: Tokens) -> Tensor:
        features: Tensor = self._model.get_text_features(**tokens).pooler_output
        return features


def padded_to_longest(tokenizer: PreTrainedTokenizerBase, context_length: int) -> Tokenize:
    def tokenize(texts: Sequence[str]) -> Tokens:
        return dict(
            tokenizer(list(texts), padding=True, truncation=True, max_length=context_length, return_tensors="pt")
        )

    return tokenize


def _check_architecture(checkpoint: Checkpoint) -> None:
    kind = json.loads((checkpoint.directory / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in ARCHITECTURES:
        raise ModelUnavailable(f"The model {checkpoint.id!r} is a {kind!r} model; choose a CLIP checkpoint instead.")


def _context_length(text_config: PretrainedConfig, directory: Path) -> int:
    """Tokens. The position table is the hard bound; a tokenizer may ask for fewer (Chinese CLIP: 52 of 512)."""
    path = directory / "tokenizer_config.json"
    asked = json.loads(path.read_text(encoding="utf-8")).get("model_max_length") if path.is_file() else None
    bound = int(text_config.max_position_embeddings)
    return min(bound, int(asked)) if asked else bound
