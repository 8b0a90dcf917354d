"""One thread owns the device: it loads the model, forms the batches, and answers.

Nobody sleeps to fill a batch: whatever queued while the device was busy is the next batch. Queries (the interactive
lane) go before uploads (the background lane). A device that works by itself is given its next batch before the last one
is waited for. Callers hold `concurrent.futures.Future`s, which carry results across threads, take cancellation, and
survive closed event loops.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clipcore.engine.scheduling import LONGEST_HOLD_S, Job, Kind, Lanes, Pacer
from clipcore.engine.watching import BatchReport, DeviceState, DeviceWatch
from clipcore.errors import EncodingFailed, EngineClosed, ModelUnavailable
from clipcore.types import Box, Calibration, Lane, ModelCard, Pixels, Vectors

log = logging.getLogger(__name__)


class Encoder(Protocol):
    """What the executor needs of a model. What encodes runs on the executor's own thread, the rest on any."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def calibration(self) -> Calibration: ...

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """uint8 [h, w, 3] -> uint8 [s, s, 3]. box: where in them the image lies; all of it by default."""
        ...

    @property
    def overlaps(self) -> bool:
        """Whether `begin_prepared` returns while the device works; otherwise the work is done by then."""
        ...

    def begin_prepared(self, batch: Pixels) -> Callable[[], Vectors]:
        """uint8 [n, s, s, 3] -> what waits for float32 [n, dim]; called in the order in which batches were begun.
        Both raise MemoryError where the batch does not fit.
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n texts -> float32 [n, dim]. Raises MemoryError where the batch does not fit."""
        ...


@dataclass(frozen=True, slots=True)
class _Begun:
    """A batch that the device has been given. began: seconds on the executor's clock."""

    jobs: list[Job]
    wait: Callable[[], Vectors]
    began: float

    @property
    def kind(self) -> Kind:
        return self.jobs[0].kind

    @property
    def lane(self) -> Lane:
        return self.jobs[0].lane


