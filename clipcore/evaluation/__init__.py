"""Measures a model: zero-shot classification, a linear probe on its embeddings, and retrieval in both directions.

Two rules hold throughout. Scores within `TIE` of the right answer's, and NaN, count as better than it, so that neither
equal embeddings nor the rounding of a matrix product flatter a model. And images that cannot be read are reported, and
count neither as right nor as wrong.
"""

from __future__ import annotations

# Float32 cosines of the same unit vectors differ by about 1e-7 between matrix products of different shapes.
TIE = 1e-6
