"""The contrastive losses, on unit vectors, with pairs left out of which nobody knows whether they belong together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def softmax_loss(images: Tensor, texts: Tensor, log_scale: Tensor, undecided: Tensor) -> Tensor:
    """Each image must pick its own text and each text its own image (Radford et al. 2021, figure 3).

    images, texts: float32 [n, dim], unit length, rows belong together. undecided: bool [n, n], see `undecided_pairs`.
    """
    logits = (log_scale.exp() * images @ texts.T).masked_fill(undecided, float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def sigmoid_loss(images: Tensor, texts: Tensor, log_scale: Tensor, bias: Tensor, undecided: Tensor) -> Tensor:
    """Each pair is a question of its own: do these two belong together? (Zhai et al. 2023, algorithm 1.)"""
    logits = log_scale.exp() * images @ texts.T + bias
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -functional.logsigmoid(signs * logits).masked_fill(undecided, 0).sum() / len(logits)


def undecided_pairs(image_keys: Tensor, caption_keys: Tensor) -> Tensor:
    """int64 [n] each, equal keys for equal things -> bool [n, n]: the same image, or the same words, in another row.

    Neither is a wrong answer there, and which of the rows the answer came from cannot be seen.
    """
    same = (image_keys[:, None] == image_keys) | (caption_keys[:, None] == caption_keys)
    return same.fill_diagonal_(False)


class CachedTower:
    """One tower's share of one step.

    encode: the number of a part -> its vectors, [n, dim], differentiable. learns: whether gradients are wanted at all.
    seed: what dropout follows from, so that it falls on the same places in both passes.
    """

    def __init__(
        self,
        encode: Callable[[int], Tensor],
        parts: int,
        *,
        dimension: int,
        learns: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        self._encode = encode
        self._none = torch.empty((0, dimension), device=device)
        self._learns = learns
        self._seed = seed
        # A batch in one part needs no second pass: its graph is kept.
        self._whole = learns and parts == 1
        with torch.set_grad_enabled(self._whole):
            self._vectors = [self._encode_seeded(part) for part in range(parts)]

    @property
    def vectors(self) -> Tensor:
        """[n, dim], without a graph."""
        return torch.cat([self._none, *(vectors.detach() for vectors in self._vectors)])

    def backward(self, gradient: Tensor) -> None:
        """gradient: [n, dim], the loss's with respect to `vectors`. Adds to the gradients of the tower's weights."""
        if not self._learns:
            return
        shares = torch.split(gradient, [len(vectors) for vectors in self._vectors])
        for part, (first, share) in enumerate(zip(self._vectors, shares, strict=True)):
            again = first if self._whole else self._encode_seeded(part)
            again.backward(share)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _encode_seeded(self, part: int) -> Tensor:
        torch.manual_seed(self._seed + part)  # of every device's generator
        return self._encode(part)
