"""Encoding on a GPU. Never run on one yet; on a CPU, a quick run shows that the benchmark works."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figures import Against, Curve, Figure, Outcome, Spread
from benchmarks.machine import matrix_rate
from benchmarks.material import ordinary_jpegs, write_vit_b32
from benchmarks.measure import taking_turns
from benchmarks.scale import Scale
from clipcore.engine.engine import ClipEngine
from clipcore.errors import ModelUnavailable
from clipcore.images.decode import ImageLimits, read_image
from clipcore.model import ClipModel
from clipcore.runtime.cores import decode_workers, usable_cores
from clipcore.types import Pixels

NO_GPU = "There is no GPU here; --quick or --device cpu runs this on the CPU, which shows that the benchmark works."
_ON_CPU = "Run on the CPU, so the figure means nothing."


def run(scale: Scale) -> Outcome:
    device = "cuda" if scale.device == "auto" else scale.device
    if device.startswith("cuda") and torch.cuda.is_available():
        return _measured(device, scale, note="")
    if device.startswith("cuda") and not scale.quick:
        return Outcome(skipped=NO_GPU)
    return _without_bars(_measured("cpu", Scale(quick=True, device="cpu"), note=_ON_CPU))


def _without_bars(outcome: Outcome) -> Outcome:
    def bare(figure: Figure) -> Figure:
        return replace(figure, against=tuple(Against(other.name, other.value) for other in figure.against))

    return replace(outcome, figures=[bare(figure) for figure in outcome.figures])


def _measured(device: str, scale: Scale, note: str) -> Outcome:
    with TemporaryDirectory() as directory:
        name = "bundled" if scale.quick else str(write_vit_b32(Path(directory)))
        model = ClipModel.load(name, device=device, precision="bf16", local_only=True)
        models, missing = {"ours": model}, []
        if not scale.quick:
            try:
                models["compiled"] = ClipModel.load(
                    name, device=device, precision="bf16", local_only=True, compile=True
                )
            except ModelUnavailable:
                missing.append("torch.compile")
        best, encoding, curve = _encoding(models, scale, device, note)
        figures = [*encoding, *_files(model, best, scale, note)]
    return Outcome(figures, [curve], missing=missing)


def _tower(model: ClipModel) -> Callable[[torch.Tensor], torch.Tensor]:
    return model.towers.image_features


def _encoding(models: dict[str, ClipModel], scale: Scale, device: str, note: str) -> tuple[Spread, list[Figure], Curve]:
    """Our best rate in images/s, its figures beside the alternatives, and how all of them depend on the batch size."""
    model = models["ours"]
    sizes = (1, 8, 32, 64, 128, 256) if not scale.quick else (1, 4)
    batches = scale.of(40, 4)
    steps: dict[tuple[str, int], Callable[[], object]] = {}
    for size in sizes:
        batch = _squares(size, model)
        for name, one in models.items():
            steps[name, size] = partial(_encode, one, batch, batches)
        steps["bare forward", size] = _bare(model, batch, batches)
    times = taking_turns({f"{name} {size}": step for (name, size), step in steps.items()}, runs=scale.runs)
    rates = {key: times[f"{key[0]} {key[1]}"].rate(batches * key[1]) for key in steps}
    best = {name: max(sizes, key=lambda size: rates[name, size].median) for name, _ in steps}

    flops = _flops(model)
    limit = matrix_rate(torch.bfloat16, device, square=scale.of(8192, 256), runs=scale.runs).median / 1e12
    said = f"batches of {best['ours']}, {flops / 1e9:.2f} GFLOP an image. {note}".strip()
    ours = rates["ours", best["ours"]]
    others = [Against(f"{name}, batches of {best[name]}", rates[name, best[name]].median) for name in best]
    figures = [
        Figure("images", ours, "images/s", tuple(others[1:]), said),
        Figure(
            "arithmetic",
            ours.times(flops / 1e12),
            "TFLOP/s",
            (Against("bf16 matrix product", limit, at_least=0.6),),
            said,
        ),
    ]
    if "compiled" in best:
        against = (Against("bf16 matrix product", limit),)
        figures.append(
            Figure("compiled", rates["compiled", best["compiled"]].times(flops / 1e12), "TFLOP/s", against, note)
        )
    series = {name: tuple(rates[name, size].median for size in sizes) for name in best}
    return ours, figures, Curve("GPU encoding, by batch", "images in a batch", tuple(sizes), "images/s", series)


def _encode(model: ClipModel, batch: Pixels, count: int) -> None:
    for _ in range(count):
        model.encode_prepared(batch)


def _bare(model: ClipModel, batch: Pixels, count: int) -> Callable[[], None]:
    """The tower alone, on pixels that are normalised and on the device already."""
    ready = model.as_input(batch).to(torch.bfloat16)

    def step() -> None:
        with torch.inference_mode():
            for _ in range(count):
                _tower(model)(ready)
            if ready.is_cuda:
                torch.cuda.synchronize(ready.device)

    return step


def _flops(model: ClipModel) -> float:
    """Of one image, as torch counts them: matrix products, convolutions and attention, two for each multiply-add."""
    with FlopCounterMode(display=False) as counter:
        model.encode_prepared(_squares(1, model))
    return float(counter.get_total_flops())


def _squares(count: int, model: ClipModel) -> Pixels:
    edge = model.card.input_size
    return np.random.default_rng(0).integers(0, 256, (count, edge, edge, 3), np.uint8)


def _files(model: ClipModel, device_rate: Spread, scale: Scale, note: str) -> list[Figure]:
    """Nothing where there are no photographs."""
    files = ordinary_jpegs(scale.of(2000, 8))
    if not files:
        return []
    workers = decode_workers(usable_cores(), model_on_cpu=False)
    steps = {
        "pool": lambda: _decoded(model, files, workers),
        "engine": lambda: asyncio.run(_engine(model, files, workers)),
    }
    rates = {name: one.rate(len(files)) for name, one in taking_turns(steps, runs=min(3, scale.runs)).items()}
    pool, engine = rates["pool"], rates["engine"]
    limit = "decoding" if pool.median < device_rate.median else "the device"
    return [
        Figure(
            f"decoding, {workers} threads",
            pool,
            "images/s",
            (Against("what the device takes", device_rate.median, at_most=1.0),),
            f"JPEG files of 640 x 480; {limit} is the bottleneck. {note}".strip(),
        ),
        Figure("files to vectors", engine, "images/s", (Against("decoding alone", pool.median, at_least=0.75),), note),
    ]


def _decoded(model: ClipModel, files: Sequence[bytes], workers: int) -> None:
    limits = ImageLimits()

    def one(data: bytes) -> None:
        read = read_image(data, limits, min_edge=model.card.detail)
        model.prepare(read.pixels, read.box)

    with ThreadPoolExecutor(workers) as pool:
        deque(pool.map(one, files), maxlen=0)


async def _engine(model: ClipModel, files: Sequence[bytes], workers: int) -> None:
    engine = ClipEngine(lambda: model, decode_workers=workers, max_queue=len(files))
    await engine.start()
    await asyncio.gather(*(engine.encode_image(data) for data in files))
    await engine.close()
