"""`clipcore evaluate probe`: a linear classifier learnt on a model's features of some pictures, measured on others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer

from clipcore.cli.columns import Header, PictureColumn, TextColumn
from clipcore.cli.measures import classification_as_json, show_classification
from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model, load_model
from clipcore.cli.outcome import Skips, print_json, say
from clipcore.cli.progress import tracked
from clipcore.dataset import Columns, Labelled, open_labelled
from clipcore.dataset.partial import check_place
from clipcore.errors import BadInput
from clipcore.evaluate.classification import check_classes
from clipcore.evaluate.confusion_plot import check_drawable, draw_confusions
from clipcore.evaluate.pictures import Outcomes, classify_all, gather
from clipcore.features import encode_pictures
from clipcore.probe import LinearProbe, choose_strength, require_two

if TYPE_CHECKING:
    from clipcore.model import ClipModel

_MOST_NAMED = 10

ConfusionPicture = Annotated[
    Path | None, typer.Option("--confusion", help="Draw the confusion matrix into this file, such as confusion.png.")
]


def probe(
    train: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="What it learns from: one folder a class, or a table.")
    ],
    test: Annotated[
        Path, typer.Argument(metavar="TEST", help="What it is measured on, with the same names of classes.")
    ],
    strength: Annotated[
        float | None,
        typer.Option(
            "-C", "--strength", min=1e-6, max=1e6, help="C, the inverse of the regularisation; else searched."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which fifth of TRAIN the search holds back.")] = 0,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the probe here, such as probe.safetensors.")] = None,
    confusion: ConfusionPicture = None,
    text_column: TextColumn = None,
    picture_column: PictureColumn = None,
    header: Header = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Learn a linear classifier on TRAIN's features and measure it on TEST.

    Logistic regression by L-BFGS. C is searched on a fifth of TRAIN, held back; then all of TRAIN is learnt from.
    """
    if confusion is not None:
        check_drawable(confusion)
    if save is not None:
        check_place(save)
    skips = Skips()
    columns = Columns(text_column, picture_column, header)
    learnt, measured = open_labelled(train, columns), open_labelled(test, columns)
    skips.problems([*learnt.problems, *measured.problems])
    classes = tuple(sorted({*learnt.classes, *measured.classes}))
    check_classes(classes)
    require_two(learnt.class_of)
    unlearnt = _unlearnt(learnt, measured)
    if unlearnt:
        named = ", ".join(map(repr, unlearnt[:_MOST_NAMED])) + (" …" if len(unlearnt) > _MOST_NAMED else "")
        say(f"TRAIN has no pictures of {len(unlearnt)} of TEST's classes, whose pictures all count as wrong: {named}")
    loaded = load_model(model, device)
    features = gather(_encoded(loaded, learnt, "encoding TRAIN", batch_size), loaded.card.dimension, skips.picture)
    class_of = _rows(learnt, classes)[features.rows]
    search: dict[float, float] = {}
    if strength is None:
        strength = choose_strength(features.vectors, class_of, seed=seed, tried=search.__setitem__)
    fitted = LinearProbe.fit(features.vectors, class_of, classes, strength=strength, model_key=loaded.card.key)
    if save is not None:
        fitted.save(save)
    outcomes = _encoded(loaded, measured, "encoding TEST", batch_size)
    result = classify_all(outcomes, _rows(measured, classes), classes, fitted.scores, skips.picture)
    require_pictures(result.pictures)
    if confusion is not None:
        draw_confusions(result, confusion, f"{test.name}, linear probe, {loaded.card.id}")
    if as_json:
        print_json(
            {
                "model": loaded.card.key,
                "train_pictures": len(features.rows),
                "strength": strength,
                "search": [{"strength": tried, "accuracy": accuracy} for tried, accuracy in sorted(search.items())],
                **classification_as_json(result),
                "not_in_train": unlearnt,
                "skipped": skips.as_json(),
            }
        )
    else:
        print(f"{loaded.card.id}, linear probe on {len(features.rows)} pictures, C = {strength:.3g}")
        show_classification(result, ())
    return skips.exit_code


def _unlearnt(learnt: Labelled, measured: Labelled) -> list[str]:
    """The classes of pictures in TEST that TRAIN has none of. Raises BadInput where that is all of them."""
    wanted = {measured.classes[row] for row in np.unique(measured.class_of)}
    missing = wanted - {learnt.classes[row] for row in np.unique(learnt.class_of)}
    if missing == wanted:
        raise BadInput("TRAIN and TEST have no class in common; call the same classes the same in both.")
    return sorted(missing)


def require_pictures(pictures: int) -> None:
    if not pictures:
        raise BadInput("None of the pictures could be read, so there is nothing to measure.")


def _encoded(model: ClipModel, labelled: Labelled, doing: str, batch_size: int) -> Outcomes:
    return encode_pictures(model, tracked(labelled.pictures, doing, len(labelled)), batch_size=batch_size, whole=True)


def _rows(labelled: Labelled, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64 [pictures]: each one's class, as a row of all classes."""
    place_of = {name: row for row, name in enumerate(classes)}
    places = np.array([place_of[name] for name in labelled.classes], np.int64)
    return places[labelled.class_of]
