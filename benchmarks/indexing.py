"""How fast files become remembered images: JPEG bytes in, vector, tags and rows committed."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel

from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.indexing_path import IndexingPath, indexing_path
from benchmarks.material import (
    NO_PHOTOS,
    large_jpegs,
    mosaic_jpegs,
    ordinary_jpegs,
    photographs,
    write_vit_b32,
)
from benchmarks.measure import taking_turns
from benchmarks.scale import Scale
from clipcore.engine.engine import ClipEngine
from clipcore.images.decode import read_image
from clipcore.model import ClipModel
from clipcore.models.known_models import BUNDLED_DIRECTORY
from clipcore.types import Pixels

_ENGINE = "the engine, from RGB arrays"
_ORDINARY = "640 x 480"
_REPOSTS = "reposts"
_PLAIN = "one after the other: transformers fp32, one commit an image"
_ENLARGED = "12 megapixels, enlarged from small ones"
_DETAILED = "12 megapixels, a mosaic of small ones"
_LARGE = (_ENLARGED, _DETAILED)
# No multiple of what a decoder shrinks by.
_ODD = (3997, 2995)
_DECIBELS = 45.0
_COSINE = 0.995
_BATCHES_A_TURN = 16


def run(scale: Scale) -> Outcome:
    """Real photographs, and ViT-B/32's geometry with random weights; quick: the bundled model."""
    ordinary = ordinary_jpegs(scale.of(160, 8))
    if not ordinary:
        return Outcome(skipped=NO_PHOTOS)
    large = {_ENLARGED: large_jpegs(scale.of(8, 1)), _DETAILED: mosaic_jpegs(scale.of(8, 1))}
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        directory = BUNDLED_DIRECTORY if scale.quick else write_vit_b32(Path(folder) / "vit_b32")
        model = ClipModel.load(str(directory), device=scale.device, local_only=True, backend="auto")
        engine = ClipEngine(lambda: model)
        rates = runner.run(_rates(engine, Path(folder), directory, ordinary, large, scale))
    return Outcome(figures=[*_speeds(rates), *_decoding(large, model.card.detail, scale), *_accuracy(model, scale)])


async def _rates(
    engine: ClipEngine,
    folder: Path,
    directory: Path,
    ordinary: Sequence[bytes],
    large: dict[str, list[bytes]],
    scale: Scale,
) -> dict[str, Spread]:
    """Images a second of each way, in turns."""
    await engine.start()
    arrays = photographs(len(ordinary))
    few = ordinary[: scale.of(16, 2)]
    many = {name: files * scale.of(4, 1) for name, files in large.items()}
    async with indexing_path(engine, folder) as path:
        await path.index(ordinary)  # from here on these files are reposts
        loop = asyncio.get_running_loop()

        def finish(work: Callable[[], Coroutine[None, None, None]]) -> None:
            asyncio.run_coroutine_threadsafe(work(), loop).result()

        async def through_the_engine() -> None:
            await asyncio.gather(*(engine.encode_pixels(pixels) for pixels in arrays))

        steps = {
            _ENGINE: partial(finish, through_the_engine),
            _ORDINARY: partial(finish, lambda: path.index(path.anew(ordinary))),
            _REPOSTS: partial(finish, lambda: path.index(ordinary)),
            **{name: partial(finish, partial(_index_anew, path, files)) for name, files in many.items()},
            _PLAIN: partial(_one_after_the_other, _PlainPath(directory, folder), few),
        }
        times = await asyncio.to_thread(taking_turns, steps, runs=scale.runs)
    await engine.close()
    counts = {_PLAIN: len(few), **{name: len(files) for name, files in many.items()}}
    return {name: time.rate(counts.get(name, len(ordinary))) for name, time in times.items()}


async def _index_anew(path: IndexingPath, files: Sequence[bytes]) -> None:
    await path.index(path.anew(files))


