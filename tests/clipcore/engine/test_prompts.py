"""The prompts of labels: encoded beside everything else, in full batches, and kept for the next start."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipcore.engine.engine import ClipEngine
from clipcore.errors import EncodingFailed
from clipcore.types import Label, Lane, ModelCard, Vectors
from tests.clipcore.engine.support import until
from tests.clipcore.fakes import CARD, POISON, FakeEncoder
from tests.clipcore.images import png

BACKGROUND = len(CARD.prompts.background)
EACH = len(CARD.prompts.label)
MANY = tuple(Label(f"label {number}") for number in range(1000))
PROMPTS = len(MANY) * EACH + BACKGROUND
IMAGE_BYTES = png("red", 8, 6)


class SteadyEncoder(FakeEncoder):
    """Takes longer for a batch of texts than the event loop does to answer and to queue the next ones."""

    def __init__(self, **changes: object) -> None:
        super().__init__(**changes)
        self.left = PROMPTS
        self.waiting: Callable[[], int]

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.left -= len(texts)
        give_up = time.monotonic() + 60
        while self.waiting() < min(128, self.left):
            assert time.monotonic() < give_up, "too few texts are queued"
            time.sleep(0.001)
        return super().encode_texts(texts)


@pytest.fixture
def encoder() -> SteadyEncoder:
    return SteadyEncoder()


@pytest.fixture
async def engine(encoder: SteadyEncoder) -> AsyncIterator[ClipEngine]:
    engine = ClipEngine(lambda: encoder, query_budget_ms=1e9)  # no batch is too slow, however busy the machine
    encoder.waiting = lambda: engine.executor.waiting(Lane.BACKGROUND)
    await engine.start()
    yield engine
    encoder.gate.set()
    await engine.close()


async def test_prompts_are_encoded_in_full_batches(engine: ClipEngine, encoder: SteadyEncoder) -> None:
    await engine.classifier(MANY)
    sizes = [len(batch) for batch in encoder.batches("text")]
    grown = [1, 2, 4, 8, 16, 32]
    full, rest = divmod(PROMPTS - sum(grown), 64)
    assert sizes == [*grown, *[64] * full, rest]


async def encoding(engine: ClipEngine, encoder: FakeEncoder, labels: Sequence[Label]) -> asyncio.Task:
    """The labels, with a batch of their prompts held on the device and all that may wait behind it."""
    encoder.hold()
    task = asyncio.create_task(engine.classifier(labels))
    assert await asyncio.to_thread(encoder.busy.wait, 60)
    await until(lambda: engine.executor.waiting(Lane.BACKGROUND) == 191)
    return task


async def test_an_image_waits_for_one_batch_of_a_large_label_set() -> None:
    encoder = FakeEncoder()
    engine = ClipEngine(lambda: encoder)
    labels = await encoding(engine, encoder, MANY)
    image = asyncio.create_task(engine.encode_image(IMAGE_BYTES))
    await until(lambda: engine.executor.waiting(Lane.BACKGROUND) == 192)
    encoder.gate.set()
    await image
    assert not labels.done()
    assert [kind for kind, _ in encoder.calls[:2]] == ["text", "image"]
    await labels
    await engine.close()


async def test_a_query_goes_before_prompts_and_images() -> None:
    encoder = FakeEncoder()
    engine = ClipEngine(lambda: encoder)
    labels = await encoding(engine, encoder, MANY)
    image = asyncio.create_task(engine.encode_image(IMAGE_BYTES))
    await until(lambda: engine.executor.waiting(Lane.BACKGROUND) == 192)
    query = asyncio.create_task(engine.encode_texts(["?"]))
    await until(lambda: engine.executor.waiting(Lane.INTERACTIVE) == 1)
    encoder.gate.set()
    await query
    assert encoder.calls[1] == ("text", [1])
    await asyncio.gather(image, labels)
    await engine.close()


async def test_a_small_label_set_does_not_wait_for_the_end_of_a_large_one(
    engine: ClipEngine, encoder: SteadyEncoder
) -> None:
    encoder.left = 10**6  # batches need not be full here
    encoder.waiting = lambda: 128
    large = await encoding(engine, encoder, MANY)
    small = asyncio.create_task(engine.classifier([Label("one")]))
    await asyncio.sleep(0)
    encoder.gate.set()
    await small
    assert not large.done()
    large.cancel()


async def test_many_label_sets_at_a_time_never_fill_the_queue() -> None:
    encoder = FakeEncoder()
    engine = ClipEngine(lambda: encoder, max_queue=100)
    sets = [[Label(f"{guild} {number}") for number in range(30)] for guild in range(30)]
    await asyncio.gather(*map(engine.classifier, sets))
    assert engine.prompts_kept == 30 * (30 * EACH) + BACKGROUND
    await engine.close()


async def test_a_prompt_that_fails_costs_no_other_ones_vector() -> None:
    encoder = FakeEncoder()
    engine = ClipEngine(lambda: encoder)
    labels = [Label("cat"), Label("x" * (POISON - len("a photo of .")))]
    for _ in range(2):
        with pytest.raises(EncodingFailed):
            await engine.classifier(labels)
    encoded = engine.prompts_encoded
    await engine.classifier(labels[:1])
    assert engine.prompts_encoded == encoded
    await engine.close()


class Starts:
    """Engines that are started one after the other and share a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def __call__(self, labels: Sequence[Label] = MANY[:30], card: ModelCard = CARD) -> tuple[int, Vectors]:
        """How many prompts were encoded, and the classifier's vectors."""
        engine = ClipEngine(lambda: FakeEncoder(card=card), prompt_folder=self.folder)
        classifier = await engine.classifier(labels, keep=True)
        await engine.close()
        return engine.prompts_encoded, classifier.vectors

    @property
    def file(self) -> Path:
        [path] = self.folder.iterdir()
        return path


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    return Starts(tmp_path / "cache" / "magpie")


