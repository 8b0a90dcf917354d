"""Data sets on disk: images with captions, with classes, or without either."""

from __future__ import annotations

from clipcore.datasets.captions import open_pairs as open_pairs
from clipcore.datasets.labelled import Labelled as Labelled
from clipcore.datasets.labelled import open_labelled as open_labelled
from clipcore.datasets.pairs import Pairs as Pairs
from clipcore.datasets.tables import Columns as Columns
from clipcore.encoding.batch import Problem as Problem
