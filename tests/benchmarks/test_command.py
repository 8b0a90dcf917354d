"""`python -m benchmarks`: what is measured is on the disk before the next benchmark begins."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.__main__ import run
from benchmarks.figures import Figure, Outcome, Spread
from benchmarks.scale import Scale


def finished(scale: Scale) -> Outcome:
    return Outcome([Figure("walking", Spread((1.0,)), "s")])


def interrupted(scale: Scale) -> Outcome:
    raise KeyboardInterrupt


def test_an_interrupted_run_keeps_what_was_measured_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, measure in (("store", finished), ("find", interrupted)):
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", SimpleNamespace(run=measure))
    app = typer.Typer()
    app.command()(run)
    result = CliRunner().invoke(app, ["store", "find", "--out", str(tmp_path)])
    assert result.exit_code != 0
    assert json.loads((tmp_path / "store.json").read_text())["figures"][0]["name"] == "walking"
    assert not (tmp_path / "find.json").exists()
