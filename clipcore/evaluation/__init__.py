"""How well a model does: zero-shot classification, retrieval both ways, and a linear probe on its features.

Two rules hold throughout. Scores within `TIE` of the right answer's count as better than it, so that neither equal
vectors nor the rounding of a matrix product can flatter a model; a score that is no number counts so too. And what
could not be read takes no part: it is neither a hit nor a miss, and is named instead.
"""

from __future__ import annotations

# Cosines of unit vectors in float32 differ by some 1e-7 with the shape of the product that they come from.
TIE = 1e-6
