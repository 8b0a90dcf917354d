"""`clipcore evaluate …`: how well a model does on labelled or captioned images."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console

from clipcore.cli.options import TEMPLATES_HELP, Commands, EncodingOptions, Json, TableOptions, option
from clipcore.cli.output import Skips, finish, say, table_of, tracked
from clipcore.datasets import Labelled, open_labelled, open_pairs
from clipcore.encoding.batch import Gathered, ImageOutcome, encode_sources, gather
from clipcore.encoding.resumable import check_output_folder
from clipcore.errors import BadInput
from clipcore.evaluation.classification import Classification, check_classes, classify_images, name_classes
from clipcore.evaluation.plots import check_drawable, draw_confusions
from clipcore.evaluation.published import (
    TO_IMAGE,
    TO_TEXT,
    TOP_1,
    TOP_5,
    Published,
    dataset_of,
    known_as,
    known_datasets,
    published_on,
)
from clipcore.evaluation.retrieval import Recall, Retrieval, evaluate_retrieval
from clipcore.linear_probe import Classes, LinearProbe, choose_strength, require_two
from clipcore.zero_shot import ZeroShotClassifier, check_template, read_labels, read_templates

if TYPE_CHECKING:
    from clipcore.model import ClipModel

_MAX_NAMED = 10
# More classes than a screen holds are shown by the worst of them.
_MOST_CLASSES = 40
_MOST_CONFUSIONS = 10

ConfusionImage = Annotated[
    Path | None, typer.Option("--confusion", help="Draw the confusion matrix into this file, such as confusion.png.")
]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", help="Which known data set this is, if its name does not tell: flickr30k, imagenet …"),
]

commands = Commands(name="evaluate", no_args_is_help=True, help="Measure a model on labelled or captioned images.")


@commands.command()
def zero_shot(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|TABLE", help="A folder with a folder for each class, or a table of classes and images."
        ),
    ],
    names: Annotated[
        Path | None, typer.Option(help="What the classes are called in words: `n02123045: tabby cat, tabby` a line.")
    ] = None,
    templates: Annotated[Path | None, typer.Option(help=TEMPLATES_HELP)] = None,
    confusion: ConfusionImage = None,
    dataset: Dataset = None,
    *,
    columns: TableOptions,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Predict each image's class from the classes' names: top-1, top-5, per class, and which are confused.

    A class that ties with the right one counts as predicted.
    """
    published = _published(dataset, source)
    if confusion is not None:
        check_drawable(confusion)
    labelled = open_labelled(source, columns)
    skips = Skips(labelled.problems)
    check_classes(labelled.classes)
    class_labels, shown_names = name_classes(labelled.classes, read_labels(names) if names is not None else ())
    own_templates = read_templates(templates) if templates is not None else None
    model = encoding.load()
    prompts = replace(model.card.prompts, label=own_templates or model.card.prompts.label, background=())
    classifier = ZeroShotClassifier.for_model(model, class_labels, prompts, batch_size=encoding.batch_size)
    outcomes = _encoded(model, labelled, "encoding images", encoding)
    result = classify_images(
        outcomes, labelled.class_of, shown_names, lambda embeddings: embeddings @ classifier.vectors.T, skips.add
    )
    if confusion is not None:
        draw_confusions(result, confusion, f"{source.name}, zero-shot, {model.card.id}")
    told = {
        "model": model.card.key,
        "templates": prompts.label,
        **_classification_as_json(result),
        "published": _published_as_json(published),
    }
    title = f"{model.card.id}, zero-shot"
    return finish(told, lambda: _show_classification(title, result, published), skips, as_json=as_json)


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    strength: float | None = option(
        None,
        "-C",
        "--strength",
        min=1e-6,
        max=1e6,
        help="C, the inverse of the regularisation; searched if not given.",
    )
    seed: int = option(0, min=0, help="Which fifth of TRAIN the search holds back.")
    save: Path | None = option(None, help="Keep the probe here, such as probe.safetensors.")


