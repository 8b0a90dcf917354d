"""What the default model costs beside the one before it: each with its true geometry, random weights, in one run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import process_time

import numpy as np
import torch

from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.material import write_siglip2_b32, write_vit_b32
from benchmarks.measure import Step
from benchmarks.scale import Scale
from clipcore.model import ClipModel

OURS, BEFORE = "SigLIP 2 B/32 at 256", "CLIP ViT-B/32 at 224"
_QUERY = "a cat asleep"  # short, so that the model's query templates are put around it
_BATCH = 16
_ROOT = Path(__file__).parent.parent
# Prints bytes: resident after one image and one query, and at most on the way.
_RESIDENT = """
import json, sys
from pathlib import Path
import numpy as np
from clipcore.model import ClipModel
model = ClipModel.load(sys.argv[1], device="cpu", local_only=True)
edge = model.card.input_size
model.encode_prepared(np.zeros((1, edge, edge, 3), np.uint8)), model.encode_texts(["a cat"])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")]))
"""


def run(scale: Scale) -> Outcome:
    """By torch, on the CPU, in the precision that the bot would choose there."""
    with tempfile.TemporaryDirectory() as folder:
        directories = {
            OURS: write_siglip2_b32(Path(folder) / "siglip2", small=scale.quick),
            BEFORE: write_vit_b32(Path(folder) / "vit_b32"),
        }
        models = {
            name: ClipModel.load(str(directory), device="cpu", local_only=True, backend="torch")
            for name, directory in directories.items()
        }
        figures = [*_images(models, scale), *_query(models, scale)]
        del models
        return Outcome([*figures, *_memory(directories, scale)])


def _images(models: Mapping[str, ClipModel], scale: Scale) -> list[Figure]:
    count = scale.of(_BATCH, 2)
    batches = {name: np.zeros((count, *(2 * (model.card.input_size,)), 3), np.uint8) for name, model in models.items()}
    steps = {name: lambda name=name: models[name].encode_prepared(batches[name]) for name in models}
    times = _core_seconds(steps, 2 * scale.runs)
    note = f"prepared squares, {count} at a time, {models[OURS].dtype}"
    return [_beside("an image", {name: time.times(1000 / count) for name, time in times.items()}, "core ms", note)]


def _query(models: Mapping[str, ClipModel], scale: Scale) -> list[Figure]:
    texts = {name: model.card.prompts.for_query(_QUERY) for name, model in models.items()}
    steps = {name: lambda name=name: models[name].encode_texts(texts[name]) for name in models}
    times = _core_seconds(steps, 2 * scale.runs)
    note = f"{len(texts[OURS])} texts; SigLIP's are always padded to 64 tokens"
    return [_beside("a query in words", {name: time.times(1000) for name, time in times.items()}, "core ms", note)]


def _core_seconds(steps: Mapping[str, Step], runs: int) -> dict[str, Spread]:
    """Of the processor, on one core, which other programs disturb less than the clock: several would count the time in
    which they spin for each other, too. The steps take turns.
    """
    spent: dict[str, list[float]] = {name: [] for name in steps}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(runs + 1):
        for name, step in steps.items():
            began = process_time()
            step()
            spent[name].append(process_time() - began)
    torch.set_num_threads(threads)
    return {name: Spread(tuple(seconds[1:])) for name, seconds in spent.items()}  # the first warms up


def _memory(directories: Mapping[str, Path], scale: Scale) -> list[Figure]:
    told = {name: [_resident(directory) for _ in range(scale.of(3, 1))] for name, directory in directories.items()}
    kinds = ("memory of a process with the model", "most memory while it loads")
    return [
        _beside(kind, {name: Spread(tuple(each[place] for each in told[name])) for name in told}, "bytes")
        for place, kind in enumerate(kinds)
    ]


def _resident(directory: Path) -> list[float]:
    command = [sys.executable, "-c", _RESIDENT, str(directory)]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)  # noqa: S603 - our own code
    told: list[float] = json.loads(done.stdout)
    return told


def _beside(what: str, spreads: Mapping[str, Spread], unit: str, note: str = "") -> Figure:
    return Figure(f"{what}, {OURS}", spreads[OURS], unit, (Against(BEFORE, spreads[BEFORE].median),), note)
