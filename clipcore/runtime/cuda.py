"""Copies between the host and an NVIDIA GPU through pinned memory.

Not tested on hardware: this module was written without a GPU and has never run on one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipcore.types import Vectors


def copy_to_gpu(batch: Tensor, device: torch.device) -> Tensor:
    """batch: on the host. Returns before the copy is done; work queued on the same stream waits for it on the GPU.

    torch caches pinned memory, and reuses a block only after the copies from it are done.
    """
    return batch.pin_memory().to(device, non_blocking=True)


def copy_to_host(vectors: Tensor) -> Vectors:
    """vectors: float32 on the GPU. Waits for the work that computes them.

    The thread sleeps instead of spinning (`blocking=True`), because decoding needs the cores.
    """
    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    host.copy_(vectors, non_blocking=True)
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(vectors.device))
    done.synchronize()
    copied: Vectors = host.numpy().copy()  # so that long-lived vectors keep no pinned memory
    return copied
