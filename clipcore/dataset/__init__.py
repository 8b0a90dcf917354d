"""Pictures with captions, labels or neither, however they lie on a disk."""

from clipcore.dataset.labelled import Labelled as Labelled
from clipcore.dataset.labelled import open_labelled as open_labelled
from clipcore.dataset.layout import Columns as Columns
from clipcore.dataset.opening import open_pairs as open_pairs
from clipcore.dataset.pairs import Pairs as Pairs
from clipcore.dataset.pairs import Problem as Problem
