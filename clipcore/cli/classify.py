"""`clipcore classify`: the probability of each label, for each image."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model, load_model
from clipcore.cli.output import Skips, print_json, tracked
from clipcore.encoding.batch import ImageOutcome, ImageSource, SkippedImage, encode_images
from clipcore.errors import BadInput
from clipcore.folder_search.paths import shown, visible
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files
from clipcore.linear_probe import LinearProbe
from clipcore.prompts import Prompts
from clipcore.types import LabelScore, Vectors
from clipcore.zero_shot import ZeroShotClassifier, read_labels, read_templates, split_labels

if TYPE_CHECKING:
    from clipcore.model import ClipModel

_BAR = 24

Judge = Callable[[Vectors], list[tuple[LabelScore, ...]]]

LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels-file",
        help="One label a line: `name`, `name: phrase, phrase` or tabs between them; or JSON. The phrases are what "
        "the model is asked, averaged.",
    ),
]
TemplatesFile = Annotated[
    Path | None,
    typer.Option("--templates", help="One template a line, with {} for the label; averaged. Else the model's own."),
]


def register(app: typer.Typer) -> None:
    app.command()(classify)


def classify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, and folders of them.")],
    labels: Annotated[str | None, typer.Option("--labels", help="Labels with commas between them.")] = None,
    labels_file: LabelsFile = None,
    probe: Annotated[
        Path | None, typer.Option("--probe", help="In place of labels: a probe that `clipcore evaluate probe` saved.")
    ] = None,
    templates: TemplatesFile = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Labels shown for an image.")] = 5,
    least: Annotated[
        float | None, typer.Option("--least", min=0, max=1, help="Probability that a label must have to be shown.")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            help="What else an image may be: words with commas, that stand for no label and may win. Labels below the "
            "model's own least probability are then left out.",
        ),
    ] = None,
    abstain: Annotated[
        bool,
        typer.Option(
            "--abstain",
            help="Show no label rather than a doubtful one: --background with the model's own words. It turns images "
            "of other things away, not every wrong guess among labels that are alike.",
        ),
    ] = False,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Which of these labels each image shows, with probabilities."""
    for image in images:
        _refuse_words(image)
    if sum(given is not None for given in (labels, labels_file, probe)) != 1:
        raise typer.BadParameter("Give the labels with --labels, --labels-file or --probe, one of them.")
    if probe is not None and (templates is not None or background is not None or abstain):
        raise typer.BadParameter("A probe needs no words: leave --templates, --background and --abstain out.")
    chosen = read_labels(labels_file) if labels_file is not None else []
    if labels is not None:
        chosen = split_labels(labels)
    own_templates = read_templates(templates) if templates is not None else None
    sources = [source for path in images for source in _sources(path)]
    if not sources:
        raise BadInput("There are no images in what was named.")
    loaded = load_model(model, device)
    prompts = _prompts(loaded, own_templates, background, abstain)
    if least is None:
        least = loaded.calibration.tag_match if abstain or background is not None else 0.0
    if probe is not None:
        learnt = LinearProbe.load(probe, loaded.card.key)
        judge: Judge = partial(learnt.classify, top=top, threshold=least)
    else:
        classifier = ZeroShotClassifier.for_model(loaded, chosen, prompts, threshold=least, batch_size=batch_size)
        judge = partial(classifier.classify, top=top)
    skips = Skips()
    # For people the images' own lines are the progress.
    watched = tracked(sources, "classifying", len(sources)) if as_json else sources
    outcomes = encode_images(loaded, watched, batch_size=batch_size)
    answers = _answers(judge, outcomes, skips)
    if as_json:
        shown = [_as_json(name, scores) for name, scores in answers]
        print_json({"model": loaded.card.key, "images": shown, "skipped": skips.as_json()})
    else:
        for name, scores in answers:
            print(_as_text(name, scores), flush=True)
    return skips.exit_code


def _refuse_words(image: Path) -> None:
    """A missing image is skipped; words in its place were meant for an option."""
    called = str(image)
    if not has_image_suffix(called) and not os.path.exists(called):  # noqa: PTH110 - words may be too long for a path
        raise BadInput(f"There is no file {called!r}; labels are given as --labels {shlex.quote(called)}.")


def _sources(path: Path) -> list[ImageSource]:
    files = image_files(path) if path.is_dir() else [path]
    return [ImageSource.file(file) for file in files]


def _prompts(model: ClipModel, templates: tuple[str, ...] | None, background: str | None, abstain: bool) -> Prompts:
    own = model.card.prompts
    others = tuple(label.name for label in split_labels(background)) if background else ()
    return Prompts(
        label=templates or own.label,
        query=own.query,
        background=others or (own.background if abstain else ()),
    )


def _answers(
    judge: Judge, outcomes: Iterable[ImageOutcome], skips: Skips
) -> Iterator[tuple[str, tuple[LabelScore, ...]]]:
    for outcome in outcomes:
        if isinstance(outcome, SkippedImage):
            skips.image(outcome)
            continue
        [scores] = judge(outcome.embedding[None])
        yield outcome.source.name, scores


def _as_json(name: str, scores: tuple[LabelScore, ...]) -> dict[str, Any]:
    return {
        "name": shown(name),
        "labels": [{"label": score.label, "probability": round(score.probability, 6)} for score in scores],
    }


def _as_text(name: str, scores: tuple[LabelScore, ...]) -> str:
    bars = [
        f"  {score.probability:6.1%}  {'█' * round(_BAR * score.probability):<{_BAR}}  {score.label}"
        for score in scores
    ]
    return "\n".join([visible(name), *(bars or ["  none of the labels"])])
