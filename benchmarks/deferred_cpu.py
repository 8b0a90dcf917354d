"""The pipeline's device where there is no accelerator: the CPU standing in, for tests and for trying benchmarks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from clipcore.runtime.cuda import Work


class DeferredCpu:
    """Does nothing when it is told to, and everything in order once somebody waits: the worst that a device may do to
    code that overwrites too early, reads too early, or forgets to wait.
    """

    def __init__(self) -> None:
        self._copying: deque[_Task] = deque()
        self._computing: deque[_Task] = deque()

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype)

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype)

    def begin(self, target: Tensor, source: Tensor, work: Work) -> _Task:
        copied = self._queued(self._copying, lambda: target.copy_(source))

        def follow() -> None:
            copied.synchronize()
            work()

        return self._queued(self._computing, follow)

    def record(self, work: Work) -> Work:
        return work

    def _queued(self, queue: deque[_Task], work: Callable[[], object]) -> _Task:
        task = _Task(work, partial(_run_up_to, queue))
        queue.append(task)
        return task


@dataclass(slots=True, eq=False)
class _Task:
    work: Callable[[], object]
    run_up_to: Callable[[_Task], None]
    done: bool = False
    failure: BaseException | None = None

    def run(self) -> None:
        try:
            with torch.inference_mode():
                self.work()
        except BaseException as error:
            self.failure = error
        self.done = True

    def synchronize(self) -> None:
        if not self.done:
            self.run_up_to(self)
        if self.failure is not None:
            raise self.failure


def _run_up_to(queue: deque[_Task], last: _Task) -> None:
    while not last.done:
        queue.popleft().run()
