"""How often a rule keeps what was asked for, and how often it says that nothing is like that; and a model's standing.

A trial is one query and one set of images. Of the images that show what is asked for, one is among them (`present`),
none is (`absent`), or half of all are (`mostly`). Nonsense is shown by none. A rule that is compared with others is
first set so that it keeps KEPT of the honest queries of other concepts: what it refuses can be compared then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from clipcore.relevance import Population, cut, population_of
from clipcore.types import Calibration, Standing, Vectors

KEPT = 0.955
"""Share of the honest queries whose best image must pass, with a little to spare beyond 19 of 20."""
HONEST, HOPELESS = ("present", "mostly"), ("absent", "nonsense")
SIZES = (5, 24, 200)
"""Images of the trials that a standing is measured on: a new server, a small one, and a larger one."""

_MOSTLY = 0.5
_STEPS = 200

Matrix = npt.NDArray[np.bool_]
Rule = Callable[["Trial", float], bool]
"""Whether the best image of a trial passes at this setting; the greater the setting, the fewer do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """images, queries: float32 [n, dim], [m, dim]. shows: [m, n], whether an image shows what a query asks for. near:
    the same, and images of which that may be said; they are in no trial as others. nonsense: [k, dim], queries that no
    image answers. null: [j, dim], texts without content, such as "a photo".
    """

    images: Vectors
    queries: Vectors
    shows: Matrix
    near: Matrix
    nonsense: Vectors
    null: Vectors


@dataclass(frozen=True, slots=True)
class Trial:
    """best: the best image's score; population: of all scores. margin: what the best image scores above its best null
    prompt. right: whether the best image shows what was asked for.
    """

    kind: str
    best: float
    population: Population
    margin: float
    right: bool


def trials(asked: Asked, size: int, rng: np.random.Generator, *, most: int = 200) -> list[Trial]:
    """size: images of each trial, or as many as there are. most: queries of each kind."""
    found: list[Trial] = []
    for row in rng.permutation(len(asked.queries))[:most]:
        own, others = np.flatnonzero(asked.shows[row]), np.flatnonzero(~asked.near[row])
        if not len(own) or not len(others):
            continue
        others = rng.permutation(others)
        query, one = asked.queries[row], rng.choice(own)
        found.append(_trial("present", asked, query, np.append(others[: size - 1], one), own))
        found.append(_trial("absent", asked, query, others[:size], own))
        if len(own) >= (many := max(2, round(_MOSTLY * size))):
            some = rng.permutation(own)[:many]
            found.append(_trial("mostly", asked, query, np.concatenate([others[: size - many], some]), own))
    for query in asked.nonsense[rng.permutation(len(asked.nonsense))[:most]]:
        chosen = rng.permutation(len(asked.images))[:size]
        found.append(_trial("nonsense", asked, query, chosen, np.empty(0, np.int64)))
    return found


def _trial(kind: str, asked: Asked, query: Vectors, chosen: npt.NDArray[np.int64], own: npt.NDArray[np.int64]) -> Trial:
    images = asked.images[chosen]
    scores = images @ query
    best = int(scores.argmax())
    population = population_of(scores, len(scores))
    if population is None:
        raise ValueError("a trial needs at least one image")
    margin = float(scores[best] - (asked.null @ images[best]).max())
    return Trial(kind, float(scores[best]), population, margin, bool(np.isin(chosen[best], own)))


def share_passing(found: Sequence[Trial], kinds: Sequence[str], passes: Callable[[Trial], bool]) -> float:
    """NaN where there are no such trials."""
    verdicts = [passes(trial) for trial in found if trial.kind in kinds]
    return float(np.mean(verdicts)) if verdicts else float("nan")


def rules(calibration: Calibration, least_margin: float = -1.0) -> Mapping[str, Rule]:
    """What is compared. least_margin: of standing and margin together."""
    standing = calibration.standing

    def by_standing(trial: Trial, setting: float) -> bool:
        if standing is None:
            return trial.best >= trial.population.centre + setting
        return _answers(trial, calibration.text_threshold, replace(standing, spread=setting))

    return {
        "flat threshold": lambda trial, setting: trial.best >= setting,
        "margin over null prompts": lambda trial, setting: trial.margin >= setting,
        "standing": by_standing,
        "standing and margin": lambda trial, setting: by_standing(trial, setting) and trial.margin >= least_margin,
    }


def setting_that_keeps(found: Sequence[Trial], rule: Rule, share: float = KEPT) -> float:
    """The greatest setting at which this share of the honest queries keep their best image."""
    settings = np.linspace(-1, 1, 2 * _STEPS + 1)
    low, high = 0, len(settings) - 1
    while high - low > 1:
        middle = (low + high) // 2
        passes = partial(_passes, rule, float(settings[middle]))
        keeps = share_passing(found, HONEST[:1], passes) >= share
        low, high = (middle, high) if keeps else (low, middle)
    return float(settings[low])


def _passes(rule: Rule, setting: float, trial: Trial) -> bool:
    return rule(trial, setting)


def measure_standing(found: Sequence[Trial], text_threshold: float, certain: float | None = None) -> Standing:
    """The standing of a model. found: trials of SIZES.

    certain: where it is not given, what one hopeless query in two hundred reaches. doubtful, which decides among few
    images: what KEPT of the honest queries reach. spread: as large as it can be while KEPT of them keep their best
    image among the most images.
    """
    hopeless = [trial.best for trial in found if trial.kind in HOPELESS]
    if certain is None:
        certain = round(max(float(np.quantile(hopeless, 0.995)), text_threshold), 3)
    honest = [trial.best for trial in found if trial.kind in HONEST[:1]]
    doubtful = round(min(float(np.quantile(honest, 1 - KEPT)), text_threshold), 3)
    most = max(trial.population.count for trial in found)
    among_most = [trial for trial in found if trial.population.count == most]

    def by_spread(trial: Trial, setting: float) -> bool:
        return _answers(trial, text_threshold, Standing(setting, -1.0, certain))

    return Standing(round(max(setting_that_keeps(among_most, by_spread), 0.0), 4), doubtful, certain)


def _answers(trial: Trial, text_threshold: float, standing: Standing) -> bool:
    return trial.best >= cut(trial.population, Calibration(text_threshold, 1.0, 1.0, standing))
