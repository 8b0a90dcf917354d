"""Decoding in processes: what an image may cost, and what its process's end costs others."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from clipcore.engine.engine import ClipEngine
from clipcore.errors import EncodingFailed, ImageRejected, RejectReason
from clipcore.images.decode import ImageLimits
from clipcore.images.preprocess import Preprocessing
from clipcore.images.processes import DecodeProcesses, PreparedImage, WorkLimits, decode_and_prepare
from clipcore.model import ClipModel
from clipcore.types import Lane
from tests.clipcore.images import encode, noise

PREPROCESSING = Preprocessing(size=32, crop=32)
DECODE = partial(decode_and_prepare, limits=ImageLimits(), min_edge=77, prepare=PREPROCESSING.prepare)
SMALL = encode(Image.fromarray(noise(40, 30)))


@contextmanager
def processes(limits: WorkLimits = WorkLimits(), decode=DECODE) -> Iterator[DecodeProcesses]:  # noqa: B008
    pool = DecodeProcesses(decode, limits)
    try:
        yield pool
    finally:
        pool.close()


def jpeg_with_scans(edge: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, which is nearly empty, is repeated: 56 bytes for a pass over all blocks."""
    file = io.BytesIO()
    Image.new("L", (edge, edge), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    return data[:-2] + data[data.rfind(b"\xff\xc4") : -2] * scans + data[-2:]


def rejected(decode: DecodeProcesses, data: bytes) -> RejectReason:
    with pytest.raises(ImageRejected) as caught:
        decode(data)
    return caught.value.reason


def test_a_process_decodes_as_this_one_does():
    here = DECODE(SMALL)
    with processes() as decode:
        there = decode(SMALL)
    np.testing.assert_array_equal(there.square, here.square)
    assert (there.width, there.height) == (here.width, here.height) == (40, 30)


def test_an_image_is_refused_with_the_same_reason_sentence_and_limit():
    limits = ImageLimits(max_pixels=100)
    narrow = partial(decode_and_prepare, limits=limits, min_edge=1, prepare=PREPROCESSING.prepare)
    with processes(decode=narrow) as decode:
        with pytest.raises(ImageRejected, match="40 x 30 pixels") as caught:
            decode(SMALL)
        assert (caught.value.reason, caught.value.limit) == (RejectReason.TOO_MANY_PIXELS, 100)
        assert rejected(decode, b"no image") is RejectReason.UNKNOWN_FORMAT


def test_an_image_that_takes_too_much_processor_time_is_refused_and_costs_no_other():
    data = jpeg_with_scans(4096, 400)  # 120 KB; a whole decode takes many seconds
    with processes(WorkLimits(cpu_seconds=0.2)) as decode:
        assert rejected(decode, data) is RejectReason.TOO_COSTLY
        assert decode(SMALL).width == 40


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize("image_format", ["WEBP", "AVIF", "PNG"])
def test_an_image_that_takes_too_much_memory_is_refused_and_costs_no_other(image_format):
    data = encode(Image.new("RGB", (3000, 2000)), image_format, **{"AVIF": {"speed": 10}}.get(image_format, {}))
    with processes(WorkLimits(cpu_seconds=60, memory_bytes=16 << 20)) as decode:
        assert rejected(decode, data) in (RejectReason.TOO_COSTLY, RejectReason.BROKEN)
        assert decode(SMALL).width == 40


def die(how: str, data: bytes, frames: int = 1) -> PreparedImage:
    if data == SMALL:
        return DECODE(data)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)
    raise AssertionError


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGKILL"])
def test_an_image_whose_process_is_ended_may_be_tried_again_and_costs_no_other(how):
    with processes(decode=partial(die, how)) as decode:
        with pytest.raises(EncodingFailed, match="process"):
            decode(b"crash")
        assert decode(SMALL).width == 40


def test_a_process_that_ended_while_idle_is_replaced():
    with processes() as decode:
        decode(SMALL)
        [process] = decode._processes
        process.end()
        assert decode(SMALL).width == 40


def test_each_thread_has_a_process_and_closing_ends_them_all():
    with processes() as decode, ThreadPoolExecutor(3) as threads:
        wide = list(threads.map(decode, [SMALL] * 30))
        assert {image.width for image in wide} == {40}
        decode.close()
        assert not decode._processes


PARENT = """
import sys
from tests.clipcore.test_processes import DECODE, SMALL
from clipcore.images.processes import DecodeProcesses, WorkLimits

if __name__ == "__main__":
    decode = DecodeProcesses(DECODE, WorkLimits())
    decode(SMALL)
    [process] = decode._processes
    print(process._process.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_processes_end_with_the_process_that_started_them(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(timeout=60)


async def test_an_engine_embeds_the_same_in_processes_and_a_costly_image_costs_only_itself():
    load = partial(ClipModel.load, "bundled")
    costly = jpeg_with_scans(4096, 400)
    in_processes, in_threads = ClipEngine(load, work_limits=WorkLimits(cpu_seconds=0.2)), ClipEngine(load)
    uploads = [in_processes.encode_image(data) for data in (SMALL, costly, SMALL, costly)]
    first, refused, second, refused_too = await asyncio.gather(*uploads, return_exceptions=True)
    for outcome in (refused, refused_too):
        assert isinstance(outcome, ImageRejected)
        assert outcome.reason is RejectReason.TOO_COSTLY
    with pytest.raises(ImageRejected):
        await in_processes.encode_image(costly, Lane.INTERACTIVE)
    expected = (await in_threads.encode_image(SMALL)).vector
    for outcome in (first, second, await in_processes.encode_image(SMALL, Lane.INTERACTIVE)):
        np.testing.assert_allclose(outcome.vector, expected, atol=1e-5)
    await in_threads.close()
    await in_processes.close()


def wait_for_ever(data: bytes, frames: int = 1) -> PreparedImage:
    time.sleep(3600)
    raise AssertionError


def test_closing_ends_what_is_being_decoded():
    decode = DecodeProcesses(wait_for_ever, WorkLimits())
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(decode, SMALL)
        while not decode._processes:
            time.sleep(0.01)
        decode.close()
        with pytest.raises(EncodingFailed):
            waiting.result(timeout=60)


def test_a_thumbnail_is_the_middle_square_of_the_image_and_is_made_in_the_process():
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    data = encode(image)
    with processes() as decode:
        thumbnail = decode(data, edge=48)
        again = decode(SMALL)
    assert thumbnail.square.shape == (48, 48, 3)
    assert (thumbnail.width, thumbnail.height) == (300, 100)
    assert (np.abs(thumbnail.square[:, 4:-4].astype(int) - (0, 0, 255)) < 8).all()
    np.testing.assert_array_equal(again.square, DECODE(SMALL).square)
