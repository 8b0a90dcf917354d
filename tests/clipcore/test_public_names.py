from __future__ import annotations

import pytest

import clipcore


@pytest.mark.parametrize("name", clipcore.__all__)
def test_every_public_name_is_there(name):
    assert getattr(clipcore, name).__name__ == name


def test_other_names_are_missing_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = clipcore.nonsense


def test_tab_completion_shows_the_public_names_and_nothing_else():
    assert dir(clipcore) == clipcore.__all__
    assert {"ClipError", "ImageRejected", "classify", "load", "tokenize", "available_models"} <= set(dir(clipcore))


def test_a_name_is_looked_up_once():
    assert clipcore.Label is vars(clipcore)["Label"]