@commands.command()
def probe(
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help="A folder with a folder for each class, or a table.")],
    test: Annotated[
        Path, typer.Argument(metavar="TEST", help="What the probe is measured on, with the same class names.")
    ],
    options: ProbeOptions,
    confusion: ConfusionImage = None,
    *,
    columns: TableOptions,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Fit a linear classifier to TRAIN's embeddings and measure it on TEST.

    Logistic regression by L-BFGS. C is searched on a fifth of TRAIN, held back; then the probe learns from all of it.
    """
    if confusion is not None:
        check_drawable(confusion)
    if options.save is not None:
        check_output_folder(options.save)
    training, testing = open_labelled(train, columns), open_labelled(test, columns)
    skips = Skips([*training.problems, *testing.problems])
    classes = tuple(sorted({*training.classes, *testing.classes}))
    check_classes(classes)
    require_two(training.class_of)
    missing = _missing_classes(training, testing)
    model = encoding.load()
    gathered = gather(_encoded(model, training, "encoding TRAIN", encoding), model.card.dimension, skips.add)
    fitted, search = _fit(gathered, _rows_in(classes, training), classes, model.card.key, options)
    outcomes = _encoded(model, testing, "encoding TEST", encoding)
    result = classify_images(outcomes, _rows_in(classes, testing), classes, fitted.scores, skips.add)
    if confusion is not None:
        draw_confusions(result, confusion, f"{test.name}, linear probe, {model.card.id}")
    images = len(gathered.rows)
    told = {"model": model.card.key, "train_images": images, "strength": fitted.strength, "search": search}
    told |= {**_classification_as_json(result), "not_in_train": missing}
    title = f"{model.card.id}, linear probe on {images} images, C = {fitted.strength:.3g}"
    return finish(told, lambda: _show_classification(title, result, ()), skips, as_json=as_json)


@commands.command()
def retrieval(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE|JSON|DIR",
            help="A table of captions and images, a captions file (COCO's, Karpathy's, Flickr's), or a folder.",
        ),
    ],
    captions: Annotated[
        Path | None, typer.Option(help="The captions file of a folder of images, or Chinese-CLIP's .jsonl.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Which split of a Karpathy file: test, val …")] = None,
    template: Annotated[str, typer.Option(help="A template for the captions, such as 'a photo of {}'.")] = "{}",
    dataset: Dataset = None,
    *,
    columns: TableOptions,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Retrieve captions by image and images by caption: R@1, R@5, R@10 and their means.

    Any of an image's captions is right, and so is any image of a text that describes several, as in MUGE. Equal
    captions of different images are separate queries. Wrong answers that tie with the right one count as better.
    """
    published = _published(dataset, source)
    check_template(template)
    pairs = open_pairs(source, captions=captions, split=split, columns=columns)
    skips = Skips(pairs.problems)
    model = encoding.load()
    evaluated = evaluate_retrieval(
        model, pairs, template=template, batch_size=encoding.batch_size, on_skip=skips.add, progress=tracked
    )
    images, result = len(evaluated.images.rows), evaluated.result
    told = {
        "model": model.card.key,
        "template": template,
        "images": images,
        "mean_recall": result.mean,
        "image_to_text": _recall_as_json(result.image_to_text),
        "text_to_image": _recall_as_json(result.text_to_image),
        "published": _published_as_json(published),
    }
    title = f"{model.card.id}, {images} images, {result.text_to_image.queries} captions"
    return finish(told, lambda: _show_retrieval(title, result, published), skips, as_json=as_json)


def _encoded(model: ClipModel, labelled: Labelled, doing: str, encoding: EncodingOptions) -> Iterable[ImageOutcome]:
    sources = tracked(labelled.images, doing)
    return encode_sources(model, sources, batch_size=encoding.batch_size, full_resolution=True)


def _fit(
    training: Gathered, classes_of: Classes, classes: Sequence[str], model_key: str, options: ProbeOptions
) -> tuple[LinearProbe, list[dict[str, float]]]:
    """Returns the probe, and the accuracy of each strength that was tried."""
    class_of = classes_of[training.rows]
    tried: dict[float, float] = {}
    strength = options.strength
    if strength is None:
        strength = choose_strength(training.embeddings, class_of, seed=options.seed, tried=tried.__setitem__)
    probe = LinearProbe.fit(training.embeddings, class_of, classes, strength=strength, model_key=model_key)
    if options.save is not None:
        probe.save(options.save)
    return probe, [{"strength": strength, "accuracy": accuracy} for strength, accuracy in sorted(tried.items())]


def _rows_in(classes: Sequence[str], labelled: Labelled) -> Classes:
    """int64 [images]: the row of each image's class in `classes`."""
    row_of = {name: row for row, name in enumerate(classes)}
    return np.array([row_of[name] for name in labelled.classes], np.int64)[labelled.class_of]


def _missing_classes(training: Labelled, testing: Labelled) -> list[str]:
    """Names the classes of TEST's images of which TRAIN has none. Raises BadInput where that is all of them."""
    wanted = {testing.classes[row] for row in np.unique(testing.class_of)}
    missing = sorted(wanted - {training.classes[row] for row in np.unique(training.class_of)})
    if len(missing) == len(wanted):
        raise BadInput("TRAIN and TEST have no class in common; give the same classes the same names.")
    if missing:
        named = ", ".join(map(repr, missing[:_MAX_NAMED])) + (" …" if len(missing) > _MAX_NAMED else "")
        say(f"TRAIN has no images of {len(missing)} of TEST's classes, whose images all count as wrong: {named}")
    return missing


