"""Gradients of a large batch in the memory of a small one (GradCache: Gao et al. 2021, §3.2).

A contrastive loss needs the vectors of the whole batch, but each vector's gradient is all that a tower needs to know
of the loss. So the batch passes through the tower twice: first without a graph, for the vectors; then, once the loss
has said what each vector's gradient is, part by part with one. The sums are those of the batch in one piece.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
