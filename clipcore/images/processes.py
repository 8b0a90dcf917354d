"""Decodes untrusted images in processes of their own, which are killed when an image costs too much.

A decoder cannot be interrupted inside its C code, and headers do not tell what an image will cost: a JPEG of 200 KB may
have thousands of scans, a WebP of 2 KB may need a gigabyte. So work and memory are limited by the operating system,
and whatever ends the process costs its own image only.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from clipcore.errors import EncodingFailed, ImageRejected, RejectReason
from clipcore.images.decode import ImageLimits, load_optional_decoders, read_frames
from clipcore.images.perceptual_hash import FLAT, perceptual_hash
from clipcore.images.preprocess import Preprocessing
from clipcore.types import Pixels, Prepare

if sys.platform != "win32":
    import resource

# On a machine too busy to give a process its CPU time. Then the image is tried again later.
_PATIENCE_S = 60.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What decoding one image may cost.

    cpu_seconds: of the processor, on POSIX systems. memory_bytes: beside the idle process and the file, on Linux; the
    decoders of WebP and AVIF call an image broken that exceeds it. Where the system has no such limit, 60 seconds by
    the clock are all that bounds an image.
    """

    cpu_seconds: float = 2.0
    memory_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """square: uint8 [s, s, 3], the model's input, or a thumbnail. width, height: the image's own, after the EXIF turn.

    more: the same of further frames, where it is an animation and they were asked for. perceptual_hash: of the first.
    """

    square: Pixels
    width: int
    height: int
    perceptual_hash: str
    more: tuple[Pixels, ...] = ()


def decode_and_prepare(
    data: bytes, frames: int = 1, *, edge: int | None = None, limits: ImageLimits, min_edge: int, prepare: Prepare
) -> PreparedImage:
    """An image file's bytes -> the model's input. Raises as `read_frames`, see there for min_edge and frames. Frames
    that look like another one are left out.

    edge: makes a thumbnail instead, the middle square of the image in so many pixels.
    """
    if edge is not None:
        min_edge, prepare = edge, Preprocessing(size=edge, crop=edge).prepare
    squares: list[Pixels] = []
    width, height, first_hash = 0, 0, FLAT
    for frame in read_frames(data, limits, min_edge=min_edge, frames=frames):  # one is in memory at a time
        square = prepare(frame.pixels, frame.box)
        if not squares:
            width, height = frame.width, frame.height
            first_hash = perceptual_hash(frame.pixels, frame.box)
        if all(_differ(square, other) for other in squares):
            squares.append(square)
    return PreparedImage(squares[0], width, height, first_hash, tuple(squares[1:]))


def _differ(one: Pixels, other: Pixels) -> bool:
    """By a level of brightness in the mean: the noise of compression, or a blinking cursor, is less."""
    return float(np.abs(one.astype(np.int16) - other).mean()) > 1.0


class Decode(Protocol):
    def __call__(self, data: bytes, frames: int = 1, *, edge: int | None = None) -> PreparedImage: ...


class DecodeProcesses:
    """A `Decode` that runs in a process of the thread that calls it.

    decode: picklable. Raises what it raises, ImageRejected with TOO_COSTLY where a limit was reached, and
    EncodingFailed where the process ended for another reason.
    """

    def __init__(self, decode: Decode, limits: WorkLimits) -> None:
        self.limits = limits
        self._start = partial(_Process, process_context(), "decode", _serve, decode)
        self._own = threading.local()
        self._processes: set[_Process] = set()

    def __call__(
        self, data: bytes, frames: int = 1, limits: WorkLimits | None = None, *, edge: int | None = None
    ) -> PreparedImage:
        """limits: lower ones than usual."""
        process: _Process | None = getattr(self._own, "process", None)
        if process is None or not process.is_alive():
            process = self._own.process = self._start()
            self._processes.add(process)
        try:
            return process.decode(data, frames, edge, limits or self.limits)
        finally:
            if not process.is_alive():
                self._processes.discard(process)

    def close(self) -> None:
        """Ends the processes. What is being decoded fails."""
        while self._processes:
            self._processes.pop().end()


