from __future__ import annotations

from dataclasses import replace

import pytest

from clipcore.folder_search.search import LazyModel
from clipcore.model import ClipModel
from tests.clipcore.tiny import write_tiny_clip
from tests.clipcore.tiny_families import write_tiny_siglip
from tests.folder_search.support import CALIBRATION, CountingModel


def test_the_key_and_the_thresholds_are_known_before_the_model_is_loaded(tmp_path):
    """A standing that is derived is not: it takes the logit scale, which is among the weights."""
    for name in ("bundled", str(write_tiny_clip(tmp_path / "tiny"))):
        model = ClipModel.load(name, device="cpu", precision="fp32", local_only=True)
        lazy = LazyModel.named(name, lambda: pytest.fail("loaded"))
        assert lazy.key == model.card.key
        assert lazy.calibration == replace(model.calibration, standing=lazy.calibration.standing)


def test_thresholds_are_those_of_the_loaded_model(tmp_path):
    """SigLIP's lie far below CLIP's, and only its weights tell."""
    directory = str(write_tiny_siglip(tmp_path / "siglip"))
    model = ClipModel.load(directory, device="cpu", precision="fp32", local_only=True)
    lazy = LazyModel.named(directory, lambda: model)
    assert lazy.calibration != model.calibration
    lazy.encode_texts(["red"])
    assert lazy.calibration == model.calibration


def test_a_model_that_is_not_what_was_promised_is_never_used():
    """Its vectors would lie among another's."""
    lazy = LazyModel("promised@1#1", CALIBRATION, CountingModel)
    with pytest.raises(RuntimeError, match="promised@1#1"):
        lazy.encode_texts(["red"])


def test_it_is_loaded_once():
    model = CountingModel()
    lazy = model.lazily()
    lazy.encode_texts(["red"])
    lazy.encode_texts(["blue"])
    assert model.loads == 1
