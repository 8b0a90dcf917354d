"""From which score on an image answers a query: how far the score stands above those of the other images.

A threshold alone does not tell words without sense from words with it: to "qwertz" all images score higher than to
"cat", and with another model all scores differ. But an exact search compares the query with every image that
may be searched, and nearly all of them show something else: what is ordinary for this query can be seen in its own
scores. docs/decisions.md compares the rules that were tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from clipcore.types import Calibration, SearchHit

# Rows that a population is estimated from: a median of 4,096 is off by 0.02 standard deviations.
_SAMPLE = 4096
# How often the best of so many images without what was asked for passes, where their scores are distributed normally.
_FOOLED = 0.1
# With this many images the threshold and the standing decide as much as each other.
_EVEN_COUNT = 8
_NORMAL = NormalDist()
_ONE_BELOW = _NORMAL.cdf(-1)


@dataclass(frozen=True, slots=True)
class Population:
    """How a query scores over all images that may be searched for it, and over no others.

    count: of images. centre: the median. spread: from there down to the 16th percentile, the standard deviation where
    scores are distributed normally. Neither moves much for those images that show what was asked for, unless they are
    the majority.
    """

    count: int
    centre: float
    spread: float


@dataclass(frozen=True, slots=True)
class Scored:
    """What a search found. hits: best first. population: None where nothing was searched."""

    hits: list[SearchHit]
    population: Population | None


def population_of(scores: npt.NDArray[np.floating], count: int) -> Population | None:
    """scores: of any shape; -inf where there is no image. count: how many images there are.

    Of twice _SAMPLE scores or more a sample is looked at, the same for the same array.
    """
    if count < 1:
        return None
    # An odd step, since rows are stored by fours and the last of four is the most often missing.
    sample = scores.reshape(-1)[:: max(1, count // _SAMPLE) | 1]
    if not (sample > -inf).any():
        sample = scores
    low, centre = np.quantile(sample[sample > -inf], (_ONE_BELOW, 0.5))
    return Population(count, float(centre), float(centre - low))


def cut(population: Population | None, calibration: Calibration) -> float:
    """The least score of a text query and an image that answers it.

    Among many images that is as far above the centre of the population as the best of so many that show something else
    seldom gets; of few images, whose centre says little, the model's threshold. It lies between the two bounds of the
    calibration, whatever the population: where most images show what is asked for, as in a channel of cats, none stands
    out.
    """
    standing = calibration.standing
    if population is None or standing is None:
        return calibration.text_threshold
    spread = population.spread if standing.spread is None else standing.spread
    standing_cut = population.centre + spread * _NORMAL.inv_cdf(1 - _FOOLED / population.count)
    share = population.count / (population.count + _EVEN_COUNT)
    between = share * standing_cut + (1 - share) * calibration.text_threshold
    return min(max(between, standing.doubtful), standing.certain)
