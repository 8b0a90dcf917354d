"""How fast images, and a query's words, become vectors on a CPU."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import encoders
from benchmarks.encoders import BATCH, Step
from benchmarks.figures import Against, Curve, Figure, Outcome, Spread
from benchmarks.machine import matrix_rate
from benchmarks.material import NO_PHOTOS, photographs, write_vit_b32
from benchmarks.measure import spread, taking_turns
from benchmarks.scale import Scale
from clipcore.engine.engine import ClipEngine
from clipcore.errors import ModelUnavailable
from clipcore.model import ClipModel
from clipcore.models.known_models import BUNDLED_DIRECTORY
from clipcore.types import Pixels

_ENGINE = "the engine, from RGB arrays"
_ENGINE_READY = "the engine, from RGB arrays of the model's size"
_QUERY = "a cat asleep on the sofa"
_SIZES = (1, 2, 4, 8, 11, 16, 32)
# Batches grow from one at each start, so an engine gets several times the images of the others.
_ENGINES_SHARE = 4


def run(scale: Scale) -> Outcome:
    """Real photographs of 640 x 480 pixels, and ViT-B/32's geometry with random weights; quick: the bundled model."""
    images = photographs(scale.of(BATCH, 4))
    if not images:
        return Outcome(skipped=NO_PHOTOS)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        directory = BUNDLED_DIRECTORY if scale.quick else write_vit_b32(Path(folder) / "vit_b32")
        models = _Models.load(directory)
        engine = ClipEngine(lambda: models.ours)
        runner.run(engine.start())
        try:
            return _measured(models, engine, runner, images, Path(folder), scale)
        finally:
            runner.run(engine.close())


@dataclass(frozen=True, slots=True)
class _Models:
    """One set of weights. ours: as the bot loads it; rounded: by torch in the same precision; exact: in fp32."""

    directory: str
    ours: ClipModel
    rounded: ClipModel
    exact: ClipModel
    by_openvino: bool

    @classmethod
    def load(cls, directory: Path) -> _Models:
        name = str(directory)
        rounded = ClipModel.load(name, device="cpu", local_only=True)
        exact = ClipModel.load(name, device="cpu", precision="fp32", local_only=True)
        try:
            ours = ClipModel.load(name, device="cpu", local_only=True, backend="openvino")
        except ModelUnavailable:
            return cls(name, rounded, rounded, exact, by_openvino=False)
        return cls(name, ours, rounded, exact, by_openvino=True)

    @property
    def precision(self) -> str:
        return {"bfloat16": "bf16", "float32": "fp32"}[self.rounded.dtype]


def _measured(
    models: _Models,
    engine: ClipEngine,
    runner: asyncio.Runner,
    images: Sequence[Pixels],
    folder: Path,
    scale: Scale,
) -> Outcome:
    squares = encoders.squares(models.ours, images)
    forwards = _forwards(models, squares, folder, quick=scale.quick)
    loops = _loops(models, images)

    async def through_the_engine(some: Sequence[Pixels]) -> None:
        await asyncio.gather(*(engine.encode_pixels(pixels) for pixels in [*some] * _ENGINES_SHARE))

    engines: dict[str, Step | None] = {
        _ENGINE: lambda: runner.run(through_the_engine(images)),
        _ENGINE_READY: lambda: runner.run(through_the_engine(list(squares))),
    }
    steps = {**engines, **forwards, **loops}
    times = taking_turns({name: step for name, step in steps.items() if step}, runs=scale.runs)
    rates = {name: time.rate(len(images) * (_ENGINES_SHARE if name in engines else 1)) for name, time in times.items()}
    bare, usual = ({name: rates[name] for name in group if name in rates} for group in (forwards, loops))
    limit = matrix_rate(getattr(torch, models.rounded.dtype)).median / _operations(models.rounded)
    return Outcome(
        figures=[
            *_engine_figures(rates, bare, usual, limit, models.precision),
            *(_bare_figure(name, rate, limit, models.precision) for name, rate in bare.items()),
            *_accuracy(models, images),
            _query_figure(engine, runner, scale),
        ],
        curves=[_by_batch_size(models, squares, scale)],
        missing=[name for name, step in steps.items() if step is None],
    )


def _forwards(models: _Models, squares: Pixels, folder: Path, *, quick: bool) -> dict[str, Step | None]:
    """Bare: what is ready goes in, batches of as many as there are. By name and precision; None where it cannot be,
    or would take longer than a quick run should."""
    same = models.precision
    return {
        f"OpenVINO {same}": encoders.model_forward(models.ours, squares) if models.by_openvino else None,
        f"torch {same}": encoders.model_forward(models.rounded, squares),
        f"torch {same}, the whole last layer": encoders.torch_forward(models.rounded, squares),
        f"torch.compile {same}": None if quick else encoders.compiled_forward(models.directory, squares),
        "torch fp32, the whole last layer": encoders.torch_forward(models.exact, squares),
        "ONNX Runtime fp32": None if quick else encoders.onnx_forward(models.exact, squares, folder),
    }


