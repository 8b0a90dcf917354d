"""The endless, seeded stream of images and captions that the bundled model learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPModel

from tools.bundled_model import as_input, as_tokens, text_vectors
from tools.emoji_captions import caption
from tools.emoji_concepts import Concept
from tools.emoji_scenes import Pixels, Scene, empty, is_held_out_pair, pair, render, single


@dataclass(frozen=True, slots=True)
class Mix:
    """How many images of each kind a batch has. spread: how freely single emoji are sized and placed, 0 to 1."""

    singles: int
    scenes: int
    empties: int
    spread: float = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """scenes: what each image shows, singles first; pixels: float32 [n, 3, side, side]; tokens: int64 [n, l]."""

    scenes: list[Scene]
    pixels: Tensor
    tokens: Tensor


class Stream:
    """Batches of distinct concepts, and of scenes in a ring that share a concept with the next: each scene then meets
    captions that are half right."""

    def __init__(self, concepts: list[Concept], sprites: dict[int, Pixels], tokenizer: Tokenizer, seed: int) -> None:
        self.concepts = concepts
        self.rng = np.random.default_rng(seed)
        self.sprites = sprites
        self._tokenizer = tokenizer

    def batch(self, mix: Mix) -> Batch:
        scenes = self.scenes(mix)
        texts = [caption(scene, self.concepts, bool(self.rng.random() < 0.5), self.rng) for scene in scenes]
        return Batch(scenes, draw(scenes, self.sprites), as_tokens(self._tokenizer, texts))

    @torch.no_grad()
    def names(self, model: CLIPModel) -> Tensor:
        """float32 [concepts, dim]: the vector of each concept's English name."""
        return text_vectors(model, as_tokens(self._tokenizer, [concept.en for concept in self.concepts]))

    def scenes(self, mix: Mix) -> list[Scene]:
        """What the next batch shows. Held-out pairs and places never come up."""
        alone = self.rng.permutation(len(self.concepts))[: mix.singles]
        return [
            *(single(int(index), self.rng, spread=mix.spread) for index in alone),
            *(pair(first, second, self.rng) for first, second in self._ring(mix.scenes)),
            *(empty(self.rng) for _ in range(mix.empties)),
        ]

    def _ring(self, length: int) -> Iterator[tuple[int, int]]:
        members = [int(index) for index in self.rng.permutation(len(self.concepts))[:length]]
        for first, second in zip(members, members[1:] + members[:1], strict=True):
            if not is_held_out_pair(first, second):
                yield (first, second) if self.rng.random() < 0.5 else (second, first)


def draw(scenes: list[Scene], sprites: dict[int, Pixels]) -> Tensor:
    """float32 [n, 3, SIDE, SIDE], ready for the model."""
    return as_input(torch.from_numpy(np.stack([render(scene, sprites) for scene in scenes])))
