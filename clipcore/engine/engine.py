"""ClipEngine, the async API: a small pool decodes images, one thread runs the model, and nothing blocks the loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from clipcore.batching import batches_of
from clipcore.engine.executor import InferenceExecutor
from clipcore.engine.prompt_file import prompt_file, read_prompts, write_prompts
from clipcore.errors import EncodingFailed, EngineClosed, ImageRejected, QueueFull, RejectReason
from clipcore.fair_places import FairPlaces, Owner
from clipcore.images.decode import ImageLimits, as_pixels
from clipcore.images.processes import Decode, DecodeProcesses, PreparedImage, WorkLimits, decode_and_prepare
from clipcore.runtime.cores import decode_workers, usable_cores
from clipcore.types import Calibration, Encoder, ImageVector, Label, Lane, ModelCard, Pixels, Vectors
from clipcore.zero_shot import ZeroShotClassifier, mean_direction, texts_for

Result = TypeVar("Result")

# Texts of one call that wait in the executor at a time, so that a long list does not fill the queue.
_TEXTS_AT_ONCE = 64
# With queries back to back, each worker still decodes ten images a second: about what one core encodes.
_MAX_YIELD_S = 0.1
# The least cosine of two frames of which one is enough. Unrelated photographs have 0.4 to 0.6, and the same one saved
# anew more than 0.98.
_SAME_FRAME = 0.98
_CACHED_PROMPTS = 20_000  # 40 MB at 512 dimensions
# An image that needs more than this gives its decoder to the next one, and is decoded anew as a costly one.
_FIRST_CPU_S = 0.5
_FIRST_SHARE_OF_MEMORY = 4
_MAX_COSTLY = 4
_COSTLY: Owner = (-1, 0)  # as which costly images take turns with the owners of others
# Of labels' prompts, in the executor's queue at a time: two batches of 64 wait while one is encoded, so that no batch
# is short because the event loop was late.
_PROMPTS_AT_ONCE = 192


class ClipEngine:
    """One model, for use from one event loop.

    load: returns the model; called once, on the inference thread, e.g. `partial(ClipModel.load, "bundled")`.
    decode_workers: background images decoded at once, one at least; one more thread decodes interactive images, one at
    a time. None: chosen by the number of cores and the model's device, see `cores.decode_workers`.
    work_limits: what decoding one image may cost. Each thread then has a process decode its images, which is killed
    when an image costs more; a script needs its `if __name__ == "__main__":`, as for all of multiprocessing. None:
    threads decode without such limits, as suits images of one's own.
    The owners of images take turns at the decoders. An image that has used half a second of CPU time, or needs more
    than a quarter of the memory, gives its decoder to the next one, and is decoded anew when there is time: costly
    images have all background decoders but one, and four at most. So much memory do all images together take.
    max_queue: images that may be in progress or waiting in each lane; the next one raises QueueFull. A waiting image
    holds its file's bytes (the caller's) or its prepared squares (150 KiB each at 224 pixels); only `decode_workers`
    + 1 images exist as full pixels at any time.
    query_budget_ms: how long a query may have to wait for the current batch.
    prompt_folder: where `classifier` keeps the vectors of prompts for the next start; made if need be.
    close_seconds: how long `close` waits for unfinished calls, and again for the inference thread.

    `executor` tells how the inference thread fares: its batches, what waits for it, and whether it crashed.

    Every method raises ModelUnavailable if the model could not be loaded, and EngineClosed after `close`.
    """

    def __init__(
        self,
        load: Callable[[], Encoder],
        *,
        limits: ImageLimits | None = None,
        decode_workers: int | None = None,
        work_limits: WorkLimits | None = None,
        max_queue: int = 1024,
        query_budget_ms: float = 175.0,
        prompt_folder: Path | None = None,
        close_seconds: float = 30.0,
    ) -> None:
        self._limits = limits or ImageLimits()
        self.executor = InferenceExecutor(
            load, max_queue=max_queue, query_budget_ms=query_budget_ms, close_seconds=close_seconds
        )
        self._close_seconds = close_seconds
        self._decode_workers = decode_workers
        self._work_limits = work_limits
        self._pool: ThreadPoolExecutor | None = None  # its size depends on the loaded model's device
        self._decode: Decode  # set with the pool
        self._processes: DecodeProcesses | None = None
        self._decoders: dict[Lane, FairPlaces]
        self._costly: FairPlaces
        self._max_queue = max_queue
        self._images = dict.fromkeys(Lane, 0)
        self._encoder: Encoder | None = None
        self._prompt_folder = prompt_folder
        self._prompt_vectors: OrderedDict[str, Vectors] = OrderedDict()
        self._prompt_places = asyncio.Semaphore(min(_PROMPTS_AT_ONCE, max_queue))
        self.prompts_cached = self.prompts_encoded = 0  # of those that `classifier` needed
        self._queries = 0
        self._no_query = asyncio.Event()
        self._no_query.set()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False  # no new calls
        self._closed = False  # calls that are still unfinished fail

    @property
    def card(self) -> ModelCard:
        return self._started().card

    @property
    def calibration(self) -> Calibration:
        return self._started().calibration

    @property
    def runs_on_cpu(self) -> bool:
        return self._started().runs_on_cpu

    async def start(self) -> ModelCard:
        """Waits until the model is loaded. Calling it again returns or raises the same."""
        return (await self._ready()).card

    async def encode_image(
        self, data: bytes, lane: Lane = Lane.BACKGROUND, owner: Owner = (0, 0), *, frames: int = 1
    ) -> ImageVector:
        """data: an image file's bytes. owner: whose it is. Raises ImageRejected, QueueFull, EncodingFailed.

        frames: how many frames of an animation may be encoded; an image may have as many vectors, see `ImageVector`.
        They are the first alone where decoding the image is costly.
        """
        with self._call(), self._image(lane):
            await self._ready()
            image = await self._decoded(data, lane, owner, frames=frames)
            vectors = [await asyncio.wrap_future(self.executor.submit(image.square, lane))]
            # One frame after the other: an animation has one place in the queue, like any image, and others' turns come
            # in between.
            for square in image.more:
                with suppress(EncodingFailed):
                    vector = await asyncio.wrap_future(self.executor.submit(square, lane))
                    if all(float(vector @ other) < _SAME_FRAME for other in vectors):
                        vectors.append(vector)
            return ImageVector(vectors[0], image.width, image.height, tuple(vectors[1:]), image.perceptual_hash)

    async def thumbnail(self, data: bytes, edge: int, owner: Owner = (0, 0)) -> Pixels:
        """The middle square of an image file in uint8 [edge, edge, 3], decoded as if to be encoded in the background,
        within the same limits. Raises ImageRejected, QueueFull, EncodingFailed.
        """
        with self._call(), self._image(Lane.BACKGROUND):
            await self._ready()
            return (await self._decoded(data, Lane.BACKGROUND, owner, edge=edge)).square

    async def encode_pixels(self, pixels: Pixels, lane: Lane = Lane.BACKGROUND) -> Vectors:
        """pixels: uint8 [h, w, 3] of any size, as from `decode_image`. Returns float32 [dim], unit length.

        Raises BadInput, QueueFull, EncodingFailed.
        """
        with self._call(), self._image(lane):
            encoder = await self._ready()
            square = await self._in_pool(partial(encoder.prepare, as_pixels(pixels)), lane)
            return await asyncio.wrap_future(self.executor.submit(square, lane))

    async def encode_texts(self, texts: Sequence[str], lane: Lane = Lane.INTERACTIVE) -> Vectors:
        """Texts without a prompt template. Returns float32 [n, dim], unit length. Raises QueueFull, EncodingFailed."""
        with self._call():
            return await self._encode_texts(await self._ready(), texts, lane)

    async def encode_query(self, text: str) -> Vectors:
        """A text query -> float32 [dim], unit length: the mean over the model's query templates."""
        with self._call():
            encoder = await self._ready()
            texts = encoder.card.prompts.for_query(text)
            return mean_direction(await self._encode_texts(encoder, texts, Lane.INTERACTIVE))

    async def classifier(self, labels: Sequence[Label], *, keep: bool = False) -> ZeroShotClassifier:
        """As `ZeroShotClassifier.for_model`, with the model's threshold for tags. Caches the vectors of prompts.

        keep: also in `prompt_folder`, for the next start.
        """
        with self._call():
            encoder = await self._ready()
            card, threshold = encoder.card, encoder.calibration.tag_threshold
            texts = texts_for(labels, card.prompts)
            if keep and self._prompt_folder is not None:
                vector_of = await self._kept_prompts(prompt_file(self._prompt_folder, card, texts), card, texts)
            else:
                vector_of = await self._vectors_of_prompts(texts)
            return ZeroShotClassifier.from_vectors(labels, card.prompts, vector_of, card, threshold=threshold)

    @contextmanager
    def pause_background(self) -> Iterator[None]:
        """Wraps the answering of a query: background work yields while any such block is open.

        No background batch starts (on a CPU) and no background image is decoded; what has started finishes. So that
        background work never starves, a batch is delayed by MAX_BACKGROUND_WAIT_S at most, and a decode by 0.1 s.
        Encoding an image of the interactive lane counts as such a block.
        """
        self._queries += 1
        self._apply_pause()
        try:
            yield
        finally:
            self._queries -= 1
            self._apply_pause()

    async def yield_to_queries(self) -> None:
        """Waits for the end of a `pause_background` block, 0.1 s at most. For other background work, as downloads."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_YIELD_S):
                await self._no_query.wait()

    @property
    def prompts_kept(self) -> int:
        return len(self._prompt_vectors)

    async def close(self) -> None:
        """Refuses new calls, finishes the present ones, and ends the threads. Can be called again.

        Calls that take longer than `close_seconds`, such as those that wait for a model to load, raise EngineClosed.
        """
        self._closing = True
        self._apply_pause()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._close_seconds)
        self._closed = True
        await self.executor.close()
        if self._processes is not None:
            self._processes.close()
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)

    async def _ready(self) -> Encoder:
        encoder = await self.executor.start() if self._encoder is None else self._encoder
        if self._closed:
            raise EngineClosed("The engine is closed and takes no more work.")
        if self._encoder is None:  # the first of the callers that waited together
            workers = self._decode_workers or decode_workers(usable_cores(), model_on_cpu=encoder.runs_on_cpu)
            self._pool = ThreadPoolExecutor(workers + 1, thread_name_prefix="clip-decode")
            self._decoders = {
                Lane.BACKGROUND: FairPlaces(workers, reserve=False),
                Lane.INTERACTIVE: FairPlaces(1, reserve=False),
            }
            self._costly = FairPlaces(max(1, min(workers - 1, _MAX_COSTLY)))
            self._decode = partial(
                decode_and_prepare, limits=self._limits, min_edge=encoder.card.detail, prepare=encoder.prepare
            )
            if self._work_limits is not None:
                self._decode = self._processes = DecodeProcesses(self._decode, self._work_limits)
            self._encoder = encoder
        return encoder

    def _started(self) -> Encoder:
        if self._encoder is None:
            raise RuntimeError("await ClipEngine.start() before reading the model's card")
        return self._encoder

    async def _decoded(
        self, data: bytes, lane: Lane, owner: Owner, *, frames: int = 1, edge: int | None = None
    ) -> PreparedImage:
        processes = self._processes
        if processes is None or (frames == 1 and processes.limits.cpu_seconds <= _FIRST_CPU_S):
            return await self._in_pool(partial(self._decode, data, frames, edge=edge), lane, owner)
        first = WorkLimits(
            min(_FIRST_CPU_S, processes.limits.cpu_seconds), processes.limits.memory_bytes // _FIRST_SHARE_OF_MEMORY
        )
        try:
            return await self._in_pool(partial(processes, data, frames, first, edge=edge), lane, owner)
        except ImageRejected as refused:
            # BROKEN: some decoders call an image so when they are refused memory.
            if refused.reason not in (RejectReason.TOO_COSTLY, RejectReason.BROKEN):
                raise
        return await self._in_pool(partial(self._decode, data, edge=edge), Lane.BACKGROUND, owner, costly=True)

    async def _in_pool(
        self, work: Callable[[], Result], lane: Lane, owner: Owner = (0, 0), *, costly: bool = False
    ) -> Result:
        """One thread is for interactive images, which need not wait for background images then.

        An image gives its places back when the thread is done with it, not when its caller is: a cancelled caller
        leaves the thread busy.
        """
        loop, decoders = asyncio.get_running_loop(), self._decoders[lane]
        wanted = [(self._costly, owner), (decoders, _COSTLY)] if costly else [(decoders, owner)]
        held: list[tuple[FairPlaces, Owner]] = []

        def release() -> None:
            for places, holder in held:
                places.release(holder)

        def done(_: Future[Result]) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(release)

        try:
            for places, holder in wanted:
                await places.acquire(holder)
                held.append((places, holder))
            if lane is Lane.BACKGROUND:
                await self.yield_to_queries()
            if self._closed or self._pool is None:
                raise EngineClosed("The engine was closed before this work was done.")
            future = self._pool.submit(work)
        except BaseException:
            release()
            raise
        future.add_done_callback(done)
        return await asyncio.wrap_future(future)

    def _apply_pause(self) -> None:
        """While a query is being answered, unless the engine is closing and has calls to finish."""
        paused = self._queries > 0 and not self._closing
        (self._no_query.clear if paused else self._no_query.set)()
        self.executor.pause_background(paused)

    async def _encode_texts(self, encoder: Encoder, texts: Sequence[str], lane: Lane) -> Vectors:
        vectors = [np.empty((0, encoder.card.dimension), np.float32)]
        for batch in batches_of(texts, min(_TEXTS_AT_ONCE, self._max_queue)):
            futures: list[Future[Vectors]] = []
            try:
                for text in batch:
                    futures.append(self.executor.submit(text, lane))
                vectors.append(np.stack(await asyncio.gather(*map(asyncio.wrap_future, futures))))
            finally:
                for future in futures:  # after a failure, the rest of the call's texts are not worth encoding
                    future.cancel()
        return np.concatenate(vectors)

    async def _kept_prompts(self, file: Path, card: ModelCard, texts: Sequence[str]) -> dict[str, Vectors]:
        kept = await asyncio.to_thread(read_prompts, file, card, texts)
        self._keep_prompts(kept.items())
        vector_of = await self._vectors_of_prompts(texts)
        if not kept:
            await asyncio.to_thread(write_prompts, file, vector_of, texts)
        return vector_of

    async def _vectors_of_prompts(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """In the background lane, in full batches. Places in the queue are given out one by one, so calls that encode
        at the same time advance alike: a short one does not wait for the end of a long one.
        """
        vectors = {text: self._prompt_vectors[text] for text in texts if text in self._prompt_vectors}
        self.prompts_cached += len(vectors)
        new = [text for text in texts if text not in vectors]
        remaining = iter(new)

        async def encode_some() -> None:
            for text in remaining:
                async with self._prompt_places:
                    vectors[text] = await asyncio.wrap_future(self.executor.submit(text, Lane.BACKGROUND))
                self.prompts_encoded += 1
                self._keep_prompts([(text, vectors[text])])  # also where another one of this call fails

        ended = await asyncio.gather(*(encode_some() for _ in new[:_PROMPTS_AT_ONCE]), return_exceptions=True)
        for error in filter(None, ended):
            raise error
        self._keep_prompts(vectors.items())
        return vectors

    def _keep_prompts(self, vectors: Iterable[tuple[str, Vectors]]) -> None:
        cache = self._prompt_vectors
        for text, vector in vectors:
            cache[text] = vector
            cache.move_to_end(text)
        while len(cache) > _CACHED_PROMPTS:
            cache.popitem(last=False)

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Counts a call, so that `close` can wait for it."""
        if self._closing:
            raise EngineClosed("The engine is closed and takes no more work.")
        self._calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    @contextmanager
    def _image(self, lane: Lane) -> Iterator[None]:
        """Counts an image against `max_queue`. An interactive one pauses the background, as a query does."""
        if self._images[lane] >= self._max_queue:
            raise QueueFull(f"{self._max_queue} images are waiting already; try again later.")
        self._images[lane] += 1
        try:
            with self.pause_background() if lane is Lane.INTERACTIVE else nullcontext():
                yield
        finally:
            self._images[lane] -= 1
