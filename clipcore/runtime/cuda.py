"""Batches for a device that works by itself: one is copied in while another is computed, launched as one recording."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from clipcore.runtime.torch import Pending, as_tensor, unit_length
from clipcore.types import Pixels, Vectors

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


log = logging.getLogger(__name__)

# One that is computed and one that is copied in. A third would only make queries wait.
_IN_FLIGHT = 2

# Where a GPU's matrix units are long busy. Buffers for it take 0.2 GB at 224 pixels, and are made when first needed.
_LARGEST = 256

# Libraries choose their kernels and take their workspaces in the first runs, which a recording could not take back.
_RUNS_BEFORE_RECORDING = 2


class PipelinedForward:
    """features: uint8 [n, s, s, 3] -> [n, dim] of any length, both on the device.

    Batches have one of a few sizes, powers of two, each with buffers of its own; a batch is padded with black squares,
    and only its own rows come back. Larger ones go in pieces. From the third of a size on, the work is replayed as
    recorded; where it cannot be recorded, it goes on being launched step by step.

    Buffers are taken when a batch begins and free again when it was waited for, so nothing is overwritten that is still
    wanted. A batch that failed frees them at once: what the device still does for it comes, in each queue, before what
    it does for the next. Whoever begins a third batch first waits for the oldest.
    """

    overlaps = True

    def __init__(
        self, features: Callable[[Tensor], Tensor], dimension: int, device: Device, *, largest: int = _LARGEST
    ) -> None:
        self._features = features
        self._dimension = dimension
        self._device = device
        self._largest = largest
        self._sizes: dict[tuple[int, ...], _Size] = {}
        self._flying: list[_Flight] = []
        self._records = True

    def begin(self, batch: Pixels) -> Pending:
        with torch.inference_mode():
            starts = range(0, max(1, len(batch)), self._largest)
            pieces = [self._begin(batch[start : start + self._largest]) for start in starts]
        return lambda: np.concatenate([piece.vectors() for piece in pieces])

    def _begin(self, batch: Pixels) -> _Flight:
        self._make_room()
        size = self._size(batch)
        launch = self._launch(size)
        buffers = size.free.pop()
        count = len(batch)
        try:
            buffers.pixels[:count].copy_(as_tensor(batch))
            done = self._device.begin(
                buffers.copied[:count], buffers.pixels[:count], partial(_compute, size, buffers, launch, count)
            )
        except BaseException:
            size.free.append(buffers)
            raise
        size.runs += 1
        flight = _Flight(count, buffers, done, size.free)
        self._flying.append(flight)
        return flight

    def _make_room(self) -> None:
        self._flying = [flight for flight in self._flying if not flight.finished]
        while len(self._flying) >= _IN_FLIGHT:
            self._flying.pop(0).finish()

    def _size(self, batch: Pixels) -> _Size:
        rows = 1 << (max(1, len(batch)) - 1).bit_length()
        shape = (min(rows, self._largest), *batch.shape[1:])
        if shape not in self._sizes:
            self._sizes[shape] = _Size(self._device, shape, self._dimension)
        return self._sizes[shape]

    def _launch(self, size: _Size) -> Work:
        """What begins the work on the size's input: as recorded, or step by step."""
        steps = partial(self._look, size)
        if size.recorded is None and self._records and size.runs >= _RUNS_BEFORE_RECORDING:
            try:
                size.recorded = self._device.record(steps)
            except Exception as error:
                self._records = False
                log.warning("batches are launched step by step, for recording one failed: %s", type(error).__name__)
        return size.recorded or steps

    def _look(self, size: _Size) -> None:
        size.output.copy_(unit_length(self._features(size.input)))


def _compute(size: _Size, buffers: _Buffers, launch: Work, count: int) -> None:
    # Recorded work reads where it read when it was recorded. A copy within the device costs about 1% of the work, and
    # saves a recording for each of the buffers.
    size.input[:count].copy_(buffers.copied[:count])
    size.input[count:].zero_()
    launch()
    buffers.vectors[:count].copy_(size.output[:count], non_blocking=True)


class _Size:
    """Batches of one size: where their work reads and writes, and buffers for each that may be in flight."""

    def __init__(self, device: Device, shape: tuple[int, ...], dimension: int) -> None:
        self.input = device.memory(shape, torch.uint8)
        self.output = device.memory((shape[0], dimension), torch.float32)
        self.free = [_Buffers(device, shape, dimension) for _ in range(_IN_FLIGHT)]
        self.recorded: Work | None = None
        self.runs = 0


class _Buffers:
    """What one batch in flight has to itself. pixels, vectors: on the host; copied: on the device."""

    def __init__(self, device: Device, shape: tuple[int, ...], dimension: int) -> None:
        self.pixels = device.host(shape, torch.uint8)
        self.copied = device.memory(shape, torch.uint8)
        self.vectors = device.host((shape[0], dimension), torch.float32)


class _Flight:
    """A batch from its begin until it was waited for."""

    def __init__(self, count: int, buffers: _Buffers, done: Event, free: list[_Buffers]) -> None:
        self._count = count
        self._buffers = buffers
        self._done = done
        self._free = free
        self._found: Vectors | BaseException | None = None

    @property
    def finished(self) -> bool:
        return self._found is not None

    def finish(self) -> Vectors | BaseException:
        """Waits, keeps what was found, a failure included, and frees the buffers."""
        if self._found is None:
            try:
                self._done.synchronize()
                self._found = self._buffers.vectors[: self._count].numpy().copy()
            except BaseException as error:
                self._found = error
            self._free.append(self._buffers)
        return self._found

    def vectors(self) -> Vectors:
        found = self.finish()
        if isinstance(found, BaseException):
            raise found
        return found


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
        # Waiting for it sleeps rather than spins: the cores are for those who decode images.
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
