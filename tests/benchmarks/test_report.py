"""What a benchmark found, as it is shown and kept."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.figures import Against, Curve, Figure, Outcome, Spread
from benchmarks.measure import percentile, taking_turns
from benchmarks.show import draw_curves, print_table, write_json

FOUND = Figure(
    "engine",
    Spread((40.0, 44.0, 42.0)),
    "images/s",
    (Against("bare forward", 45.0, at_least=0.9), Against("transformers", 20.0, at_least=3.0), Against("other", 21.0)),
    note="batches of 16",
)
CURVE = Curve("Search, by images", "images", (1.0, 10.0), "seconds", {"ours": (0.1, 1.0)})
REPORT = {"encoding": Outcome([FOUND], [CURVE], missing=["faiss"]), "gpu": Outcome(skipped="There is no GPU.")}


def printed() -> str:
    console = Console(file=io.StringIO(), width=200)
    print_table(REPORT, console)
    return console.file.getvalue()


def test_a_figure_is_the_median_of_its_runs() -> None:
    assert FOUND.value == 42.0


def test_a_bar_that_is_met_and_one_that_is_missed_are_both_said() -> None:
    lines = printed().splitlines()
    assert any("bare forward: 45" in line and "0.93" in line and "≥ 0.9 met" in line for line in lines)
    assert any("transformers: 20" in line and "2.10" in line and "≥ 3 MISSED" in line for line in lines)


def test_what_has_no_bar_is_only_compared() -> None:
    [line] = [line for line in printed().splitlines() if "other: 21" in line]
    assert "met" not in line
    assert "MISSED" not in line


def test_what_was_skipped_and_what_was_missing_is_said() -> None:
    assert "There is no GPU." in printed()
    assert "faiss" in printed()


def test_its_file_keeps_every_run_and_every_ratio(tmp_path) -> None:
    encoding, gpu = (json.loads(path.read_text()) for path in write_json(REPORT, {"cores": 2}, tmp_path))
    [figure] = encoding["figures"]
    assert figure["runs"] == [40.0, 44.0, 42.0]
    assert [other["met"] for other in figure["against"]] == [True, False, None]
    assert gpu == {"machine": {"cores": 2}, "skipped": "There is no GPU."}


def test_a_curve_becomes_a_plot(tmp_path) -> None:
    [path] = draw_curves(REPORT, tmp_path)
    assert path.name == "search-by-images.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_candidates_take_turns_so_that_a_slow_moment_falls_on_all() -> None:
    order: list[str] = []
    spreads = taking_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, runs=2, warm=1)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert [len(spread.runs) for spread in spreads.values()] == [2, 2]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4)])
def test_a_percentile_is_one_of_the_values(share, expected) -> None:
    assert percentile([4, 2, 1, 3], share) == expected
