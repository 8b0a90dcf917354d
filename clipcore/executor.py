"""One thread owns the device: it loads the model, forms the batches, and answers.

Nobody sleeps to fill a batch: whatever queued while the device was busy is the next batch. Queries (the interactive
lane) go before uploads (the background lane). Callers hold `concurrent.futures.Future`s, which carry results across
threads, take cancellation, and survive closed event loops.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np

from clipcore.errors import EncodingFailed, EngineClosed, ModelUnavailable, QueueFull
from clipcore.pacing import Pacer
from clipcore.types import Box, Calibration, Lane, ModelCard, Pixels, Vectors
from clipcore.watching import BatchReport, DeviceState, DeviceWatch

log = logging.getLogger(__name__)


class Encoder(Protocol):
    """What the executor needs of a model. `prepare` may run on any thread; the rest runs on the executor's own."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def calibration(self) -> Calibration: ...

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """uint8 [h, w, 3] -> uint8 [s, s, 3]. box: where in them the picture lies; all of it by default."""
        ...

    def encode_prepared(self, batch: Pixels) -> Vectors:
        """uint8 [n, s, s, 3] -> float32 [n, dim]. Raises MemoryError where the batch does not fit."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n texts -> float32 [n, dim]. Raises MemoryError where the batch does not fit."""
        ...


class _Kind(Enum):
    IMAGE = "image"
    TEXT = "text"


@dataclass(slots=True, eq=False)
class _Job:
    """alone: its batch failed, and it is now tried by itself, so that one poison input fails nobody else."""

    number: int
    lane: Lane
    kind: _Kind
    payload: Pixels | str
    alone: bool = False
    started: bool = False
    answer: Future[Vectors] = field(default_factory=Future)

    def begin(self) -> bool:
        """False when the caller has gone."""
        if not self.started:
            self.started = self.answer.set_running_or_notify_cancel()
        return self.started


