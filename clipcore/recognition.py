"""Recognises the words in images, by RapidOCR (PP-OCR's models on onnxruntime), where the extra `ocr` is installed.

The models are in RapidOCR's package; nothing is downloaded.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Protocol

import numpy as np
from PIL import Image

from clipcore.errors import EncodingFailed, ImageRejected, RejectReason
from clipcore.images.decode import ImageLimits
from clipcore.images.processes import DecodeProcesses, PipedProcess, WorkLimits, decode_and_prepare, process_context
from clipcore.types import Box, Pixels

RECOGNIZES_TEXT = find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None

MAX_CHARACTERS = 4000
"""Of one image; further ones are left out."""
_PIXELS, _LONGEST_EDGE = 1600 * 1600, 3200  # a page, or the screenshot of a long conversation, is legible at that
_LEAST_CONFIDENCE = 0.5
_NICENESS = 10
_PATIENCE_S = 600.0  # on a machine too busy to give a process its CPU time; then the image is tried again later


class Recognizer(Protocol):
    async def recognize(self, data: bytes) -> str:
        """The words in an image, line by line from the top, at most MAX_CHARACTERS; empty where there are none.

        data: the image's file. Raises ImageRejected, also where it takes too long, or EncodingFailed.
        """

    async def rest(self) -> None:
        """Gives the memory back until the next image comes."""

    async def close(self) -> None: ...


class TextRecognizer:
    """A Recognizer that reads one image after the other. Its processes begin with the first image.

    The file is decoded in a process of its own, within these limits, as the engine's images are; another one, which
    gets pixels only, recognizes the words on one core, after all other work, and is ended where an image takes more
    than `cpu_seconds` of the processor (both on POSIX systems).
    """

    def __init__(
        self, limits: ImageLimits | None = None, work_limits: WorkLimits | None = None, *, cpu_seconds: float = 30.0
    ) -> None:
        decode = partial(
            decode_and_prepare, limits=limits or ImageLimits(), min_edge=int(_PIXELS**0.5), prepare=_as_large_as_needed
        )
        self._decode = DecodeProcesses(decode, work_limits or WorkLimits())
        self._cpu_seconds = cpu_seconds
        self._thread = ThreadPoolExecutor(1, "recognize text")
        self._process: _Process | None = None
        self._closed = False

    async def recognize(self, data: bytes) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._recognized, data)

    async def rest(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end_processes)

    async def close(self) -> None:
        """Ends the processes. What is being read fails. Idempotent."""
        self._closed = True
        self._end_processes()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _recognized(self, data: bytes) -> str:
        pixels = self._decode(data).square
        if self._closed:
            raise EncodingFailed("The recognizer was closed.")
        if self._process is None or not self._process.is_alive():
            self._process = _Process(process_context(), "recognize text", _serve)
        return "\n".join(self._process.lines(pixels, self._cpu_seconds))[:MAX_CHARACTERS]

    def _end_processes(self) -> None:
        self._decode.close()
        if self._process is not None:
            self._process.end()


def _as_large_as_needed(pixels: Pixels, box: Box | None = None) -> Pixels:
    """A `Prepare` that keeps the image's shape: uint8 [h, w, 3], not enlarged."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = box or (0.0, 0.0, float(width), float(height))
    across, down = right - left, bottom - top
    share = min(1.0, (_PIXELS / (across * down)) ** 0.5, _LONGEST_EDGE / max(across, down))
    if share == 1.0:
        return np.ascontiguousarray(pixels)
    size = max(1, round(across * share)), max(1, round(down * share))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom)))


class _Process(PipedProcess):
    patience_s = _PATIENCE_S

    def lines(self, pixels: Pixels, cpu_seconds: float) -> list[str]:
        about: dict[str, object] = {"shape": pixels.shape, "cpu_seconds": cpu_seconds}
        lines = self._ask(about, pixels.tobytes(), self._received)
        if lines is not None:
            return lines
        if self._took_too_long:
            raise ImageRejected(RejectReason.TOO_COSTLY, f"Its text takes more than {cpu_seconds:g} s to recognize.")
        raise EncodingFailed("The process that recognizes text ended or did not answer.")

    def _received(self) -> list[str]:
        return list(json.loads(self._pipe.recv_bytes()))


def _serve(pipe: Connection) -> None:
    """Runs in the process, until the pipe's other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    if sys.platform != "win32":
        os.nice(_NICENESS)
    from rapidocr import RapidOCR

    recognize = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": _LONGEST_EDGE,
            "Global.text_score": _LEAST_CONFIDENCE,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
    with suppress(EOFError, BrokenPipeError):
        while True:
            asked = json.loads(pipe.recv_bytes())
            pixels = np.frombuffer(pipe.recv_bytes(), np.uint8).reshape(asked["shape"])
            if sys.platform != "win32":
                signal.setitimer(signal.ITIMER_PROF, asked["cpu_seconds"])  # ends the process
            found = recognize(pixels[..., ::-1])  # it takes arrays for BGR
            if sys.platform != "win32":
                signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send_bytes(json.dumps(found.txts or ()).encode())
