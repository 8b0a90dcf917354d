"""Several processes, one batch. `torchrun` starts them; each reads and encodes its own rows of every batch.

The vectors of all rows are gathered before the loss, so that each image meets the texts of the whole batch, and the
gradients are summed after it: however many processes share a batch, the step is the same up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist

# One process validates while the others wait for it.
_PATIENCE = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Group:
    """rank: which of `world` processes this is."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's rows of `count`, in one piece; shares differ by one row at most."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def sum(self, tensor: Tensor) -> None:
        """In place, over all processes."""
        dist.all_reduce(tensor)

    def gather(self, own: Tensor, rows: slice, count: int) -> Tensor:
        """own: [k, …], this process's rows of [count, …]. Returns all of them; to the others nothing is passed back."""
        if self.world == 1:
            return own
        whole = own.new_zeros((count, *own.shape[1:]))
        whole[rows] = own
        self.sum(whole)
        return whole

    def add_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Each weight's gradient becomes the sum over all processes; where none has one, there is none still."""
        if self.world == 1:
            return
        gradients = self._had_by_any([weight for weight in weights if weight.requires_grad])
        # In one message: a model has hundreds of weights, and each message costs a round trip.
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.sum(flat)
        sums = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, sums, strict=True):
            gradient.copy_(summed.view_as(gradient))

    def _had_by_any(self, weights: Sequence[nn.Parameter]) -> list[Tensor]:
        """A process whose share of a batch was broken altogether has no gradients, and joins in with zeros."""
        had = torch.tensor([float(weight.grad is not None) for weight in weights], device=weights[0].device)
        self.sum(had)
        gradients = []
        for weight, votes in zip(weights, had.tolist(), strict=True):
            if votes:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                gradients.append(weight.grad)
        return gradients

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it holds in any process: all must stop at the same step, or the others wait for ever."""
        if self.world == 1:
            return flag
        votes = torch.tensor(int(flag), device=device)
        self.sum(votes)
        return bool(votes)

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


def device_here(wanted: str) -> str:
    """The device of this process: under torchrun each takes a GPU of its own."""
    if _world() > 1 and wanted in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return wanted


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The processes that torchrun started with this one, or this one alone."""
    if _world() == 1:
        yield Group()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
