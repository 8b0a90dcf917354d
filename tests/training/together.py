"""Processes that share a batch, played by threads: what `ProcessGroup` says to them, without starting any."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from clipcore.training.distributed import ProcessGroup

T = TypeVar("T")


class Table:
    """Where all put a tensor down and each takes the sum away."""

    def __init__(self, world: int) -> None:
        self._barrier = threading.Barrier(world, timeout=20)
        self._held: dict[int, torch.Tensor] = {}

    def add(self, rank: int, tensor: torch.Tensor) -> torch.Tensor:
        self._held[rank] = tensor.clone()
        self._barrier.wait()
        summed = torch.stack([self._held[key] for key in sorted(self._held)]).sum(dim=0)
        self._barrier.wait()
        return summed


class Seated(ProcessGroup):
    """A member whose sums go over the table."""

    def __init__(self, rank: int, world: int, table: Table) -> None:
        super().__init__(rank, world)
        object.__setattr__(self, "_table", table)

    def sum(self, tensor: torch.Tensor) -> None:
        tensor.copy_(self._table.add(self.rank, tensor))


def together(world: int, work: Callable[[ProcessGroup], T]) -> list[T]:
    table = Table(world)
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(work, [Seated(rank, world, table) for rank in range(world)]))
