"""`clipcore evaluate …`: how well a model does on labelled or captioned images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer

from clipcore.cli.classify import TemplatesFile
from clipcore.cli.commands import Commands
from clipcore.cli.measures import (
    classification_as_json,
    published_as_json,
    retrieval_as_json,
    show_classification,
    show_retrieval,
)
from clipcore.cli.options import (
    BATCH_SIZE,
    DEFAULT_MODEL_NAME,
    BatchSize,
    Device,
    Header,
    ImageColumn,
    Json,
    Model,
    TextColumn,
    load_model,
)
from clipcore.cli.output import Skips, print_json, say, tracked
from clipcore.datasets import Columns, Labelled, open_labelled, open_pairs
from clipcore.encoding.batch import ImageOutcome, encode_sources, gather
from clipcore.encoding.resumable import check_output_folder
from clipcore.errors import BadInput
from clipcore.evaluation.classification import check_classes, classify_images, name_classes
from clipcore.evaluation.plots import check_drawable, draw_confusions
from clipcore.evaluation.published import Published, dataset_of, known_as, known_datasets, published_on
from clipcore.evaluation.retrieval import evaluate_retrieval
from clipcore.linear_probe import LinearProbe, choose_strength, require_two
from clipcore.prompts import Prompts
from clipcore.types import Vectors
from clipcore.zero_shot import LabelBank, check_template, read_labels, read_templates

if TYPE_CHECKING:
    from clipcore.model import ClipModel

_MAX_NAMED = 10

ConfusionImage = Annotated[
    Path | None, typer.Option("--confusion", help="Draw the confusion matrix into this file, such as confusion.png.")
]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", help="Which known data set this is, if its name does not tell: flickr30k, imagenet …"),
]


def register(app: typer.Typer) -> None:
    group = Commands(no_args_is_help=True, help="Measure a model on labelled or captioned images.")
    group.command("zero-shot")(zero_shot)
    group.command("probe")(probe)
    group.command("retrieval")(retrieval)
    app.add_typer(group, name="evaluate")


def zero_shot(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|TABLE", help="A folder with a folder for each class, or a table of classes and images."
        ),
    ],
    names: Annotated[
        Path | None,
        typer.Option("--names", help="What the classes are called in words: `n02123045: tabby cat, tabby` a line."),
    ] = None,
    templates: TemplatesFile = None,
    confusion: ConfusionImage = None,
    dataset: Dataset = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    header: Header = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Predict each image's class from the classes' names: top-1, top-5, per class, and which are confused.

    A class that ties with the right one counts as predicted.
    """
    published = _published(dataset, source)
    if confusion is not None:
        check_drawable(confusion)
    skips = Skips()
    labelled = open_labelled(source, Columns(text_column, image_column, header))
    skips.problems(labelled.problems)
    check_classes(labelled.classes)
    class_names = name_classes(labelled.classes, read_labels(names) if names is not None else ())
    own_templates = read_templates(templates) if templates is not None else None
    loaded = load_model(model, device)
    label_templates = own_templates or loaded.card.prompts.label
    prompts = Prompts(label=label_templates, query=("{}",), background=())
    bank = LabelBank.encode(loaded, class_names.labels, prompts, batch_size=batch_size)

    def scores(embeddings: Vectors) -> Vectors:
        cosines: Vectors = embeddings @ bank.vectors.T
        return cosines

    outcomes = _encoded(loaded, labelled, "encoding images", batch_size)
    result = classify_images(outcomes, labelled.class_of, class_names.shown, scores, skips.image)
    if confusion is not None:
        draw_confusions(result, confusion, f"{source.name}, zero-shot, {loaded.card.id}")
    if as_json:
        print_json(
            {
                "model": loaded.card.key,
                "templates": list(label_templates),
                **classification_as_json(result),
                "published": published_as_json(published),
                "skipped": skips.as_json(),
            }
        )
    else:
        print(f"{loaded.card.id}, zero-shot")
        show_classification(result, published)
    return skips.exit_code


