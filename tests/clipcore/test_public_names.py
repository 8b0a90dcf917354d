from __future__ import annotations

import pytest

import clipcore


@pytest.mark.parametrize("name", clipcore.__all__)
def test_every_public_name_is_there(name):
    assert getattr(clipcore, name).__name__ == name


def test_other_names_are_missing_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = clipcore.nonsense
