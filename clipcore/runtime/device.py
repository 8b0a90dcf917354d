"""What the pipeline asks of an accelerator: memory, and two queues that run by themselves what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], None]


class Event(Protocol):
    """A point in a queue."""

    def synchronize(self) -> None:
        """Waits until the queue has come this far. Raises what the device failed with."""
        ...


class Device(Protocol):
    """One queue copies in, the other computes and copies out, so a copy may go beside the work before it."""

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """On the host, where the device's own copying reaches it. The values are arbitrary."""
        ...

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """On the device, for both queues. The values are arbitrary."""
        ...

    def begin(self, target: Tensor, source: Tensor, work: Work) -> Event:
        """Copies from `host` to `memory` in one queue, and then does the work in the other. Until the event neither may
        be written. Raises what cannot even be begun; some of it may have been.
        """
        ...

    def record(self, work: Work) -> Work:
        """The same work as something that is begun at once, for `begin`. The work itself is not done now; its tensors
        are those of now for good. Raises where that cannot be recorded.
        """
        ...