async def test_a_second_start_encodes_no_prompt_and_has_the_same_vectors(starts: Starts) -> None:
    encoded, vectors = await starts()
    assert encoded == 30 * EACH + BACKGROUND
    again, kept = await starts()
    assert again == 0
    assert np.array_equal(vectors, kept)


async def test_only_the_user_may_read_what_is_kept(starts: Starts) -> None:
    await starts()
    assert starts.folder.stat().st_mode & 0o777 == 0o700
    assert starts.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "card",
    [
        replace(CARD, id="other"),
        replace(CARD, revision="2"),
        replace(CARD, preprocessing="2"),
        replace(CARD, prompts=replace(CARD.prompts, background=("nothing",))),
    ],
    ids=["model", "revision", "preprocessing", "prompts"],
)
async def test_another_models_vectors_are_not_used(starts: Starts, card: ModelCard) -> None:
    await starts()
    assert (await starts(card=card))[0] > 0
    assert [(await starts())[0], (await starts(card=card))[0]] == [0, 0], "each has a file of its own"


async def test_other_labels_vectors_are_not_used(starts: Starts) -> None:
    await starts()
    assert (await starts(MANY[:31]))[0] == 31 * EACH + BACKGROUND


async def test_labels_that_are_not_to_be_kept_leave_no_file(tmp_path: Path) -> None:
    engine = ClipEngine(FakeEncoder, prompt_folder=tmp_path)
    await engine.classifier(MANY[:3])
    await engine.close()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - blocking is no matter here


def flipped(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    "damage", [flipped, lambda data: data[:-4], lambda data: b"", lambda data: b"{}" * 1000, lambda data: data + b"\0"]
)
async def test_a_damaged_file_costs_a_computation_and_is_replaced(
    starts: Starts, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    _, vectors = await starts()
    starts.file.write_bytes(damage(starts.file.read_bytes()))
    encoded, computed = await starts()
    assert encoded == 30 * EACH + BACKGROUND
    assert np.array_equal(computed, vectors)
    assert "computed again" in caplog.text
    assert (await starts())[0] == 0


async def test_a_pipe_in_the_files_place_holds_nothing_up(starts: Starts) -> None:
    await starts()
    path = starts.file
    path.unlink()
    os.mkfifo(path)
    assert (await asyncio.wait_for(starts(), 60))[0] > 0


async def test_a_folder_that_cannot_be_written_costs_the_file_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "magpie").write_text("no folder")
    assert (await Starts(tmp_path / "magpie")())[0] > 0
    assert "not kept" in caplog.text
