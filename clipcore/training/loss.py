"""Contrastive losses of unit vectors, and gradients of large batches in little memory (GradCache)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def softmax_loss(images: Tensor, texts: Tensor, log_scale: Tensor, false_negatives: Tensor) -> Tensor:
    """Each image must pick its own text and each text its own image (Radford et al. 2021, figure 3).

    images, texts: float32 [n, dim], unit length, matching rows. false_negatives: bool [n, n], see
    `false_negative_mask`.
    """
    logits = (log_scale.exp() * images @ texts.T).masked_fill(false_negatives, float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def sigmoid_loss(images: Tensor, texts: Tensor, log_scale: Tensor, bias: Tensor, false_negatives: Tensor) -> Tensor:
    """Each pair is classified by itself: do the two belong together? (Zhai et al. 2023, algorithm 1.)"""
    logits = log_scale.exp() * images @ texts.T + bias
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -functional.logsigmoid(signs * logits).masked_fill(false_negatives, 0).sum() / len(logits)


def false_negative_mask(image_keys: Tensor, caption_keys: Tensor) -> Tensor:
    """int64 [n] each, equal keys for equal things -> bool [n, n]: the same image, or the same caption, in another row.

    Such a pair is not a wrong answer, so the losses leave it out.
    """
    same = (image_keys[:, None] == image_keys) | (caption_keys[:, None] == caption_keys)
    return same.fill_diagonal_(False)


class CachedTower:
    """One tower's part of a step with cached gradients (Gao et al. 2021, GradCache): a first pass embeds the batch part
    by part without a graph; once the loss's gradient is known, a second pass takes each part's gradients.

    parts: each encodes a part, to [n, dim], differentiable. empty: [0, dim], what no parts give. learns: whether the
    tower needs gradients. seed: of dropout, so that it drops the same places in both passes.
    """

    def __init__(self, parts: Sequence[Callable[[], Tensor]], empty: Tensor, *, learns: bool, seed: int) -> None:
        self._parts = parts
        self._empty = empty
        self._learns = learns
        self._seed = seed
        # A batch in one part needs no second pass: its graph is kept.
        self._keeps_graph = learns and len(parts) == 1
        with torch.set_grad_enabled(self._keeps_graph):
            self._embeddings = [self._encode(number) for number in range(len(parts))]

    @property
    def embeddings(self) -> Tensor:
        """[n, dim], without a graph."""
        return torch.cat([self._empty, *(embeddings.detach() for embeddings in self._embeddings)])

    def backward(self, gradient: Tensor) -> None:
        """gradient: [n, dim], of the loss with respect to `embeddings`. Adds to the gradients of the weights."""
        if not self._learns:
            return
        shares = torch.split(gradient, [len(embeddings) for embeddings in self._embeddings])
        for number, (first, share) in enumerate(zip(self._embeddings, shares, strict=True)):
            embeddings = first if self._keeps_graph else self._encode(number)
            embeddings.backward(share)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _encode(self, number: int) -> Tensor:
        torch.manual_seed(self._seed + number)  # of every device's generator
        return self._parts[number]()