class PipedProcess:
    """A process that answers one question after another over a pipe.

    serve: runs in it; gets its end of the pipe, and `arguments`.
    """

    patience_s = _PATIENCE_S

    def __init__(
        self, context: SpawnContext | ForkServerContext, name: str, serve: Callable[..., None], *arguments: object
    ) -> None:
        self._pipe, its_pipe = context.Pipe()
        self._process = context.Process(target=serve, args=(its_pipe, *arguments), name=name, daemon=True)
        self._process.start()
        its_pipe.close()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def end(self) -> None:
        """May be called while another thread waits for an answer."""
        self._process.kill()
        self._process.join()

    def _ask(self, about: dict[str, object], data: bytes, receive: Callable[[], Answer]) -> Answer | None:
        """What `receive` makes of the answer; None where the process has ended, or had to be."""
        try:
            self._pipe.send_bytes(json.dumps(about).encode())
            self._pipe.send_bytes(data)
            if self._pipe.poll(self.patience_s):
                return receive()
        except (EOFError, OSError):  # it is ending, and its exit code says why
            self._process.join(self.patience_s)
        self.end()
        return None

    @property
    def _took_too_long(self) -> bool:
        return sys.platform != "win32" and self._process.exitcode == -signal.SIGPROF


class _Process(PipedProcess):
    def decode(self, data: bytes, frames: int, edge: int | None, limits: WorkLimits) -> PreparedImage:
        wanted = {"frames": frames} if edge is None else {"frames": frames, "edge": edge}
        about: dict[str, object] = {"wanted": wanted, "limits": asdict(limits)}
        answer = self._ask(about, data, partial(self._received, limits))
        if answer is not None:
            return answer
        if self._took_too_long:
            seconds = limits.cpu_seconds
            raise ImageRejected(RejectReason.TOO_COSTLY, f"Decoding the image takes more than {seconds:g} s.")
        if sys.platform != "win32" and self._process.exitcode == -signal.SIGABRT:
            # A decoder's own doing, and no accident: JPEG XL's ends its process where it is refused memory.
            memory = limits.memory_bytes >> 20
            raise ImageRejected(
                RejectReason.TOO_COSTLY, f"The image's decoder gave up; it may need more than {memory} MiB of memory."
            )
        raise EncodingFailed("The process that decoded the image ended or did not answer.")

    def _received(self, limits: WorkLimits) -> PreparedImage:
        """Only JSON and bytes are read, never a pickle: the decoder may be in the hands of whoever made the image."""
        answer = json.loads(self._pipe.recv_bytes())
        if answer.pop("memory", False):
            memory = limits.memory_bytes >> 20
            raise ImageRejected(RejectReason.TOO_COSTLY, f"The image needs more than {memory} MiB of memory.")
        if "reason" in answer:
            raise ImageRejected(RejectReason(answer["reason"]), answer["message"], limit=answer["limit"])
        squares = np.frombuffer(self._pipe.recv_bytes(), np.uint8).reshape(answer["shape"])
        return PreparedImage(
            squares[0], answer["width"], answer["height"], answer["perceptual_hash"], tuple(squares[1:])
        )


def _serve(pipe: Connection, decode: Decode) -> None:
    """Runs in the process, until the pipe's other end is closed."""
    load_optional_decoders()  # outside the memory of the image that comes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    with suppress(EOFError, BrokenPipeError):
        while True:
            asked = json.loads(pipe.recv_bytes())
            data = pipe.recv_bytes()
            with _limited(WorkLimits(**asked["limits"])):
                answer, squares = _answer(partial(decode, data, **asked["wanted"]))
            pipe.send_bytes(json.dumps(answer).encode())
            if squares is not None:
                pipe.send_bytes(squares.tobytes())


def _answer(decode: Callable[[], PreparedImage]) -> tuple[dict[str, object], Pixels | None]:
    """squares: uint8 [n, s, s, 3]"""
    try:
        image = decode()
        squares = np.stack([image.square, *image.more])
    except ImageRejected as error:
        return {"reason": error.reason, "message": str(error), "limit": error.limit}, None
    except (EncodingFailed, MemoryError):
        return {"memory": True}, None
    told = {"width": image.width, "height": image.height, "perceptual_hash": image.perceptual_hash}
    return {"shape": squares.shape, **told}, squares


@contextmanager
def _limited(limits: WorkLimits) -> Iterator[None]:
    """Beyond the memory limit allocations fail; SIGPROF kills the process once it has used up its CPU time."""
    if sys.platform == "linux":
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + limits.memory_bytes, resource.RLIM_INFINITY))
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    yield
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, 0)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def process_context() -> SpawnContext | ForkServerContext:
    """forkserver: a fork of this process would copy its threads' locks, and each process spawned anew loads NumPy."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    forkserver.ensure_running()  # it loads NumPy and Pillow now, and not when the first image has come
    return context