class InferenceExecutor:
    """Two lanes of work in front of one model on one thread.

    load: called once, on that thread. max_queue: images, and again texts, that may wait in each lane.
    query_budget_ms: the longest that a query waits for what is under way. clock: seconds, monotonic.

    Where the device works by itself, one batch of images is begun ahead of the one that is waited for, so that it
    need not wait for the host between two. A query can then find two batches before it, so each may take half the
    budget. It waits for no more than these: queries are looked for before each begin, nothing is begun ahead of waiting
    for a query's images, and a text goes beside the images under way and is answered at once. What cannot be begun
    beside another batch is tried again with the device to itself before anything is concluded from it.
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
        self._budget = query_budget_ms / 1000
        self._max_batch = max_batch
        self._close_seconds = close_seconds
        self._clock = clock
        self.watch = DeviceWatch(clock)
        self._pacers: dict[Kind, Pacer] = {}
        self._device_free_since = 0.0
        self._lanes = Lanes(max_queue)
        self._changed = threading.Condition()
        self._closing = False
        self._failure: ModelUnavailable | EngineClosed | None = None
        self._under_way: list[Job] = []
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
        return self._submit(Kind.IMAGE, prepared, lane)

    def submit_text(self, text: str, lane: Lane = Lane.INTERACTIVE) -> Future[Vectors]:
        """The future gives float32 [dim]; otherwise as `submit_image`."""
        return self._submit(Kind.TEXT, text, lane)

    def hold_background(self, held: bool) -> None:
        """Whether the background lane's next batch is to wait. It waits LONGEST_HOLD_S at most, and not at all where
        the device works by itself, or once this is closing.
        """
        with self._changed:
            self._lanes.hold.is_set = held and not self._closing
            self._changed.notify_all()

    def waiting(self, lane: Lane) -> int:
        """How many inputs of this lane wait for the device, those under way not counted."""
        with self._changed:
            return self._lanes.waiting(lane)

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
            self._lanes.hold.is_set = False
            self._changed.notify_all()
            only_loading = not self._loaded.done() and not any(self.waiting(lane) for lane in Lane)
        if self._thread is not None and not only_loading:
            await asyncio.to_thread(self._thread.join, self._close_seconds)
            if self._thread.is_alive():
                log.error("the inference thread did not end within %g seconds and is left behind", self._close_seconds)
                self._give_up(EngineClosed("The device did not answer before the engine was closed."))

    def _submit(self, kind: Kind, payload: Pixels | str, lane: Lane) -> Future[Vectors]:
        with self._changed:
            self._refuse_if_over()
            job = self._lanes.add(kind, payload, lane)
            self._ensure_thread()
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

    # From here on, everything runs on the executor's own thread.

    def _run(self) -> None:
        try:
            encoder = self._load()
        except BaseException as error:
            self._give_up(_load_failure(error))
            return
        self._loaded.set_result(encoder)
        try:
            self._serve(encoder)
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
            waited = self._lanes.clear()
        if not self._loaded.done():
            self._loaded.set_exception(failure)
        for job in [*self._under_way, *waited]:
            if not job.answer.done() and job.begin():
                job.answer.set_exception(_again(failure))

    def _serve(self, encoder: Encoder) -> None:
        """Until closed and drained."""
        overlaps = encoder.overlaps
        budget = self._budget / 2 if overlaps else self._budget
        self._pacers = {kind: Pacer(budget, self._max_batch) for kind in Kind}
        self._lanes.hold.longest = 0.0 if overlaps else LONGEST_HOLD_S
        ahead: _Begun | None = None
        while True:
            batch = [] if ahead and ahead.lane is Lane.INTERACTIVE else self._next_batch(ahead)
            if not batch and ahead is None:
                return
            begun = self._begin(encoder, batch, beside=ahead) if batch else None
            if begun and not (overlaps and begun.kind is Kind.IMAGE):
                self._answer(begun)
                begun = None
            if ahead:
                self._answer(ahead)
                self._device_free_since = self._clock()
            ahead = begun

    def _next_batch(self, ahead: _Begun | None) -> list[Job]:
        """The most urgent jobs, as many as one batch may hold. Empty when closed and drained, and, with a batch ahead
        that can be waited for instead, when there are none now.
        """
        with self._changed:
            while True:
                sizes = {kind: pacer.size for kind, pacer in self._pacers.items()}
                batch, held_for = self._lanes.take(sizes, self._clock())
                self._under_way = [*(ahead.jobs if ahead else ()), *batch]
                if batch:
                    self.watch.begins()
                if batch or ahead or self._closing:
                    return batch
                self.watch.rests()
                self._changed.wait(held_for)

    def _begin(self, encoder: Encoder, batch: list[Job], *, beside: _Begun | None) -> _Begun | None:
        """None where the batch failed, which then has been seen to."""
        began = self._clock()
        try:
            return _Begun(batch, _launch(encoder, batch), began)
        except BaseException as error:
            if beside is None:
                self._retry(batch, error)
            else:
                self._put_back(batch)
            return None

    def _answer(self, begun: _Begun) -> None:
        try:
            vectors = _checked(begun)
        except BaseException as error:
            self._retry(begun.jobs, error)
            return
        # Until the batch before it was done, the device did not work on this one.
        seconds = self._clock() - max(begun.began, self._device_free_since)
        self._pacers[begun.kind].observe(len(begun.jobs), seconds)
        self.watch.answered(BatchReport(begun.kind.value, begun.lane, len(begun.jobs), seconds))
        for job, vector in zip(begun.jobs, vectors, strict=True):
            if not job.answer.done():  # a close that waited no longer has answered already
                job.answer.set_result(vector)

    def _retry(self, batch: list[Job], error: BaseException) -> None:
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
        self._put_back(batch)

    def _put_back(self, batch: list[Job]) -> None:
        with self._changed:
            self._lanes.put_back(batch)


def _launch(encoder: Encoder, batch: list[Job]) -> Callable[[], Vectors]:
    """All jobs are of one kind. What comes back waits for one row for each."""
    if batch[0].kind is Kind.IMAGE:
        return encoder.begin_prepared(np.stack([np.asarray(job.payload) for job in batch]))
    vectors = encoder.encode_texts([str(job.payload) for job in batch])
    return lambda: vectors


def _checked(begun: _Begun) -> Vectors:
    """float32 [n, dim], one row for each job."""
    vectors = begun.wait()
    if len(vectors) != len(begun.jobs) or not np.isfinite(vectors).all():
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
