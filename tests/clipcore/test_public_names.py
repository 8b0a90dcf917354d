from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import clipcore

LIGHT = [
    "clipcore",
    "clipcore.engine.engine",
    "clipcore.images.decode",
    "clipcore.index",
    "clipcore.zero_shot",
    "clipcore.models.catalogue",
    "clipcore.models.checkpoint",
]


def test_importing_the_library_loads_neither_torch_nor_transformers():
    heavy = {"torch", "transformers", "huggingface_hub"}
    program = f"import sys, {', '.join(LIGHT)}\nprint({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", clipcore.__all__)
def test_every_public_name_is_there(name):
    assert getattr(clipcore, name).__name__ == name


def test_other_names_are_missing_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = clipcore.nonsense
