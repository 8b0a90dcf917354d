"""`clipcore evaluate …`: how well a model does on labelled or captioned pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from clipcore.cli.classify import TemplatesFile
from clipcore.cli.columns import Header, PictureColumn, TextColumn
from clipcore.cli.measures import (
    classification_as_json,
    published_as_json,
    retrieval_as_json,
    show_classification,
    show_retrieval,
)
from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model, load_model
from clipcore.cli.outcome import Skips, print_json
from clipcore.cli.probe import ConfusionPicture, probe, require_pictures
from clipcore.cli.progress import tracked
from clipcore.dataset import Columns, open_labelled, open_pairs
from clipcore.errors import BadInput, WordsNotUnderstood
from clipcore.evaluate.class_names import name_classes
from clipcore.evaluate.classification import check_classes
from clipcore.evaluate.confusion_plot import check_drawable, draw_confusions
from clipcore.evaluate.pictures import classify_all, gather
from clipcore.evaluate.published import Published, dataset_of, known_as, known_datasets, published_on
from clipcore.evaluate.retrieval import measure_retrieval, queries_for
from clipcore.features import encode_pictures, encode_words
from clipcore.label_files import check_template, read_labels, read_templates
from clipcore.prompts import Prompts
from clipcore.types import Vectors
from clipcore.zero_shot import LabelBank

Dataset = Annotated[
    str | None,
    typer.Option("--dataset", help="Which known data set this is, if its name does not tell: flickr30k, imagenet …"),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Measure a model on labelled or captioned pictures.")
    group.command("zero-shot")(zero_shot)
    group.command("probe")(probe)
    group.command("retrieval")(retrieval)
    app.add_typer(group, name="evaluate")


def zero_shot(
    source: Annotated[
        Path,
        typer.Argument(metavar="DIR|TABLE", help="A folder of one folder a class, or a table of classes and pictures."),
    ],
    names: Annotated[
        Path | None,
        typer.Option("--names", help="What the classes are called in words: `n02123045: tabby cat, tabby` a line."),
    ] = None,
    templates: TemplatesFile = None,
    confusion: ConfusionPicture = None,
    dataset: Dataset = None,
    text_column: TextColumn = None,
    picture_column: PictureColumn = None,
    header: Header = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Name each picture's class by words alone: top-1, top-5, per class, and which is taken for which.

    A class that ties with the right one counts as preferred to it.
    """
    published = _published(dataset, source)
    if confusion is not None:
        check_drawable(confusion)
    skips = Skips()
    labelled = open_labelled(source, Columns(text_column, picture_column, header))
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

    watched = tracked(labelled.pictures, "encoding pictures", len(labelled))
    outcomes = encode_pictures(loaded, watched, batch_size=batch_size, whole=True)
    result = classify_all(outcomes, labelled.class_of, called.shown, scores, skips.picture)
    require_pictures(result.pictures)
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
            help="A table of captions and pictures, a captions file (COCO's, Karpathy's, Flickr's), or a folder.",
        ),
    ],
    captions: Annotated[
        Path | None,
        typer.Option("--captions", help="The file that tells of a folder's pictures, or Chinese-CLIP's .jsonl."),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Which of a Karpathy file's splits: test, val …")] = None,
    template: Annotated[
        str, typer.Option("--template", help="What to put captions into, such as 'a photo of {}'.")
    ] = "{}",
    dataset: Dataset = None,
    text_column: TextColumn = None,
    picture_column: PictureColumn = None,
    header: Header = None,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Find captions by pictures and pictures by captions: R@1, R@5, R@10 and their means.

    Of several captions of a picture any will do, and so will any picture of a text that tells of several, as in MUGE.
    Captions that only read alike are queries of their own. Wrong answers that tie with the right one count as better.
    """
    published = _published(dataset, source)
    check_template(template)
    skips = Skips()
    pairs = open_pairs(source, captions=captions, split=split, columns=Columns(text_column, picture_column, header))
    skips.problems(pairs.problems)
    loaded = load_model(model, device)
    if not loaded.card.reads_text:
        raise WordsNotUnderstood(loaded.card.id)

    def encode(texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), loaded.card.dimension), np.float32)
        worded = tracked((template.replace("{}", text) for text in texts), "encoding captions", len(texts))
        for row, vector in enumerate(encode_words(loaded, worded, batch_size=batch_size)):
            vectors[row] = vector
        return vectors

    watched = tracked(pairs.pictures, "encoding pictures", len(pairs.pictures))
    outcomes = encode_pictures(loaded, watched, batch_size=batch_size, whole=True)
    gathered = gather(outcomes, loaded.card.dimension, skips.picture)
    require_pictures(len(gathered.rows))
    asked = queries_for(gathered, pairs)
    result = measure_retrieval(gathered.vectors, encode(asked.texts), asked.picture_of, asked.text_of)
    if as_json:
        print_json(
            {
                "model": loaded.card.key,
                "template": template,
                "pictures": len(gathered.rows),
                **retrieval_as_json(result),
                "published": published_as_json(published),
                "skipped": skips.as_json(),
            }
        )
    else:
        print(f"{loaded.card.id}, {len(gathered.rows)} pictures, {result.text_to_image.queries} captions")
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