def _published(given: str | None, source: Path) -> tuple[Published, ...]:
    """The figures on the data set that is given, which must be known, or that the source's name tells."""
    dataset = dataset_of(source) if given is None else known_as(given)
    if given is not None and dataset is None:
        raise BadInput(
            f"No figures are known for the data set {given!r}; leave --dataset out, or give one of "
            f"{', '.join(known_datasets())}."
        )
    return published_on(dataset) if dataset is not None else ()


def _show_classification(title: str, result: Classification, published: Sequence[Published]) -> None:
    print(title)
    print(f"{result.images} images of {len(result.classes)} classes")
    print(f"  top-1                  {_percent(result.top_1):>8}")
    print(f"  top-5                  {_percent(result.top_5):>8}")
    print(f"  mean per-class recall  {_percent(result.mean_recall):>8}")
    ordered = sorted(result.per_class, key=lambda one: (one.recall is None, one.recall or 0.0, one.name))
    rows = [
        (one.name, str(one.images), str(one.predicted), _percent(one.recall), _percent(one.precision))
        for one in ordered[:_MOST_CLASSES]
    ]
    more = len(ordered) > _MOST_CLASSES
    heading = f"The {_MOST_CLASSES} worst classes; --json has all" if more else "Classes, the worst first"
    _print_table(heading, ["class", ">images", ">predicted", ">recall", ">precision"], rows)
    if wrong := result.confusions(_MOST_CONFUSIONS):
        mistakes = [(str(images), true, predicted) for true, predicted, images in wrong]
        _print_table("Most frequent mistakes", [">images", "true class", "predicted class"], mistakes)
    _show_published(published, {TOP_1: result.top_1, TOP_5: result.top_5})


def _classification_as_json(result: Classification) -> dict[str, Any]:
    return {
        "images": result.images,
        "top_1": result.top_1,
        "top_5": result.top_5,
        "mean_per_class_recall": result.mean_recall,
        "per_class": [
            {
                "class": one.name,
                "images": one.images,
                "taken_for": one.predicted,
                "recall": one.recall,
                "precision": one.precision,
            }
            for one in result.per_class
        ],
        "confusions": [
            {"class": true, "taken_for": predicted, "images": images}
            for true, predicted, images in result.confusions(result.counts.size)
        ],
    }


def _show_retrieval(title: str, result: Retrieval, published: Sequence[Published]) -> None:
    print(title)
    rows = [
        ("image → text", *_recall_cells(result.image_to_text)),
        ("text → image", *_recall_cells(result.text_to_image)),
    ]
    headings = ["", ">queries", ">R@1", ">R@5", ">R@10", ">mean", ">median rank"]
    _print_table(f"Mean recall {_percent(result.mean)}", headings, rows)
    measured = [*result.image_to_text.at.values(), *result.text_to_image.at.values()]
    _show_published(published, dict(zip((*TO_TEXT, *TO_IMAGE), measured, strict=True)))


def _show_published(published: Sequence[Published], measured: Mapping[str, float | None]) -> None:
    """Beside one's own, which come first; nothing where the data set is not known. measured: by name, from 0 to 1."""
    if not published:
        return
    kept = [name for name in measured if any(name in one.figures for one in published)]
    own = {name: 100 * share for name, share in measured.items() if share is not None}
    sources = list(dict.fromkeys(one.source_and_note for one in published))
    runs = [("this run", own, "")]
    runs += [(one.model, one.figures, f"[{sources.index(one.source_and_note) + 1}]") for one in published]
    rows = [
        (model, *(f"{figures[name]:.1f}" if name in figures else "" for name in kept), mark)
        for model, figures, mark in runs
    ]
    _print_table("Beside published figures, in percent", ["", *(f">{_short(name)}" for name in kept), ""], rows)
    for mark, source in enumerate(sources, start=1):
        print(textwrap.fill(f"[{mark}] {source}", 78, initial_indent="  ", subsequent_indent="      "))


def _published_as_json(published: Iterable[Published]) -> list[dict[str, Any]]:
    """Figures in percent, as printed in their sources."""
    return [
        {"model": one.model, "percent": one.figures, "source": one.source, **({"note": one.note} if one.note else {})}
        for one in published
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _recall_cells(recall: Recall) -> list[str]:
    return [str(recall.queries), *map(_percent, recall.at.values()), _percent(recall.mean), f"{recall.median_rank:g}"]


def _recall_as_json(recall: Recall) -> dict[str, Any]:
    at = {f"recall_at_{cutoff}": share for cutoff, share in recall.at.items()}
    return {"queries": recall.queries, **at, "mean": recall.mean, "median_rank": recall.median_rank}


def _short(name: str) -> str:
    """`image→text R@1` takes six columns of eighty."""
    return name.replace("image→text ", "i→t ").replace("text→image ", "t→i ").replace(" R@", " ")


def _print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = table_of(headings, rows, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    # Names are user text: square brackets in them are not markup.
    Console(highlight=False, markup=False, emoji=False).print(table, markup=False)
