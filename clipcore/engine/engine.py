"""ClipEngine: what asyncio code sees of CLIP. Decoding in a small pool, inference on one thread, nothing on the event
loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeVar

import numpy as np

from clipcore.engine.executor import Encoder, InferenceExecutor
from clipcore.engine.watching import CacheCounts, DeviceState, OnBatch
from clipcore.errors import EngineClosed, QueueFull
from clipcore.images.decode import ImageLimits, as_pixels, read_image
from clipcore.runtime.cores import decode_workers, usable_cores
from clipcore.types import Calibration, ImageVector, Label, Lane, ModelCard, Pixels, Vectors
from clipcore.zero_shot import LabelBank, ZeroShotClassifier, mean_direction, texts_for

Result = TypeVar("Result")

# Texts of one call that wait in the executor at a time: a long list of labels must not fill the queue.
_TEXTS_AT_ONCE = 64
# Under questions without a gap each worker then decodes ten images a second: as many as a processor looks at.
_LONGEST_STAND_BACK_S = 0.1
_REMEMBERED_PROMPTS = 20_000  # 40 MB at 512 dimensions


class ClipEngine:
    """The async face of one model. Use it from one event loop.

    load: builds the encoder; called once, on the inference thread, e.g. `partial(ClipModel.load, "bundled")`.
    decode_workers: images of the background lane decoded at once; one more thread is kept for the interactive lane.
    None: as many as suit the cores and the device, see `cores.decode_workers`.
    max_queue: images that may be under way or waiting in each lane; the next one raises QueueFull. Waiting images
    hold their file's bytes (the caller's) or their prepared square (150 KiB at 224 pixels); only `decode_workers` + 1
    images exist as full pixels at any time.
    query_budget_ms: how long a query may have to wait for a batch under way.

    Every method raises ModelUnavailable when the model did not load, and EngineClosed after `close`.
    """

    def __init__(
        self,
        load: Callable[[], Encoder],
        *,
        limits: ImageLimits | None = None,
        decode_workers: int | None = None,
        max_queue: int = 1024,
        query_budget_ms: float = 175.0,
        close_seconds: float = 30.0,
    ) -> None:
        self._limits = limits or ImageLimits()
        self._executor = InferenceExecutor(
            load, max_queue=max_queue, query_budget_ms=query_budget_ms, close_seconds=close_seconds
        )
        self._close_seconds = close_seconds
        self._decode_workers = decode_workers
        self._pool: ThreadPoolExecutor | None = None  # its size is known when the model is there
        self._background_decodes = asyncio.Semaphore(0)
        self._max_queue = max_queue
        self._images = dict.fromkeys(Lane, 0)
        self._encoder: Encoder | None = None
        self._prompt_vectors: OrderedDict[str, Vectors] = OrderedDict()
        self._prompts_known = self._prompts_encoded = 0
        self._in_front = 0
        self._nobody_in_front = asyncio.Event()
        self._nobody_in_front.set()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    @property
    def card(self) -> ModelCard:
        return self._started().card

    @property
    def calibration(self) -> Calibration:
        return self._started().calibration

    async def start(self) -> ModelCard:
        """Waits until the model is loaded. Calling it again answers the same, a failure included."""
        return (await self._ready()).card

    async def encode_image(self, data: bytes, lane: Lane = Lane.BACKGROUND) -> ImageVector:
        """data: an image file's bytes. Raises ImageRejected, QueueFull, EncodingFailed."""
        with self._call(), self._image(lane):
            encoder = await self._ready()
            decode = partial(_decode_and_prepare, encoder, data, self._limits)
            square, width, height = await self._in_pool(decode, lane)
            vector = await asyncio.wrap_future(self._executor.submit_image(square, lane))
            return ImageVector(vector, width, height)

    async def encode_pixels(self, pixels: Pixels, lane: Lane = Lane.BACKGROUND) -> Vectors:
        """pixels: uint8 [h, w, 3] of any size, as `decode_image` gives them. Returns float32 [dim], unit length.

        Raises BadInput, QueueFull, EncodingFailed.
        """
        with self._call(), self._image(lane):
            encoder = await self._ready()
            square = await self._in_pool(partial(encoder.prepare, as_pixels(pixels)), lane)
            return await asyncio.wrap_future(self._executor.submit_image(square, lane))

    async def encode_texts(self, texts: Sequence[str], lane: Lane = Lane.INTERACTIVE) -> Vectors:
        """Texts as they are, no templates. Returns float32 [n, dim], unit length. Raises QueueFull, EncodingFailed."""
        with self._call():
            return await self._encode_all(await self._ready(), texts, lane)

    async def encode_query(self, text: str) -> Vectors:
        """What a person typed -> float32 [dim], unit length: the mean over the query templates that suit the model."""
        with self._call():
            encoder = await self._ready()
            words = encoder.card.prompts.for_query(text)
            return mean_direction(await self._encode_all(encoder, words, Lane.INTERACTIVE))

    async def classifier(self, labels: Sequence[Label]) -> ZeroShotClassifier:
        """A classifier for these labels. A prompt that this engine has encoded before is not encoded again."""
        with self._call():
            encoder = await self._ready()
            prompts = encoder.card.prompts
            vectors = await self._vectors_of_prompts(encoder, texts_for(labels, prompts))
            bank = LabelBank.build(labels, prompts, vectors, encoder.card.dimension)
            return ZeroShotClassifier(bank, logit_scale=encoder.card.logit_scale, least=encoder.calibration.tag_match)

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Somebody waits for what the block does, be it the engine's work or not: background work stands back for it.

        While any such block is open, no batch of the background lane is begun and none of its images decoded; what
        is under way ends. That is bounded, however long blocks stay open and however many follow without a gap: where
        no query waits for the device, a batch begins after half a second of it, and each decode worker turns to its
        next image after a tenth. A device that works by itself goes on with its batches: the block shares only the
        processor with it. Images of the interactive lane open one by themselves.
        """
        self._in_front += 1
        self._hold_background()
        try:
            yield
        finally:
            self._in_front -= 1
            self._hold_background()

    async def stand_back(self) -> None:
        """For background work that is not the engine's, before a piece of it: waits while somebody is in front, for a
        tenth of a second at most.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_STAND_BACK_S):
                await self._nobody_in_front.wait()

    async def ended(self) -> EngineClosed:
        """Waits until inference has ended by itself, which only a bug can do, and says how: nothing works any more."""
        return await self._executor.ended()

    def waiting(self, lane: Lane) -> int:
        """How many decoded images and texts of this lane wait for the device: the depth of the queue, for whoever
        watches.
        """
        return self._executor.waiting(lane)

    def watch(self, on_batch: OnBatch) -> None:
        """Tells of every batch from now on, on the inference thread."""
        self._executor.watch.on_batch = on_batch

    def device(self) -> DeviceState:
        return self._executor.device()

    def prompt_cache(self) -> CacheCounts:
        """Of the prompts that `classifier` needed so far."""
        return CacheCounts(self._prompts_known, self._prompts_encoded, len(self._prompt_vectors))

    async def close(self) -> None:
        """Takes no more calls, finishes those under way, ends the threads. Calling it again waits for the same.

        A device that hangs is given `close_seconds` twice: for the calls under way, and for its thread.
        """
        self._closing = True
        self._hold_background()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._close_seconds)
        await self._executor.close()
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)

    async def _ready(self) -> Encoder:
        if self._encoder is None:
            encoder = await self._executor.start()
            if self._encoder is None:  # of those who waited together this is the first
                self._make_pool(self._decode_workers or decode_workers(usable_cores(), overlaps=encoder.overlaps))
                self._encoder = encoder
        return self._encoder

    def _make_pool(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers + 1, thread_name_prefix="clip-decode")
        self._background_decodes = asyncio.Semaphore(workers)

    def _started(self) -> Encoder:
        if self._encoder is None:
            raise RuntimeError("await ClipEngine.start() before asking for the model's card")
        return self._encoder

    async def _in_pool(self, work: Callable[[], Result], lane: Lane) -> Result:
        """Queries have a thread to spare in the pool, so they never wait behind a backlog of uploads."""
        loop = asyncio.get_running_loop()
        if lane is Lane.INTERACTIVE:
            return await loop.run_in_executor(self._pool, work)
        async with self._background_decodes:
            await self.stand_back()
            return await loop.run_in_executor(self._pool, work)

    def _hold_background(self) -> None:
        """As many as are in front now. A closing engine has its calls to finish and holds nothing back."""
        held = self._in_front > 0 and not self._closing
        if held == self._nobody_in_front.is_set():
            (self._nobody_in_front.clear if held else self._nobody_in_front.set)()
            self._executor.hold_background(held)

    async def _encode_all(self, encoder: Encoder, texts: Sequence[str], lane: Lane) -> Vectors:
        vectors = [np.empty((0, encoder.card.dimension), np.float32)]
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            vectors.append(np.stack(await asyncio.gather(*(self._encode_text(text, lane) for text in some))))
        return np.concatenate(vectors)

    async def _encode_text(self, text: str, lane: Lane) -> Vectors:
        return await asyncio.wrap_future(self._executor.submit_text(text, lane))

    async def _vectors_of_prompts(self, encoder: Encoder, texts: Sequence[str]) -> dict[str, Vectors]:
        known = self._prompt_vectors
        new = [text for text in texts if text not in known]
        found = {text: known[text] for text in texts if text in known}
        found.update(zip(new, await self._encode_all(encoder, new, Lane.BACKGROUND), strict=True))
        self._prompts_known += len(found) - len(new)
        self._prompts_encoded += len(new)
        for text, vector in found.items():
            known[text] = vector
            known.move_to_end(text)
        while len(known) > _REMEMBERED_PROMPTS:
            known.popitem(last=False)
        return found

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
        if self._images[lane] >= self._max_queue:
            raise QueueFull(f"{self._max_queue} images are waiting already; try again later.")
        self._images[lane] += 1
        try:
            with self.foreground() if lane is Lane.INTERACTIVE else nullcontext():
                yield
        finally:
            self._images[lane] -= 1


def _decode_and_prepare(encoder: Encoder, data: bytes, limits: ImageLimits) -> tuple[Pixels, int, int]:
    """The square that the model looks at, and the image's own width and height. Runs in the decode pool."""
    image = read_image(data, limits, enough=encoder.card.detail)
    return encoder.prepare(image.pixels, image.box), image.width, image.height
