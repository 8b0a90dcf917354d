"""Each family beside transformers' own way through it: the same checkpoint, its processors, its model."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoModel,
    AutoTokenizer,
    BitImageProcessorPil,
    ChineseCLIPImageProcessorPil,
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    PreTrainedTokenizerFast,
    Siglip2ImageProcessorPil,
    Siglip2Tokenizer,
    SiglipImageProcessorPil,
    ViTImageProcessorPil,
)

from tests.clipcore import tiny_families
from tests.clipcore.tiny import CONTEXT_LENGTH, write_tiny_chinese_clip, write_tiny_clip

Tokens = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """words: transformers' tokenizer called as the family's documentation has it; None where there are no words."""

    name: str
    write: Callable[[Path], Path]
    images: Any
    words: Callable[[Path, list[str]], Tokens] | None
    context_length: int = 0

    def pixels(self, directory: Path, files: list[bytes]) -> dict[str, torch.Tensor]:
        """From the files' bytes by Pillow and transformers alone."""
        opened = [Image.open(io.BytesIO(data)) for data in files]
        return dict(self.images.from_pretrained(directory)(images=opened, return_tensors="pt"))

    def image_vectors(self, directory: Path, files: list[bytes]) -> np.ndarray:
        model, inputs = AutoModel.from_pretrained(directory).eval(), self.pixels(directory, files)
        with torch.inference_mode():
            out = model.get_image_features(**inputs) if self.words else model(**inputs)
        return torch.nn.functional.normalize(out.pooler_output.flatten(1), dim=-1).numpy()

    def text_vectors(self, directory: Path, texts: list[str]) -> np.ndarray:
        assert self.words is not None
        with torch.inference_mode():
            out = AutoModel.from_pretrained(directory).eval().get_text_features(**self.words(directory, texts))
        return torch.nn.functional.normalize(out.pooler_output, dim=-1).numpy()

    def logits(self, directory: Path, files: list[bytes], texts: list[str]) -> np.ndarray:
        """float [images, texts]"""
        assert self.words is not None
        model = AutoModel.from_pretrained(directory).eval()
        with torch.inference_mode():
            out = model(**self.words(directory, texts), **self.pixels(directory, files))
        return out.logits_per_image.numpy()


def _to_longest(directory: Path, texts: list[str], length: int) -> Tokens:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return dict(tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt"))


def _to_64(tokenizer: Any, texts: list[str]) -> Tokens:
    settings = {"padding": "max_length", "truncation": True, "max_length": 64, "padding_side": "right"}
    return {"input_ids": tokenizer(texts, return_tensors="pt", **settings)["input_ids"]}


def _siglip(directory: Path, texts: list[str]) -> Tokens:
    """SigLIP's own class needs SentencePiece's library, so the texts come here as that class would have spelt them."""
    return _to_64(PreTrainedTokenizerFast.from_pretrained(directory), texts)


def _siglip2(directory: Path, texts: list[str]) -> Tokens:
    return _to_64(Siglip2Tokenizer.from_pretrained(directory), texts)


def _longest(length: int) -> Callable[[Path, list[str]], Tokens]:
    return lambda directory, texts: _to_longest(directory, texts, length)


def write_spread_clip(directory: Path) -> Path:
    return _spread(write_tiny_clip(directory))


def write_spread_chinese_clip(directory: Path) -> Path:
    return _spread(write_tiny_chinese_clip(directory))


def _spread(directory: Path) -> Path:
    model = AutoModel.from_pretrained(directory)
    tiny_families.spread(model.named_parameters())
    model.save_pretrained(directory)
    return directory


def _dinov2_with_registers(directory: Path) -> Path:
    return tiny_families.write_tiny_dinov2(directory, registers=True)


FAMILIES = [
    Family("clip", write_spread_clip, CLIPImageProcessorPil, _longest(CONTEXT_LENGTH), CONTEXT_LENGTH),
    Family("chinese_clip", write_spread_chinese_clip, ChineseCLIPImageProcessorPil, _longest(12), 12),
    Family("altclip", tiny_families.write_tiny_altclip, CLIPImageProcessorPil, _longest(22), 22),
    Family("dual_encoder", tiny_families.write_tiny_dual_encoder, ViTImageProcessorPil, _longest(20), 20),
    Family("siglip", tiny_families.write_tiny_siglip, SiglipImageProcessorPil, _siglip, 64),
    Family("siglip2", tiny_families.write_tiny_siglip2, SiglipImageProcessorPil, _siglip2, 64),
    Family("naflex", tiny_families.write_tiny_naflex, Siglip2ImageProcessorPil, _siglip2, 64),
    Family("dinov2", tiny_families.write_tiny_dinov2, BitImageProcessorPil, None),
    Family("dinov2_with_registers", _dinov2_with_registers, BitImageProcessorPil, None),
    Family("resnet", tiny_families.write_tiny_resnet, ConvNextImageProcessorPil, None),
]
READING = [family for family in FAMILIES if family.words]
SEEING = [family for family in FAMILIES if not family.words]

_SCRIPTS = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA1, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA),
    (0x620, 0x64A), (0x905, 0x939), (0xE01, 0xE3A), (0x10A0, 0x10FF), (0x2000, 0x2060), (0x3041, 0x30FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFF01, 0xFF5E), (0x1F300, 0x1F64F),
]  # fmt: skip


def strings_in_many_scripts(count: int, *, seed: int = 0) -> list[str]:
    """Words of up to nine characters from one script each, up to a dozen of them to a string, some without any."""
    chance = random.Random(seed)  # noqa: S311 - no secret

    def word() -> str:
        low, high = chance.choice(_SCRIPTS)
        return "".join(chr(chance.randint(low, high)) for _ in range(chance.randint(1, 9)))

    return [chance.choice(" \t  ").join(word() for _ in range(chance.randint(0, 12))) for _ in range(count)]
