from __future__ import annotations

from benchmarks.scale import Scale
from benchmarks.search import run


def test_search_is_measured_against_memory_and_the_curve_has_its_limit():
    outcome = run(Scale(quick=True, device="cpu"))
    names = [figure.name for figure in outcome.figures]
    assert any("channels of one size" in name for name in names)
    assert any("resident bytes" in name for name in names)
    assert all(figure.value > 0 for figure in outcome.figures)
    (curve,) = outcome.curves
    assert set(curve.series) == {"search", "reading as many bytes"}
    assert all(len(values) == len(curve.x) for values in curve.series.values())