class _PlainPath:
    """What one would write first."""

    def __init__(self, directory: Path, folder: Path) -> None:
        self._model = CLIPModel.from_pretrained(directory).eval()
        self._processor = CLIPImageProcessorPil.from_pretrained(directory)
        self._database = sqlite3.connect(folder / "plain.sqlite3", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("CREATE TABLE images (id INTEGER PRIMARY KEY, vector BLOB)")

    def index(self, file: bytes) -> None:
        image = Image.open(BytesIO(file)).convert("RGB")
        pixels = self._processor(image, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            features = self._model.get_image_features(pixel_values=pixels)
        vector = getattr(features, "pooler_output", features)
        with self._database:
            self._database.execute("INSERT INTO images (vector) VALUES (?)", [vector.numpy().tobytes()])


def _one_after_the_other(path: _PlainPath, files: Sequence[bytes]) -> None:
    for file in files:
        path.index(file)


def _speeds(rates: dict[str, Spread]) -> list[Figure]:
    engine, ordinary, plain = rates[_ENGINE], rates[_ORDINARY], rates[_PLAIN]
    against = (Against(_ENGINE, engine.median, at_least=0.75), Against(_PLAIN, plain.median))
    each = _milliseconds(ordinary)
    return [
        Figure("whole path, 640 x 480", ordinary, "images/s", against, "JPEG bytes to committed vector and tags"),
        *(
            Figure(
                f"whole path, {name}",
                _milliseconds(rates[name]),
                "ms/image",
                (Against("640 x 480", each.median, at_most=2.0),),
            )
            for name in _LARGE
        ),
        Figure(
            "reposts", rates[_REPOSTS], "images/s", (Against("new images", ordinary.median),), "read, not looked at"
        ),
    ]


def _milliseconds(rate: Spread) -> Spread:
    return Spread(tuple(1000 / run for run in rate.runs))


def _decoding(large: dict[str, list[bytes]], detail: int, scale: Scale) -> list[Figure]:
    """On one thread."""
    figures = []
    for name, files in large.items():
        steps = {
            "shrunk": partial(_decode, files, detail),
            "whole": partial(_decode, files, None),
        }
        times = taking_turns(steps, runs=scale.runs)
        each = {way: time.times(1000 / len(files)) for way, time in times.items()}
        figures.append(
            Figure(f"decoding, {name}", each["shrunk"], "ms/image", (Against("decoded whole", each["whole"].median),))
        )
    return figures


def _decode(files: Sequence[bytes], enough: int | None) -> None:
    for file in files:
        read_image(file, min_edge=enough)


def _accuracy(model: ClipModel, scale: Scale) -> list[Figure]:
    """Of what the model looks at, and of its vectors, against photographs that were decoded whole."""
    count = scale.of(8, 1)
    files = [*large_jpegs(count), *mosaic_jpegs(count), *mosaic_jpegs(scale.of(4, 1), _ODD)]
    figures = []
    for name, looking in (("this model", model), ("the bundled model", ClipModel.load("bundled", device="cpu"))):
        pairs = [_both_ways(looking, file) for file in files]
        decibels = [_decibels(*pair) for pair in pairs]
        whole, shrunk = (_vectors(looking, np.stack([pair[way] for pair in pairs])) for way in (0, 1))
        alike = (whole * shrunk).sum(axis=1)
        figures += [
            Figure(
                f"shrunk against whole, least, {name}",
                Spread((min(decibels),)),
                "dB",
                (Against("the bar", _DECIBELS, at_least=1),),
                f"of {len(files)} photographs of 12 megapixels; median {np.median(decibels):.1f} dB",
            ),
            Figure(
                f"cosine of shrunk and whole, least, {name}",
                Spread((float(alike.min()),)),
                "",
                (Against("the bar", _COSINE, at_least=1),),
                f"mean {alike.mean():.5f}",
            ),
        ]
    return figures


def _both_ways(model: ClipModel, file: bytes) -> tuple[Pixels, Pixels]:
    whole, shrunk = read_image(file), read_image(file, min_edge=model.card.detail)
    return model.prepare(whole.pixels, whole.box), model.prepare(shrunk.pixels, shrunk.box)


def _vectors(model: ClipModel, squares: Pixels) -> np.ndarray:
    parts = [squares[start : start + _BATCHES_A_TURN] for start in range(0, len(squares), _BATCHES_A_TURN)]
    return np.concatenate([model.encode_prepared(part) for part in parts])


def _decibels(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio."""
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / np.maximum(error, 1e-9)))
