"""Images with captions, labels or neither, however they lie on a disk."""

from __future__ import annotations

from clipcore.datasets.labelled import Labelled as Labelled
from clipcore.datasets.labelled import open_labelled as open_labelled
from clipcore.datasets.opening import open_pairs as open_pairs
from clipcore.datasets.pairs import Pairs as Pairs
from clipcore.datasets.pairs import Problem as Problem
from clipcore.datasets.tables import Columns as Columns
