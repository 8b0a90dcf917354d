from __future__ import annotations

import pytest

from benchmarks import indexing
from benchmarks.material import NO_PHOTOS, PHOTOS
from benchmarks.scale import Scale


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=NO_PHOTOS)
def test_the_indexing_path_is_measured_and_shrinking_keeps_what_the_model_sees():
    figures = {figure.name: figure for figure in indexing.run(Scale(quick=True, device="cpu")).figures}
    assert figures["whole path, 640 x 480"].value > 0
    for name in ("this model", "the bundled model"):
        assert figures[f"shrunk against whole, least, {name}"].value > 45
        assert figures[f"cosine of shrunk and whole, least, {name}"].value > 0.995
