"""`clipcore evaluate …`: how well a model does on labelled or captioned images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer

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
from clipcore.datasets import Columns, Labelled, open_labelled
from clipcore.encoding.batch import ImageOutcome, encode_images, gather
from clipcore.encoding.resumable import check_output_folder
from clipcore.errors import BadInput
from clipcore.evaluation.classification import check_classes, classify_images
from clipcore.evaluation.plots import check_drawable, draw_confusions
from clipcore.linear_probe import LinearProbe, choose_strength, require_two

if TYPE_CHECKING:
    from clipcore.model import ClipModel
from clipcore.batching import encode_texts
from clipcore.cli.classify import TemplatesFile
from clipcore.datasets import open_pairs
from clipcore.errors import TextNotSupported
from clipcore.evaluation.classification import name_classes
from clipcore.evaluation.published import Published, dataset_of, known_as, known_datasets, published_on
from clipcore.evaluation.retrieval import measure_retrieval, queries_for
from clipcore.prompts import Prompts
from clipcore.types import Vectors
from clipcore.zero_shot import LabelBank, check_template, read_labels, read_templates

_MOST_NAMED = 10

ConfusionImage = Annotated[
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
    confusion: ConfusionImage = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
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
        check_output_folder(save)
    skips = Skips()
    columns = Columns(text_column, image_column, header)
    learnt, measured = open_labelled(train, columns), open_labelled(test, columns)
    skips.problems([*learnt.problems, *measured.problems])
    classes = tuple(sorted({*learnt.classes, *measured.classes}))
    check_classes(classes)
    require_two(learnt.class_of)
    unlearnt = _unlearnt(learnt, measured)
    if unlearnt:
        named = ", ".join(map(repr, unlearnt[:_MOST_NAMED])) + (" …" if len(unlearnt) > _MOST_NAMED else "")
        say(f"TRAIN has no images of {len(unlearnt)} of TEST's classes, whose images all count as wrong: {named}")
    loaded = load_model(model, device)
    features = gather(_encoded(loaded, learnt, "encoding TRAIN", batch_size), loaded.card.dimension, skips.image)
    class_of = _rows(learnt, classes)[features.rows]
    search: dict[float, float] = {}
    if strength is None:
        strength = choose_strength(features.embeddings, class_of, seed=seed, tried=search.__setitem__)
    fitted = LinearProbe.fit(features.embeddings, class_of, classes, strength=strength, model_key=loaded.card.key)
    if save is not None:
        fitted.save(save)
    outcomes = _encoded(loaded, measured, "encoding TEST", batch_size)
    result = classify_images(outcomes, _rows(measured, classes), classes, fitted.scores, skips.image)
    require_images(result.images)
    if confusion is not None:
        draw_confusions(result, confusion, f"{test.name}, linear probe, {loaded.card.id}")
    if as_json:
        print_json(
            {
                "model": loaded.card.key,
                "train_images": len(features.rows),
                "strength": strength,
                "search": [{"strength": tried, "accuracy": accuracy} for tried, accuracy in sorted(search.items())],
                **classification_as_json(result),
                "not_in_train": unlearnt,
                "skipped": skips.as_json(),
            }
        )
    else:
        print(f"{loaded.card.id}, linear probe on {len(features.rows)} images, C = {strength:.3g}")
        show_classification(result, ())
    return skips.exit_code


def _unlearnt(learnt: Labelled, measured: Labelled) -> list[str]:
    """The classes of images in TEST that TRAIN has none of. Raises BadInput where that is all of them."""
    wanted = {measured.classes[row] for row in np.unique(measured.class_of)}
    missing = wanted - {learnt.classes[row] for row in np.unique(learnt.class_of)}
    if missing == wanted:
        raise BadInput("TRAIN and TEST have no class in common; call the same classes the same in both.")
    return sorted(missing)


def require_images(images: int) -> None:
    if not images:
        raise BadInput("None of the images could be read, so there is nothing to measure.")


def _encoded(model: ClipModel, labelled: Labelled, doing: str, batch_size: int) -> Iterable[ImageOutcome]:
    return encode_images(
        model, tracked(labelled.images, doing, len(labelled)), batch_size=batch_size, full_resolution=True
    )


def _rows(labelled: Labelled, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64 [images]: each one's class, as a row of all classes."""
    place_of = {name: row for row, name in enumerate(classes)}
    places = np.array([place_of[name] for name in labelled.classes], np.int64)
    return places[labelled.class_of]


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
        typer.Argument(metavar="DIR|TABLE", help="A folder of one folder a class, or a table of classes and images."),
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
    """Name each image's class by words alone: top-1, top-5, per class, and which is taken for which.

    A class that ties with the right one counts as preferred to it.
    """
    published = _published(dataset, source)
    if confusion is not None:
        check_drawable(confusion)
    skips = Skips()
    labelled = open_labelled(source, Columns(text_column, image_column, header))
    skips.problems(labelled.problems)
    check_classes(labelled.classes)
    called = name_classes(labelled.classes, read_labels(names) if names is not None else ())
    templates_read = read_templates(templates) if templates is not None else None
    loaded = load_model(model, device)
    label_templates = templates_read or loaded.card.prompts.label
    bank = LabelBank.encode(
        loaded, called.labels, Prompts(label=label_templates, query=("{}",), background=()), batch_size=batch_size
    )

    def scores(vectors: Vectors) -> Vectors:
        cosines: Vectors = vectors @ bank.vectors.T
        return cosines

    watched = tracked(labelled.images, "encoding images", len(labelled))
    outcomes = encode_images(loaded, watched, batch_size=batch_size, full_resolution=True)
    result = classify_images(outcomes, labelled.class_of, called.shown, scores, skips.image)
    require_images(result.images)
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
        typer.Option("--captions", help="The file that tells of a folder's images, or Chinese-CLIP's .jsonl."),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Which of a Karpathy file's splits: test, val …")] = None,
    template: Annotated[
        str, typer.Option("--template", help="What to put captions into, such as 'a photo of {}'.")
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
    """Find captions by images and images by captions: R@1, R@5, R@10 and their means.

    Of several captions of an image any will do, and so will any image of a text that tells of several, as in MUGE.
    Captions that only read alike are queries of their own. Wrong answers that tie with the right one count as better.
    """
    published = _published(dataset, source)
    check_template(template)
    skips = Skips()
    pairs = open_pairs(source, captions=captions, split=split, columns=Columns(text_column, image_column, header))
    skips.problems(pairs.problems)
    loaded = load_model(model, device)
    if not loaded.card.reads_text:
        raise TextNotSupported(loaded.card.id)

    def encode(texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), loaded.card.dimension), np.float32)
        worded = tracked((template.replace("{}", text) for text in texts), "encoding captions", len(texts))
        for row, vector in enumerate(encode_texts(loaded, worded, batch_size=batch_size)):
            vectors[row] = vector
        return vectors

    watched = tracked(pairs.images, "encoding images", len(pairs.images))
    outcomes = encode_images(loaded, watched, batch_size=batch_size, full_resolution=True)
    gathered = gather(outcomes, loaded.card.dimension, skips.image)
    require_images(len(gathered.rows))
    asked = queries_for(gathered, pairs)
    result = measure_retrieval(gathered.embeddings, encode(asked.texts), asked.image_of, asked.text_of)
    if as_json:
        print_json(
            {
                "model": loaded.card.key,
                "template": template,
                "images": len(gathered.rows),
                **retrieval_as_json(result),
                "published": published_as_json(published),
                "skipped": skips.as_json(),
            }
        )
    else:
        print(f"{loaded.card.id}, {len(gathered.rows)} images, {result.text_to_image.queries} captions")
        show_retrieval(result, published)
    return skips.exit_code


def _published(told: str | None, source: Path) -> tuple[Published, ...]:
    """Where the data set is known; a person's name for it has to be."""
    if told is None:
        found = dataset_of(source)
        return published_on(found) if found else ()
    known = known_as(told)
    if known is None:
        raise BadInput(
            f"No figures are known for the data set {told!r}; leave --dataset out, or give one of "
            f"{', '.join(known_datasets())}."
        )
    return published_on(known)
