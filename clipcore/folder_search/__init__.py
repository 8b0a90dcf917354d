"""Search over folder trees: one SQLite file remembers what every image looks like. Loads no torch by itself."""

from __future__ import annotations
