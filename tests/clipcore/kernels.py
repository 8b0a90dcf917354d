"""What can score rows on this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clipcore.types import Vectors
from clipcore.vector_scores import NumpyScorer, Scorer
from clipcore.vector_torch import TorchScorer

SCORERS: dict[str, Callable[[Vectors], Scorer]] = {"torch": TorchScorer, "numpy": NumpyScorer}
try:
    from clipcore.vector_compiled import CompiledScorer
except ImportError:
    pass
else:
    SCORERS["our own kernels"] = CompiledScorer

needs_compiled = pytest.mark.skipif("our own kernels" not in SCORERS, reason="the kernels in C are not built here")
