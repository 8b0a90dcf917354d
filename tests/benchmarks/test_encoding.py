"""The benchmark of encoding, quick, so that it is known to work."""

from __future__ import annotations

import pytest

from benchmarks import encoding
from benchmarks.material import NO_PHOTOS, PHOTOS
from benchmarks.scale import Scale


def test_a_quick_run_sets_the_engine_beside_the_others_and_the_limit() -> None:
    if not PHOTOS.is_dir():
        pytest.skip(NO_PHOTOS)
    outcome = encoding.run(Scale(quick=True))
    assert not outcome.skipped
    engine, *others = outcome.figures
    assert engine.name.startswith("the engine")
    assert engine.value > 0
    names = [each.name for each in engine.against]
    assert names[0].startswith("bare forward pass")
    assert names[-1].startswith("arithmetic limit")
    assert [name for name in names if name.startswith("transformers fp32")]
    cosines = [figure for figure in others if figure.name.startswith("cosine")]
    assert len(cosines) == 2
    assert all(figure.against[0].met(figure.value) for figure in cosines)
    assert len(outcome.curves[0].x) == len(next(iter(outcome.curves[0].series.values())))
