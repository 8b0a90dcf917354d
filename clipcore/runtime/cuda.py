"""The pipeline's device in earnest: streams, pinned memory and CUDA graphs.

After https://docs.pytorch.org/docs/stable/notes/cuda.html (streams, pinned memory, CUDA graphs).
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipcore.runtime.device import Work


class CudaDevice:
    """Two streams of one GPU beside the stream that everybody else uses, which texts are encoded on.

    Recorded work shares one memory pool. That is safe in any order of replay, because one stream replays it all and
    nothing that lives in the pool outlives a replay: work reads from and writes to memory that was there before
    (https://github.com/pytorch/pytorch/pull/166975).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._computing = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        tensor = torch.empty(shape, dtype=dtype, device=self._device)
        for stream in (self._copying, self._computing):
            # Whoever had the memory before may still be at it; whoever gets it next will wait for these streams.
            stream.wait_stream(torch.cuda.current_stream(self._device))
            tensor.record_stream(stream)
        return tensor

    def begin(self, target: Tensor, source: Tensor, work: Work) -> torch.cuda.Event:
        with torch.cuda.stream(self._copying):
            target.copy_(source, non_blocking=True)
        self._computing.wait_stream(self._copying)
        # Weights may have been loaded or trained in everybody's stream since.
        self._computing.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._computing):
            work()
        # Waiting for it sleeps rather than spins: the cores are for those who decode pictures.
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._computing.record_event(done)
        return done

    def record(self, work: Work) -> Work:
        """The stream is that of the unrecorded runs before: libraries keep handles and workspaces for each stream, and
        may not make new ones during a capture. Other threads may use the GPU meanwhile, as a search does; only
        `thread_local` lets them.
        """
        graph = torch.cuda.CUDAGraph()
        # The outer context puts the thread's stream back where a failed capture leaves the inner one without doing so.
        with (
            torch.cuda.stream(self._computing),
            torch.cuda.graph(graph, pool=self._pool, stream=self._computing, capture_error_mode="thread_local"),
        ):
            work()
        return graph.replay