class InferenceExecutor:
    """Two lanes of work in front of one model on one thread.

    load: called once, on that thread. max_queue: pictures, and again texts, that may wait in each lane.
    query_budget_ms: how long a batch may take, and so the longest that a query waits for one under way. clock:
    seconds, monotonic.
    """

    def __init__(
        self,
        load: Callable[[], Encoder],
        *,
        max_queue: int = 1024,
        query_budget_ms: float = 250.0,
        max_batch: int = 64,
        close_seconds: float = 30.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._load = load
        self._max_queue = max_queue
        self._close_seconds = close_seconds
        self._clock = clock
        self.watch = DeviceWatch(clock)
        self._pacers = {kind: Pacer(query_budget_ms / 1000, max_batch) for kind in _Kind}
        self._lanes: dict[Lane, dict[_Kind, deque[_Job]]] = {lane: {kind: deque() for kind in _Kind} for lane in Lane}
        self._changed = threading.Condition()
        self._accepted = 0
        self._closing = False
        self._failure: ModelUnavailable | EngineClosed | None = None
        self._under_way: list[_Job] = []
        self._loaded: Future[Encoder] = Future()
        self._loaded.set_running_or_notify_cancel()  # a waiter's cancellation must not cancel the load
        self._ended: Future[EngineClosed] = Future()
        self._ended.set_running_or_notify_cancel()  # nor may it end the watch of the others
        self._thread: threading.Thread | None = None

    async def start(self) -> Encoder:
        """Starts the thread, once, and waits for the model. Raises ModelUnavailable, now and each later time, if it
        fails.
        """
        with self._changed:
            self._refuse_if_over()
            self._ensure_thread()
        try:
            return await asyncio.wrap_future(self._loaded)
        except (ModelUnavailable, EngineClosed) as error:
            raise _again(error) from error

    def submit_image(self, prepared: Pixels, lane: Lane = Lane.BACKGROUND) -> Future[Vectors]:
        """prepared: uint8 [s, s, 3]. The future gives float32 [dim]. Raises QueueFull, EngineClosed, ModelUnavailable.

        The future itself raises EncodingFailed where the model fails on this very input. Cancel it, and the work is
        skipped.
        """
        return self._submit(_Kind.IMAGE, prepared, lane)

    def submit_text(self, text: str, lane: Lane = Lane.INTERACTIVE) -> Future[Vectors]:
        """The future gives float32 [dim]; otherwise as `submit_image`."""
        return self._submit(_Kind.TEXT, text, lane)

    def waiting(self, lane: Lane) -> int:
        """How many inputs of this lane wait for the device, those under way not counted."""
        with self._changed:
            return sum(map(len, self._lanes[lane].values()))

    def device(self) -> DeviceState:
        alive = self._thread is not None and self._thread.is_alive() and self._loaded.done() and self._failure is None
        return DeviceState(alive, self.watch.busy_seconds)

    async def ended(self) -> EngineClosed:
        """Waits until the thread has ended by itself, which it never should, and says how. A failed load is no end."""
        return await asyncio.wrap_future(self._ended)

    async def close(self) -> None:
        """Takes no more work, finishes what was accepted, ends the thread. Calling it again only waits for the same.

        A device that hangs is not waited for longer than `close_seconds`: whoever waits for it gets EngineClosed.

        A load that nobody's work waits for is left to itself: it may be a download of many minutes.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            only_loading = not self._loaded.done() and not any(self.waiting(lane) for lane in Lane)
        if self._thread is not None and not only_loading:
            await asyncio.to_thread(self._thread.join, self._close_seconds)
            if self._thread.is_alive():
                log.error("the inference thread did not end within %g seconds and is left behind", self._close_seconds)
                self._give_up(EngineClosed("The device did not answer before the engine was closed."))

    def _submit(self, kind: _Kind, payload: Pixels | str, lane: Lane) -> Future[Vectors]:
        with self._changed:
            self._refuse_if_over()
            self._refuse_if_full(lane, kind)
            self._ensure_thread()
            self._accepted += 1
            job = _Job(self._accepted, lane, kind, payload)
            self._lanes[lane][kind].append(job)
            self._changed.notify_all()
        return job.answer

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="clip-inference", daemon=True)
            self._thread.start()

    def _refuse_if_over(self) -> None:
        if self._failure is not None:
            raise _again(self._failure)
        if self._closing:
            raise EngineClosed("The engine is closed and takes no more work.")

    def _refuse_if_full(self, lane: Lane, kind: _Kind) -> None:
        if len(self._lanes[lane][kind]) < self._max_queue:
            return
        waiting = deque(job for job in self._lanes[lane][kind] if not job.answer.cancelled())
        self._lanes[lane][kind] = waiting
        if len(waiting) >= self._max_queue:
            raise QueueFull(f"{self._max_queue} inputs are waiting already; try again later.")

    # From here on, everything runs on the executor's own thread.

    def _run(self) -> None:
        try:
            encoder = self._load()
        except BaseException as error:
            self._give_up(_load_failure(error))
            return
        self._loaded.set_result(encoder)
        try:
            while batch := self._next_batch():
                self._under_way = batch
                self._answer(encoder, batch)
        except BaseException as error:
            # A bug of ours. Nobody may be left waiting for a thread that is no more.
            log.exception("the inference thread ended unexpectedly")
            end = EngineClosed(f"The inference thread ended unexpectedly ({type(error).__name__}).")
            self._give_up(end)
            self._ended.set_result(end)

    def _give_up(self, failure: ModelUnavailable | EngineClosed) -> None:
        """Answers everyone who waits, and everyone who will come, with the same failure."""
        with self._changed:
            self._failure = failure
            queued = [job for queues in self._lanes.values() for queue in queues.values() for job in queue]
            for queues in self._lanes.values():
                for queue in queues.values():
                    queue.clear()
        if not self._loaded.done():
            self._loaded.set_exception(failure)
        for job in [*self._under_way, *queued]:
            if not job.answer.done() and job.begin():
                job.answer.set_exception(_again(failure))

    def _next_batch(self) -> list[_Job]:
        """The most urgent jobs, as many as one batch may hold. Empty when closed and drained."""
        with self._changed:
            while True:
                queue = self._most_urgent_queue()
                if queue is not None:
                    if batch := self._take(queue):
                        self.watch.begins()
                        return batch
                elif self._closing:
                    return []
                else:
                    self.watch.rests()
                    self._changed.wait()

    def _most_urgent_queue(self) -> deque[_Job] | None:
        for lane in sorted(self._lanes):
            if waiting := [queue for queue in self._lanes[lane].values() if queue]:
                return min(waiting, key=lambda queue: queue[0].number)
        return None

    def _take(self, queue: deque[_Job]) -> list[_Job]:
        size = self._pacers[queue[0].kind].size
        batch: list[_Job] = []
        while queue and len(batch) < size:
            if batch and (batch[0].alone or queue[0].alone):
                break
            job = queue.popleft()
            if job.begin():
                batch.append(job)
        return batch

    def _answer(self, encoder: Encoder, batch: list[_Job]) -> None:
        kind = batch[0].kind
        began = self._clock()
        try:
            vectors = _encode(encoder, batch)
        except BaseException as error:
            self._retry(batch, error)
            return
        seconds = self._clock() - began
        self._pacers[kind].observe(len(batch), seconds)
        self.watch.answered(BatchReport(kind.value, batch[0].lane, len(batch), seconds))
        for job, vector in zip(batch, vectors, strict=True):
            if not job.answer.done():  # a close that waited no longer has answered already
                job.answer.set_result(vector)

    def _retry(self, batch: list[_Job], error: BaseException) -> None:
        """Puts a failed batch back in front: halved where memory ran out, one by one otherwise. Queries may go
        between.
        """
        job = batch[0]
        if len(batch) == 1:
            log.warning("one %s could not be encoded: %s", job.kind.value, type(error).__name__)
            failure = EncodingFailed(f"The model failed on this {job.kind.value} ({type(error).__name__}).")
            failure.__cause__ = error
            if not job.answer.done():
                job.answer.set_exception(failure)
            return
        log.warning("a batch of %d failed and is split: %s", len(batch), type(error).__name__)
        if isinstance(error, MemoryError):
            self._pacers[job.kind].out_of_memory(len(batch))
        else:
            for each in batch:
                each.alone = True
        with self._changed:
            self._lanes[job.lane][job.kind].extendleft(reversed(batch))


def _encode(encoder: Encoder, batch: list[_Job]) -> Vectors:
    """float32 [n, dim], one row for each job. All jobs are of one kind."""
    if batch[0].kind is _Kind.IMAGE:
        vectors = encoder.encode_prepared(np.stack([np.asarray(job.payload) for job in batch]))
    else:
        vectors = encoder.encode_texts([str(job.payload) for job in batch])
    if len(vectors) != len(batch) or not np.isfinite(vectors).all():
        raise ValueError("the model gave too few vectors, or vectors that are not numbers")
    return vectors


def _load_failure(error: BaseException) -> ModelUnavailable:
    if isinstance(error, ModelUnavailable):
        return error
    log.error("loading the model failed", exc_info=error)
    return ModelUnavailable(f"The model could not be loaded ({type(error).__name__}); the log has the details.")


def _again(failure: ModelUnavailable | EngineClosed) -> ModelUnavailable | EngineClosed:
    """A fresh copy for each caller: one exception raised in many places would collect all their tracebacks."""
    return type(failure)(str(failure))
