"""What this machine is, and how fast it can be at best: the limits that figures are held against."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.figures import Spread
from benchmarks.measure import Step, spread
from clipcore.runtime.cores import usable_cores

_PACKAGES = ("torch", "transformers", "numpy", "pillow", "sqlalchemy", "openvino", "onnxruntime", "faiss-cpu")
_SQUARE = 2048


def describe() -> dict[str, object]:
    """Plain data for a report's head. Nothing in it names the machine."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def reading(count: int) -> Step:
    """Reads this many bytes from memory with all cores: the sum of a vector."""
    values = torch.ones(max(1, count // 4), dtype=torch.float32)
    return lambda: values.sum()


def matrix_rate(dtype: torch.dtype, device: str = "cpu", *, square: int = _SQUARE, runs: int = 5) -> Spread:
    """Floating point operations a second of a large square matrix product."""
    left, right = (torch.randn(square, square, device=device).to(dtype) for _ in range(2))
    return spread(lambda: _wait(left @ right), runs=runs, warm=2).rate(2 * square**3)


def _wait(result: torch.Tensor) -> None:
    if result.is_cuda:
        torch.cuda.synchronize()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = {line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line}
        flags = {
            flag
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("flags")
            for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
            if f" {flag}" in line
        }
        return " ".join([*sorted(names), *sorted(flags)])
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
