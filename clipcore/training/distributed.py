"""Several processes, one batch: `torchrun` starts them, and each encodes its own rows of every batch.

The embeddings of all rows are gathered before the loss, so that each image is contrasted with the texts of the whole
batch, and gradients are summed after it: the step is the same up to rounding, however many processes share a batch.
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

# The main process validates while the others wait for it.
_TIMEOUT = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """rank: the number of this process among `world`."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's rows of `count`, consecutive; shares differ by at most one row."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def sum(self, tensor: Tensor) -> None:
        """In place, over all processes."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def gather(self, own: Tensor, rows: slice, count: int) -> Tensor:
        """own: [k, …], this process's rows of [count, …]. Returns all rows; gradients do not reach other processes."""
        whole = own.new_zeros((count, *own.shape[1:]))
        whole[rows] = own
        self.sum(whole)
        return whole

    def add_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Replaces each weight's gradient by the sum over all processes; a weight that has none in any keeps none."""
        if self.world == 1:
            return
        learning = [weight for weight in weights if weight.requires_grad]
        present = torch.tensor([float(weight.grad is not None) for weight in learning], device=learning[0].device)
        self.sum(present)
        gradients = []
        for weight, processes in zip(learning, present.tolist(), strict=True):
            if processes:
                # A process whose share of a batch was unreadable has none, and adds zeros.
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                gradients.append(weight.grad)
        # In one message: a model has hundreds of weights, and each message costs a round trip.
        flat = nn.utils.parameters_to_vector(gradients)
        self.sum(flat)
        nn.utils.vector_to_parameters(flat, gradients)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process: all must stop at the same step, or the others wait for ever."""
        votes = torch.tensor(int(flag), device=device)
        self.sum(votes)
        return bool(votes)

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()


def local_device(device: str) -> str:
    """The device of this process: under torchrun, each takes a GPU of its own."""
    if _world() > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Joins the processes that torchrun started; without torchrun, a group of one."""
    if _world() == 1:
        yield ProcessGroup()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
