"""`python -m benchmarks --quick` runs, and writes figures and plots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.__main__ import NAMES, run


def invoke(*arguments: str) -> int:
    app = typer.Typer()
    app.command()(run)
    return CliRunner().invoke(app, arguments).exit_code


@pytest.mark.parametrize("name", ["search", "store", "find", "gpu"])  # the others take longer, or need photographs
def test_a_benchmark_runs_and_writes_its_figures(name: str, tmp_path: Path) -> None:
    assert invoke(name, "--quick", "--device", "cpu", "--out", str(tmp_path)) == 0
    figures = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["figures"]
    assert figures
    assert all(run > 0 for figure in figures for run in figure["runs"])
    plots = [path.read_bytes()[:4] for path in tmp_path.glob("*.png")]
    assert plots == ([b"\x89PNG"] if name in ("search", "gpu") else [])


def test_an_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    assert "nonsense" not in NAMES
    assert invoke("nonsense", "--out", str(tmp_path)) != 0
    assert list(tmp_path.iterdir()) == []
