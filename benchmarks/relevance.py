"""How often `/find` says that nothing is like that when nothing is, and how often it keeps what was asked for.

Emoji scenes and the bundled model; with `--weights` another model, and with `--gallery` a folder whose folders are
named by what their images show, or captioned images in any layout that `clipcore evaluate` reads. What is tuned is
tuned on one half of the concepts and words, and reported on the other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from benchmarks.figures import Against, Figure, Outcome, Spread
from benchmarks.scale import Scale
from clipcore.datasets.captions import open_texts
from clipcore.encoding.batch import encode_sources, gather
from clipcore.evaluation.nonsense import ABSTRACT, NULL_PROMPTS, gibberish
from clipcore.evaluation.relevance import (
    HONEST,
    HOPELESS,
    SIZES,
    Asked,
    Rule,
    Trial,
    measure_standing,
    rules,
    setting_that_keeps,
    share_passing,
    trials,
)
from clipcore.model import ClipModel
from clipcore.models.known_models import BUNDLED, BUNDLED_DIRECTORY
from clipcore.relevance import cut
from clipcore.types import Calibration
from tools.bundled_standing import CALIBRATED, REPORTED, asked_of, encode_queries
from tools.emoji_sheet import read_sheet

_GALLERIES = (1, 5, 24, 200, 2000)
_KEEP, _REFUSE = 0.95, 0.9
_GIBBERISH = 160


def run(scale: Scale) -> Outcome:
    name = scale.weights or BUNDLED
    model = ClipModel.load(name, device=scale.device, local_only=not scale.weights)
    sizes = _GALLERIES if not scale.quick else (5, 24)
    if scale.gallery is not None:
        tuned, reported = _of_folder(model, scale.gallery)
    else:
        concepts, sprites = read_sheet(BUNDLED_DIRECTORY / "labels.json")
        of_half = partial(asked_of, model, concepts, sprites)
        tuned = of_half(CALIBRATED, scale.of(1500, 60))
        reported = of_half(REPORTED, scale.of(max(sizes), 60))
    rng, most = np.random.default_rng(704), scale.of(300, 20)
    tuning = list(chain.from_iterable(trials(tuned, size, rng, most=most) for size in SIZES))
    found = {size: trials(reported, size, rng, most=most) for size in sizes if size <= len(reported.images)}
    calibration = model.calibration
    measured = replace(calibration, standing=measure_standing(tuning, calibration.text_threshold))
    figures = [
        figure
        for size, some in found.items()
        for figure in _product(calibration, some, f"{size:,} images", bar=scale.gallery is None and size in SIZES)
    ]
    figures += _compared(measured, tuning, found)
    note = f"{name}; measured here: {measured.standing}; in use: {calibration.standing}"
    missing = [f"{size:,} images (there are fewer)" for size in sizes if size > len(reported.images)]
    return Outcome([replace(figures[0], note=note), *figures[1:]], missing=missing)


def _product(calibration: Calibration, found: list[Trial], title: str, *, bar: bool) -> list[Figure]:
    """What the bot does as it is."""

    def passes(trial: Trial) -> bool:
        return trial.best >= cut(trial.population, calibration)

    shares = {
        "kept, one image shows it": (share_passing(found, ("present",), passes), _KEEP),
        "kept, half of the images show it": (share_passing(found, ("mostly",), passes), _KEEP),
        "first hits that are right": (float(np.mean([one.right for one in found if one.kind == "present"])), None),
        "refused, nothing or nonsense": (1 - share_passing(found, ("absent", "nonsense"), passes), _REFUSE),
        "refused, nothing shows it": (1 - share_passing(found, ("absent",), passes), None),
        "refused, nonsense": (1 - share_passing(found, ("nonsense",), passes), None),
    }
    return [
        Figure(
            f"{title}: {what}",
            Spread((share,)),
            "of queries",
            (Against("aim", aim, at_least=1.0),) if bar and aim is not None else (),
        )
        for what, (share, aim) in shares.items()
        if not np.isnan(share)
    ]


def _compared(calibration: Calibration, tuning: list[Trial], found: dict[int, list[Trial]]) -> list[Figure]:
    """The rules beside each other: the standing as it is measured, the others set so that they keep as many honest
    queries of the tuning half.
    """
    margins = [trial.margin for trial in tuning if trial.kind in HONEST[:1]]
    figures = []
    for name, rule in rules(calibration, float(np.quantile(margins, 0.01))).items():
        measured = calibration.standing.spread if name.startswith("standing") and calibration.standing else None
        setting = setting_that_keeps(tuning, rule) if measured is None else measured
        for size, some in found.items():
            figures += [_share(name, rule, setting, size, some, kind) for kind in (*HONEST, *HOPELESS)]
    return [figure for figure in figures if not np.isnan(figure.value)]


def _share(name: str, rule: Rule, setting: float, size: int, found: list[Trial], kind: str) -> Figure:
    share = share_passing(found, (kind,), lambda trial: rule(trial, setting))
    is_honest = kind in HONEST
    what = f"{kind} kept" if is_honest else f"{kind} refused"
    return Figure(f"by {name}, {size:,} images: {what}", Spread((share if is_honest else 1 - share,)), "of queries")


def _of_folder(model: ClipModel, folder: Path) -> tuple[Asked, Asked]:
    """The texts of a labelled folder in two halves, each with the images that it describes."""
    pairs = open_texts(folder)
    gathered = gather(encode_sources(model, pairs.images), model.card.dimension, lambda problem: None)
    place = {int(row): at for at, row in enumerate(gathered.rows)}
    images_of: dict[str, set[int]] = {}
    for text, row in zip(pairs.captions, pairs.image_of.tolist(), strict=True):
        if row in place:
            images_of.setdefault(text, set()).add(place[row])
    texts = [str(text) for text in np.random.default_rng(705).permutation(sorted(images_of))]
    first, second = (_asked_in_folder(model, gathered.embeddings, images_of, texts[half::2], half) for half in (0, 1))
    return first, second


def _asked_in_folder(
    model: ClipModel, embeddings: np.ndarray, images_of: dict[str, set[int]], texts: list[str], half: int
) -> Asked:
    mine = sorted(set().union(*(images_of[text] for text in texts)))
    shows = np.array([[image in images_of[text] for image in mine] for text in texts])
    words = [set(text.lower().split()) for text in texts]
    # Of captions one word in common says little; of names of classes, much.
    alike = np.array([[2 * len(own & other) >= min(len(own), len(other)) for other in words] for own in words])
    near = np.array([shows[row].any(0) for row in alike])
    nonsense = (*gibberish(2 * _GIBBERISH, np.random.default_rng(703)), *ABSTRACT)[half::2]
    return Asked(
        embeddings[mine],
        encode_queries(model, texts),
        shows,
        near | shows,
        encode_queries(model, nonsense),
        encode_queries(model, NULL_PROMPTS),
    )
