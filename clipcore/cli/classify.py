"""`clipcore classify`: the probability of each label, for each image."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model, load_model
from clipcore.cli.output import Skips, print_json, tracked
from clipcore.encoding.batch import ImageSource, SkippedImage, encode_sources
from clipcore.errors import BadInput
from clipcore.folder_search.paths import shown, visible
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files
from clipcore.linear_probe import LinearProbe
from clipcore.prompts import Prompts
from clipcore.types import Label, LabelScore, Vectors
from clipcore.zero_shot import ZeroShotClassifier, read_labels, read_templates, split_labels

if TYPE_CHECKING:
    from clipcore.model import ClipModel

_BAR = 24

Judge = Callable[[Vectors], list[tuple[LabelScore, ...]]]

TemplatesFile = Annotated[
    Path | None,
    typer.Option(
        "--templates", help="One prompt template a line, with {} for the label; averaged. The model's own if not given."
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(classify)


def classify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, and folders of them.")],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Labels, separated by commas; a label that contains a comma needs --labels-file."
        ),
    ] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option(
            "--labels-file",
            help="One label a line: `name`, `name: phrase, phrase` or separated by tabs; or JSON. The phrases describe "
            "the label to the model, and are averaged.",
        ),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option("--probe", help="Instead of labels: a probe that `clipcore evaluate probe` saved.")
    ] = None,
    templates: TemplatesFile = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Labels shown for an image.")] = 5,
    min_score: Annotated[
        float | None, typer.Option("--min-score", min=0, max=1, help="Show no label with a lower probability.")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            help="What else an image may show: texts, separated by commas, that compete with the labels but are not "
            "shown. Labels below the model's own threshold are then left out.",
        ),
    ] = None,
    abstain: Annotated[
        bool,
        typer.Option(
            "--abstain",
            help="Show no label rather than a doubtful one: --background with the model's own texts. It rejects images "
            "of other things, but not every wrong choice among similar labels.",
        ),
    ] = False,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Show which of the given labels fit each image, with probabilities."""
    for image in images:
        _refuse_label(image)
    request = ClassifyRequest.parse(
        labels, labels_file, probe, templates, background, abstain=abstain, min_score=min_score, top=top
    )
    sources = [ImageSource.file(file) for path in images for file in (image_files(path) if path.is_dir() else [path])]
    if not sources:
        raise BadInput("There are no images in these folders; name others.")
    loaded = load_model(model, device)
    judge = judge_for(request, loaded, batch_size)
    skips = Skips()
    results: list[dict[str, Any]] = []
    # Without --json the lines of each image show the progress.
    watched = tracked(sources, "classifying", len(sources)) if as_json else sources
    for outcome in encode_sources(loaded, watched, batch_size=batch_size):
        if isinstance(outcome, SkippedImage):
            skips.image(outcome)
            continue
        [scores] = judge(outcome.embedding[None])
        if as_json:
            results.append(_as_json(outcome.source.name, scores))
        else:
            print(_as_text(outcome.source.name, scores), flush=True)
    if as_json:
        print_json({"model": loaded.card.key, "images": results, "skipped": skips.as_json()})
    return skips.exit_code


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """What to classify by. labels: empty with a probe. templates: empty for the model's own. min_score: None for 0, or
    for the model's threshold where an image may be none of the labels.
    """

    labels: Sequence[Label]
    probe: Path | None
    templates: tuple[str, ...]
    background: tuple[str, ...]
    abstain: bool
    min_score: float | None
    top: int

    @classmethod
    def parse(
        cls,
        labels: str | None,
        labels_file: Path | None,
        probe: Path | None,
        templates: Path | None,
        background: str | None,
        *,
        abstain: bool,
        min_score: float | None,
        top: int,
    ) -> ClassifyRequest:
        """Checks the options and reads their files. Raises typer.BadParameter for options that exclude each other, and
        BadInput where a file or a list cannot be used.
        """
        if sum(given is not None for given in (labels, labels_file, probe)) != 1:
            raise typer.BadParameter("Give the labels with one of --labels, --labels-file and --probe.")
        if probe is not None and (templates is not None or background is not None or abstain):
            raise typer.BadParameter("A probe needs no texts: leave out --templates, --background and --abstain.")
        from_file = read_labels(labels_file) if labels_file is not None else []
        return cls(
            labels=from_file if labels is None else split_labels(labels),
            probe=probe,
            templates=() if templates is None else read_templates(templates),
            background=() if background is None else tuple(label.name for label in split_labels(background)),
            abstain=abstain,
            min_score=min_score,
            top=top,
        )


def judge_for(request: ClassifyRequest, model: ClipModel, batch_size: int) -> Judge:
    """Returns the function that classifies embeddings. Raises BadInput where the probe cannot be used."""
    may_reject = request.abstain or bool(request.background)
    min_score = request.min_score
    if min_score is None:
        min_score = model.calibration.tag_threshold if may_reject else 0.0
    if request.probe is not None:
        probe = LinearProbe.load(request.probe, model.card.key)
        return partial(probe.classify, top=request.top, threshold=min_score)
    own = model.card.prompts
    prompts = Prompts(
        label=request.templates or own.label,
        query=own.query,
        background=request.background or (own.background if request.abstain else ()),
    )
    classifier = ZeroShotClassifier.for_model(
        model, request.labels, prompts, threshold=min_score, batch_size=batch_size
    )
    return partial(classifier.classify, top=request.top)


def _refuse_label(image: Path) -> None:
    """A missing image is skipped; a text in its place was meant for --labels."""
    name = str(image)
    if not has_image_suffix(name) and not os.path.exists(name):  # noqa: PTH110 - a text may be too long for a path
        raise BadInput(f"There is no file {name!r}; labels are given as --labels {shlex.quote(name)}.")


def _as_json(name: str, scores: Sequence[LabelScore]) -> dict[str, Any]:
    return {
        "name": shown(name),
        "labels": [{"label": score.label, "probability": round(score.probability, 6)} for score in scores],
    }


def _as_text(name: str, scores: Sequence[LabelScore]) -> str:
    bars = [
        f"  {score.probability:6.1%}  {'█' * round(_BAR * score.probability):<{_BAR}}  {score.label}"
        for score in scores
    ]
    return "\n".join([visible(name), *(bars or ["  none of the labels"])])
