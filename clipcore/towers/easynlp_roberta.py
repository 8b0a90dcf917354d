"""EasyNLP's `huggingface_clip`: a RoBERTa for words, CLIP's transformer for pictures, and projections with a bias.

transformers' dual encoders project without a bias, so the model is put together here, from transformers' two towers.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerBase, RobertaConfig, RobertaModel

from clipcore.preprocess import Preprocessing
from clipcore.towers.clip_resnet import load_exactly
from clipcore.towers.first_token import first_token, is_read_off_first
from clipcore.towers.openai_names import Weights, shape
from clipcore.towers.seam import Opened, Tokens, Towers
from clipcore.towers.tokenizing import padded_to_longest

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
    pictures = CLIPVisionConfig(**{k: v for k, v in config["vision_config"].items() if k in _VISION_READ})
    model = RobertaClip(texts, pictures, dimension=shape(weights, "text_projection.weight", 2)[0])
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
        preprocessing=Preprocessing(size=pictures.image_size, crop=pictures.image_size),
        dimension=model.text_projection.out_features,
        context_length=length,
        save=save,
    )


def _as_saved(model: RobertaClip) -> Weights:
    saved = {name.replace(_VISION, _VISION_AS_SAVED): value for name, value in model.state_dict().items()}
    return {**saved, "logit_scale": saved["logit_scale"].reshape(1)}


class RobertaClip(nn.Module):
    """Under the names of EasyNLP's application."""

    def __init__(self, texts: RobertaConfig, pictures: CLIPVisionConfig, dimension: int) -> None:
        super().__init__()
        self.text_encoder = RobertaModel(texts)
        self.vision_encoder = CLIPVisionModel(pictures)
        self.text_projection = nn.Linear(texts.hidden_size, dimension)
        self.vision_projection = nn.Linear(pictures.hidden_size, dimension)
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