def _loops(models: _Models, images: Sequence[Pixels]) -> dict[str, Step | None]:
    """What people write with other libraries, from the same RGB arrays."""
    return {
        f"transformers fp32, batches of {BATCH}": encoders.transformers_loop(models.directory, images, BATCH),
        "transformers fp32, one by one": encoders.transformers_loop(models.directory, images, 1),
        "sentence-transformers' encode": encoders.sentence_transformers_loop(models.directory, images),
    }


def _engine_figures(
    rates: Mapping[str, Spread], bare: Mapping[str, Spread], usual: Mapping[str, Spread], limit: float, precision: str
) -> list[Figure]:
    same = {name: rate.median for name, rate in bare.items() if precision in name}
    fastest = max(same, key=lambda name: same[name])
    forward = Against(f"bare forward pass, {fastest}", same[fastest], at_least=0.9)
    loops = [Against(name, rate.median, at_least=3) for name, rate in usual.items()]
    best = limit / max(rate.median for rate in usual.values())
    note = f"resizing included; the arithmetic limit is {best:.2f} times the quickest of the usual loops"
    arithmetic = Against(f"arithmetic limit, {precision}", limit)
    return [
        Figure(_ENGINE, rates[_ENGINE], "images/s", (forward, *loops, arithmetic), note),
        Figure(_ENGINE_READY, rates[_ENGINE_READY], "images/s", (forward,), "what resizing leaves of the machine"),
    ]


def _bare_figure(name: str, rate: Spread, limit: float, precision: str) -> Figure:
    against = (Against(f"arithmetic limit, {precision}", limit),) if precision in name else ()
    return Figure(f"bare: {name}", rate, "images/s", against, note=f"what is ready goes in, {BATCH} at a time")


def _query_figure(engine: ClipEngine, runner: asyncio.Runner, scale: Scale) -> Figure:
    times = spread(lambda: runner.run(engine.encode_query(_QUERY)), runs=3 * scale.runs, warm=3)
    count = len(engine.card.prompts.for_query(_QUERY))
    return Figure(f"a query in words, {count} texts", times.times(1000), "ms")


def _accuracy(models: _Models, images: Sequence[Pixels]) -> list[Figure]:
    trained = _Models.load(BUNDLED_DIRECTORY)
    return [
        _cosine("cosine to fp32, random weights", models, images),
        _cosine("cosine to fp32, the bundled model", trained, images),
    ]


def _cosine(name: str, models: _Models, images: Sequence[Pixels]) -> Figure:
    """The least over real photographs, against the whole tower of torch in fp32."""
    squares = encoders.squares(models.exact, images)
    with torch.inference_mode():
        features = models.exact.towers.image_features(models.exact.as_input(squares))
        expected = torch.nn.functional.normalize(features, dim=-1).numpy()
    cosines = (models.ours.encode_prepared(squares) * expected).sum(axis=1)
    note = f"the least over {len(cosines)} photographs; their mean is {cosines.mean():.6f}"
    return Figure(name, Spread((float(cosines.min()),)), "", (Against("the same", 1.0, at_least=0.999),), note=note)


def _by_batch_size(models: _Models, squares: Pixels, scale: Scale) -> Curve:
    """A query may wait for a batch under way, so batches are no larger than they need be."""
    sizes = [size for size in _SIZES if size <= len(squares)]
    rates: dict[str, list[float]] = {}
    for size in sizes:
        batch = squares[:size]
        steps = {f"torch {models.precision}": encoders.model_forward(models.rounded, batch)}
        if models.by_openvino:
            steps[f"OpenVINO {models.precision}"] = encoders.model_forward(models.ours, batch)
        for name, time in taking_turns(steps, runs=scale.runs).items():
            rates.setdefault(name, []).append(time.rate(size).median)
    return Curve(
        "Images a second by batch size",
        "images in a batch",
        tuple(map(float, sizes)),
        "images a second",
        {name: tuple(values) for name, values in rates.items()},
    )


def _operations(model: ClipModel) -> float:
    """Floating point operations that one image's matrix products and convolutions take."""
    edge = model.card.input_size
    with FlopCounterMode(display=False) as counter:
        model.encode_prepared(np.zeros((1, edge, edge, 3), np.uint8))
    return float(counter.get_total_flops())