def probe(
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help="A folder with a folder for each class, or a table.")],
    test: Annotated[
        Path, typer.Argument(metavar="TEST", help="What the probe is measured on, with the same class names.")
    ],
    strength: Annotated[
        float | None,
        typer.Option(
            "-C", "--strength", min=1e-6, max=1e6, help="C, the inverse of the regularisation; searched if not given."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which fifth of TRAIN the search holds back.")] = 0,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the probe here, such as probe.safetensors.")] = None,
    confusion: ConfusionImage = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    header: Header = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Fit a linear classifier to TRAIN's embeddings and measure it on TEST.

    Logistic regression by L-BFGS. C is searched on a fifth of TRAIN, held back; then the probe learns from all of it.
    """
    if confusion is not None:
        check_drawable(confusion)
    if save is not None:
        check_output_folder(save)
    skips = Skips()
    columns = Columns(text_column, image_column, header)
    training, testing = open_labelled(train, columns), open_labelled(test, columns)
    skips.problems([*training.problems, *testing.problems])
    classes = tuple(sorted({*training.classes, *testing.classes}))
    check_classes(classes)
    require_two(training.class_of)
    missing = _missing_classes(training, testing)
    if missing:
        named = ", ".join(map(repr, missing[:_MAX_NAMED])) + (" …" if len(missing) > _MAX_NAMED else "")
        say(f"TRAIN has no images of {len(missing)} of TEST's classes, whose images all count as wrong: {named}")
    loaded = load_model(model, device)
    outcomes = _encoded(loaded, training, "encoding TRAIN", batch_size)
    gathered = gather(outcomes, loaded.card.dimension, skips.image)
    class_of = _rows_in(classes, training)[gathered.rows]
    search: dict[float, float] = {}
    if strength is None:
        strength = choose_strength(gathered.embeddings, class_of, seed=seed, tried=search.__setitem__)
    fitted = LinearProbe.fit(gathered.embeddings, class_of, classes, strength=strength, model_key=loaded.card.key)
    if save is not None:
        fitted.save(save)
    outcomes = _encoded(loaded, testing, "encoding TEST", batch_size)
    result = classify_images(outcomes, _rows_in(classes, testing), classes, fitted.scores, skips.image)
    if confusion is not None:
        draw_confusions(result, confusion, f"{test.name}, linear probe, {loaded.card.id}")
    if as_json:
        print_json(
            {
                "model": loaded.card.key,
                "train_images": len(gathered.rows),
                "strength": strength,
                "search": [{"strength": tried, "accuracy": accuracy} for tried, accuracy in sorted(search.items())],
                **classification_as_json(result),
                "not_in_train": missing,
                "skipped": skips.as_json(),
            }
        )
    else:
        print(f"{loaded.card.id}, linear probe on {len(gathered.rows)} images, C = {strength:.3g}")
        show_classification(result, ())
    return skips.exit_code


def retrieval(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE|JSON|DIR",
            help="A table of captions and images, a captions file (COCO's, Karpathy's, Flickr's), or a folder.",
        ),
    ],
    captions: Annotated[
        Path | None,
        typer.Option("--captions", help="The captions file of a folder of images, or Chinese-CLIP's .jsonl."),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Which split of a Karpathy file: test, val …")] = None,
    template: Annotated[
        str, typer.Option("--template", help="A template for the captions, such as 'a photo of {}'.")
    ] = "{}",
    dataset: Dataset = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    header: Header = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Retrieve captions by image and images by caption: R@1, R@5, R@10 and their means.

    Any of an image's captions is right, and so is any image of a text that describes several, as in MUGE. Equal
    captions of different images are separate queries. Wrong answers that tie with the right one count as better.
    """
    published = _published(dataset, source)
    check_template(template)
    skips = Skips()
    pairs = open_pairs(source, captions=captions, split=split, columns=Columns(text_column, image_column, header))
    skips.problems(pairs.problems)
    loaded = load_model(model, device)
    evaluated = evaluate_retrieval(
        loaded, pairs, template=template, batch_size=batch_size, on_skip=skips.image, progress=tracked
    )
    images, result = len(evaluated.images.rows), evaluated.result
    if as_json:
        print_json(
            {
                "model": loaded.card.key,
                "template": template,
                "images": images,
                **retrieval_as_json(result),
                "published": published_as_json(published),
                "skipped": skips.as_json(),
            }
        )
    else:
        print(f"{loaded.card.id}, {images} images, {result.text_to_image.queries} captions")
        show_retrieval(result, published)
    return skips.exit_code


def _encoded(model: ClipModel, labelled: Labelled, doing: str, batch_size: int) -> Iterable[ImageOutcome]:
    sources = tracked(labelled.images, doing, len(labelled))
    return encode_sources(model, sources, batch_size=batch_size, full_resolution=True)


def _rows_in(classes: Sequence[str], labelled: Labelled) -> npt.NDArray[np.int64]:
    """int64 [images]: the row of each image's class in `classes`."""
    row_of = {name: row for row, name in enumerate(classes)}
    return np.array([row_of[name] for name in labelled.classes], np.int64)[labelled.class_of]


def _missing_classes(training: Labelled, testing: Labelled) -> list[str]:
    """The classes of TEST's images of which TRAIN has none. Raises BadInput where that is all of them."""
    wanted = {testing.classes[row] for row in np.unique(testing.class_of)}
    missing = wanted - {training.classes[row] for row in np.unique(training.class_of)}
    if missing == wanted:
        raise BadInput("TRAIN and TEST have no class in common; give the same classes the same names.")
    return sorted(missing)


def _published(given: str | None, source: Path) -> tuple[Published, ...]:
    """The figures on the data set that is given, which must be known, or that the source's name tells."""
    if given is None:
        dataset = dataset_of(source)
        return published_on(dataset) if dataset else ()
    dataset = known_as(given)
    if dataset is None:
        raise BadInput(
            f"No figures are known for the data set {given!r}; leave --dataset out, or give one of "
            f"{', '.join(known_datasets())}."
        )
    return published_on(dataset)
