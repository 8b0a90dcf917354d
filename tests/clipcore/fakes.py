"""A fake encoder that records its calls, and that a test can block and make fail."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from clipcore.types import Box, Calibration, ModelCard, Pixels, Vectors

CARD = ModelCard(id="fake", revision="1", dimension=4, input_size=2, context_length=16, logit_scale=20.0)
POISON = 213
NOT_A_NUMBER = 214


def square(value: int) -> Pixels:
    """A prepared image that the fake encodes as `value`."""
    return np.full((2, 2, 3), value, np.uint8)


def vector(value: float) -> list[float]:
    """The fake's vector of `square(value)`, or of a text of that many characters."""
    return [value, 1.0, 0.0, 0.0]


class Clock:
    """Seconds that pass only while the fake encoder works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeEncoder:
    """calls: each batch as ("image" or "text", its values), in order.

    Batches block while `gate` is cleared; `busy` is set when one arrives. fits: the largest batch that fits the memory.
    """

    card: ModelCard = CARD
    calibration: Calibration = field(default_factory=lambda: Calibration(0.2, 0.7, 0.2))
    fits: int = 10_000
    seconds_each: float = 0.0
    clock: Clock = field(default_factory=Clock)
    calls: list[tuple[str, list[int]]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)
    threads: set[str] = field(default_factory=set)
    failure: BaseException | None = None
    runs_on_cpu: bool = True

    def __post_init__(self) -> None:
        self.gate.set()

    def hold(self) -> None:
        self.busy.clear()
        self.gate.clear()

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        return pixels[:2, :2]

    def encode_prepared(self, batch: Pixels) -> Vectors:
        return self._encode("image", batch[:, 0, 0, 0].tolist())

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._encode("text", [len(text) for text in texts])

    def batches(self, kind: str = "image") -> list[list[int]]:
        return [values for called, values in self.calls if called == kind]

    def _encode(self, kind: str, values: list[int]) -> Vectors:
        self.threads.add(threading.current_thread().name)
        self.calls.append((kind, values))
        self.busy.set()
        if not self.gate.wait(timeout=30):
            raise AssertionError("the test did not set the gate")
        self.clock.now += self.seconds_each * len(values)
        if len(values) > self.fits:
            raise MemoryError
        if POISON in values:
            raise self.failure or ValueError("poison")
        rows = np.array([vector(value) for value in values], np.float32)
        rows[np.array(values) == NOT_A_NUMBER] = np.nan
        return rows
