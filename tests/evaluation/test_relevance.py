"""What a trial contains, and that a standing is measured so that honest queries keep their images."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from clipcore.evaluation.nonsense import ABSTRACT, gibberish
from clipcore.evaluation.relevance import (
    HOPELESS,
    SIZES,
    Asked,
    measure_standing,
    rules,
    setting_that_keeps,
    share_passing,
    trials,
)
from clipcore.relevance import cut
from clipcore.types import Calibration, Vectors

CONCEPTS, IMAGES, DIMENSION = 30, 900, 128


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def asked() -> Asked:
    """Images of thirty things. Nonsense lies near the middle of them all."""
    random = np.random.default_rng(0)
    middle, things = random.normal(size=DIMENSION), random.normal(size=(CONCEPTS, DIMENSION))
    of = np.arange(IMAGES) % CONCEPTS
    images = unit(0.5 * middle + 0.8 * things[of] + 1.6 * random.normal(size=(IMAGES, DIMENSION)))
    shows = np.arange(CONCEPTS)[:, None] == of
    nonsense = unit(middle + 0.7 * random.normal(size=(60, DIMENSION)))
    return Asked(images, unit(things), shows, shows, nonsense, unit(middle)[None])


def test_a_trial_has_as_many_images_as_its_size_and_one_of_them_shows_what_is_there(asked: Asked) -> None:
    found = trials(asked, 24, np.random.default_rng(1))
    assert {trial.population.count for trial in found} == {24}
    assert {trial.kind for trial in found} == {"present", "absent", "mostly", "nonsense"}
    best = {kind: [trial.right for trial in found if trial.kind == kind] for kind in ("present", "absent", "nonsense")}
    assert np.mean(best["present"]) > 0.9
    assert not any(best["absent"] + best["nonsense"])


def test_a_measured_standing_keeps_honest_queries_and_refuses_what_the_flat_threshold_lets_pass(asked: Asked) -> None:
    rng = np.random.default_rng(2)
    found = list(chain.from_iterable(trials(asked, size, rng) for size in SIZES))
    calibration = Calibration(0.4, 1.0, 1.0)
    calibration = replace(calibration, standing=measure_standing(found, calibration.text_threshold))

    def passes(trial):
        return trial.best >= cut(trial.population, calibration)

    assert share_passing(found, ("present",), passes) >= 0.9
    assert share_passing(found, HOPELESS, passes) <= 0.1
    flat = rules(calibration)["flat threshold"]
    setting = setting_that_keeps(found, flat)
    assert share_passing(found, ("nonsense",), lambda trial: flat(trial, setting)) > share_passing(
        found, ("nonsense",), passes
    )


def test_gibberish_is_different_each_time_and_the_same_for_the_same_seed() -> None:
    made = gibberish(200, np.random.default_rng(3))
    assert len({*made, *ABSTRACT}) == 200 + len(ABSTRACT)
    assert made == gibberish(200, np.random.default_rng(3))
