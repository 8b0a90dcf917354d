"""The inference thread: it alone uses the device. It loads the model, forms batches and answers futures.

No batch waits to fill up: what was queued while the device was busy forms the next batch. Callers hold
`concurrent.futures.Future`s, which carry results across threads, can be cancelled, and survive closed event loops.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from clipcore.engine.scheduling import BatchSizer, Job, JobQueue, Kind
from clipcore.errors import EncodingFailed, EngineClosed, ModelUnavailable
from clipcore.types import Encoder, Lane, Pixels, Vectors

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One encoded batch. kind: "image" or "text"."""

    kind: str
    lane: Lane
    size: int
    seconds: float


class InferenceExecutor:
    """Runs one model on one thread.

    load: called once, on that thread. max_queue: images, and again texts, that may wait in each lane.
    query_budget_ms: how long a background batch may take, because a query may have to wait for it.
    close_seconds: how long `close` waits for the thread. clock: seconds, monotonic.

    failed_batches: how many of each kind have failed since the last that did not.
    on_batch: called on the inference thread after each batch; it should take microseconds.
    """

    def __init__(
        self,
        load: Callable[[], Encoder],
        *,
        max_queue: int = 1024,
        query_budget_ms: float = 175.0,
        max_batch: int = 64,
        close_seconds: float = 30.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._load = load
        self._close_seconds = close_seconds
        self._clock = clock
        self._sizers = {kind: BatchSizer(query_budget_ms / 1000, max_batch) for kind in Kind}
        self._changed = threading.Condition()  # guards the queue and the state below it
        self._queue = JobQueue(max_queue)
        self._background_paused = False
        self._closing = False
        self._failure: ModelUnavailable | EngineClosed | None = None
        self._current_batch: list[Job] = []
        self._thread: threading.Thread | None = None
        self._busy_since: float | None = None
        self._loaded: Future[Encoder] = Future()
        self._crashed: Future[EngineClosed] = Future()
        for shared in (self._loaded, self._crashed):
            shared.set_running_or_notify_cancel()  # so that one waiting caller cannot cancel it for the others
        self.failed_batches = dict.fromkeys(Kind, 0)
        self.on_batch: Callable[[BatchReport], None] | None = None

    async def start(self) -> Encoder:
        """Starts the thread, if need be, and waits until the model is loaded. Raises ModelUnavailable if it cannot be
        loaded, now and each later time, and EngineClosed if `close` is called first.
        """
        with self._changed:
            self._ensure_running()
        try:
            return await asyncio.wrap_future(self._loaded)
        except (ModelUnavailable, EngineClosed) as error:
            raise _copy(error) from error

    def submit(self, payload: Pixels | str, lane: Lane = Lane.BACKGROUND) -> Future[Vectors]:
        """payload: a prepared image, uint8 [s, s, 3], or a text. Returns a future of float32 [dim], unit length.

        Raises QueueFull, EngineClosed, ModelUnavailable. The future raises EncodingFailed if the model fails on this
        input. Cancelling it skips the work.
        """
        with self._changed:
            self._ensure_running()
            job = self._queue.add(Kind.TEXT if isinstance(payload, str) else Kind.IMAGE, payload, lane)
            self._changed.notify_all()
        return job.answer

    def pause_background(self, paused: bool) -> None:
        """While paused, background batches are delayed, by MAX_BACKGROUND_WAIT_S each at most. It has no effect on a
        model that does not run on the CPU: its batches take nothing from queries.
        """
        with self._changed:
            self._background_paused = paused
            self._changed.notify_all()

    def waiting(self, lane: Lane) -> int:
        """How many inputs of this lane wait, without the batch being encoded."""
        with self._changed:
            return self._queue.waiting(lane)

    @property
    def alive(self) -> bool:
        """Whether the model is loaded and its thread runs."""
        return self._thread is not None and self._thread.is_alive() and self._loaded.done() and self._failure is None

    @property
    def busy_seconds(self) -> float:
        """Since the current batch began; 0.0 if idle."""
        since = self._busy_since
        return 0.0 if since is None else max(0.0, self._clock() - since)

    async def crashed(self) -> EngineClosed:
        """Waits until the thread crashes, which only a bug makes it do, and returns the error that callers get from
        then on. A model that cannot be loaded is not a crash.
        """
        return await asyncio.wrap_future(self._crashed)

    async def close(self) -> None:
        """Refuses new work, finishes accepted work, and ends the thread. Can be called again.

        After `close_seconds` unfinished work fails with EngineClosed, and a hanging thread is abandoned. If there is no
        work, a model that is still loading, perhaps downloading for minutes, is abandoned at once.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            idle_load = not self._loaded.done() and not any(map(self._queue.waiting, Lane))
        if self._thread is None:
            return
        if not idle_load:
            await asyncio.to_thread(self._thread.join, self._close_seconds)
        if self._thread.is_alive():
            if not idle_load:
                log.error("the inference thread did not end within %g seconds and is abandoned", self._close_seconds)
            self._fail_all(EngineClosed("The engine was closed before this work was done."))

    def _ensure_running(self) -> None:
        """Starts the thread, if need be. Raises ModelUnavailable or EngineClosed where there is none any more."""
        if self._failure is not None:
            raise _copy(self._failure)
        if self._closing:
            raise EngineClosed("The engine is closed and takes no more work.")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="clip-inference", daemon=True)
            self._thread.start()

    def _fail_all(self, failure: ModelUnavailable | EngineClosed) -> None:
        """Fails all present and future callers. Called on any thread."""
        with self._changed:
            self._failure = failure
            jobs = [*self._current_batch, *self._queue.clear()]
        _settle(self._loaded, failure)
        for job in jobs:
            if job.start():
                _settle(job.answer, _copy(failure))

    # The rest runs on the inference thread.

    def _run(self) -> None:
        try:
            encoder = self._load()
        except BaseException as error:
            self._fail_all(_load_failure(error))
            return
        _settle(self._loaded, encoder)
        try:
            while batch := self._next_batch(encoder):
                self._encode(encoder, batch)
        except BaseException as error:
            # A bug in this module. Nobody may be left waiting for a thread that is gone.
            log.exception("the inference thread crashed")
            crash = EngineClosed(f"The inference thread crashed ({type(error).__name__}).")
            self._fail_all(crash)
            self._crashed.set_result(crash)

    def _next_batch(self, encoder: Encoder) -> list[Job]:
        """Waits for the next batch; empty once closed and drained."""
        with self._changed:
            while True:
                sizes = {kind: sizer.size for kind, sizer in self._sizers.items()}
                paused = self._background_paused and encoder.runs_on_cpu and not self._closing
                batch, delay = self._queue.take(sizes, self._clock(), background_paused=paused)
                self._current_batch = batch
                self._busy_since = self._clock() if batch else None
                if batch or self._closing:
                    return batch
                self._changed.wait(delay)

    def _encode(self, encoder: Encoder, batch: list[Job]) -> None:
        kind, began = batch[0].kind, self._clock()
        try:
            vectors = _vectors(encoder, batch)
        except BaseException as error:
            self.failed_batches[kind] += 1
            self._retry(batch, error)
            return
        self.failed_batches[kind] = 0
        seconds = self._clock() - began
        self._sizers[kind].observe(len(batch), seconds)
        self._report(BatchReport(kind.value, batch[0].lane, len(batch), seconds))
        for job, vector in zip(batch, vectors, strict=True):
            _settle(job.answer, vector)

    def _retry(self, batch: list[Job], error: BaseException) -> None:
        """Queues a failed batch again, in smaller batches if memory ran out, otherwise each job alone. Queries may run
        in between. A job that failed alone fails for good.
        """
        kind = batch[0].kind
        if len(batch) == 1:
            log.warning("one %s could not be encoded: %s", kind.value, type(error).__name__)
            failure = EncodingFailed(f"The model failed on this {kind.value} ({type(error).__name__}).")
            failure.__cause__ = error
            _settle(batch[0].answer, failure)
            return
        log.warning("a batch of %d failed and is split: %s", len(batch), type(error).__name__)
        if isinstance(error, MemoryError):
            self._sizers[kind].out_of_memory(len(batch))
        else:
            for job in batch:
                job.alone = True
        with self._changed:
            self._queue.put_back(batch)

    def _report(self, report: BatchReport) -> None:
        if self.on_batch is None:
            return
        try:
            self.on_batch(report)
        except Exception:  # a metrics bug must not fail images
            log.exception("the batch callback failed")


def _settle(future: Future[Answer], outcome: Answer | BaseException) -> None:
    """Answers a future, unless it has been answered already.

    `close` fails unfinished futures on the event loop's thread while the inference thread may answer the same ones.
    Testing `done()` first would leave a gap between test and answer.
    """
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _vectors(encoder: Encoder, batch: list[Job]) -> Vectors:
    """float32 [n, dim], one row a job. Raises whatever the model raises, and ValueError if its vectors are unusable."""
    if batch[0].kind is Kind.IMAGE:
        vectors = encoder.encode_prepared(np.stack([np.asarray(job.payload) for job in batch]))
    else:
        vectors = encoder.encode_texts([str(job.payload) for job in batch])
    if len(vectors) != len(batch) or not np.isfinite(vectors).all():
        raise ValueError("the model returned too few vectors, or NaN or infinite ones")
    return vectors


def _load_failure(error: BaseException) -> ModelUnavailable:
    if isinstance(error, ModelUnavailable):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ModelUnavailable("The model could not be loaded: the disk is full. Free some space, and try again.")
    log.error("loading the model failed", exc_info=error)
    return ModelUnavailable(f"The model could not be loaded ({type(error).__name__}); the log has the details.")


def _copy(failure: ModelUnavailable | EngineClosed) -> ModelUnavailable | EngineClosed:
    """One exception object raised in several callers would collect all their tracebacks."""
    return type(failure)(str(failure))
