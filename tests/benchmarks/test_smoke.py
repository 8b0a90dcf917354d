"""`python -m benchmarks --quick` runs, and writes figures and plots."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from benchmarks.__main__ import NAMES, run


def invoke(*arguments: str) -> int:
    app = typer.Typer()
    app.command()(run)
    return CliRunner().invoke(app, arguments).exit_code


@pytest.mark.parametrize(
    "name", ["search", "store", "find", "gpu", "relevance"]
)  # the others take longer, or need photographs
def test_a_benchmark_runs_and_writes_its_figures(name: str, tmp_path: Path) -> None:
    assert invoke(name, "--quick", "--device", "cpu", "--out", str(tmp_path)) == 0
    figures = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["figures"]
    assert figures
    assert all(run > 0 for figure in figures for run in figure["runs"])
    plots = [path.read_bytes()[:4] for path in tmp_path.glob("*.png")]
    assert plots == ([b"\x89PNG"] if name in ("search", "gpu") else [])


def test_relevance_is_measured_on_a_labelled_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("red", "green", "blue", "gray"):
        (tmp_path / "gallery" / kind).mkdir(parents=True)
        for at in range(4):
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "gallery" / kind / f"{at}.png")
    assert invoke("relevance", "--quick", "--gallery", str(tmp_path / "gallery"), "--out", str(tmp_path)) == 0
    figures = json.loads((tmp_path / "relevance.json").read_text("utf-8"))["figures"]
    assert any(figure["name"].startswith("5 images: refused, nonsense") for figure in figures)


def test_an_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    assert "nonsense" not in NAMES
    assert invoke("nonsense", "--out", str(tmp_path)) != 0
    assert list(tmp_path.iterdir()) == []
