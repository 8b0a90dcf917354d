"""`clipcore classify`: the probability of each label, for each image."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcore.cli.options import TEMPLATES_HELP, Commands, EncodingOptions, Json, option
from clipcore.cli.output import Skips, finish, tracked
from clipcore.encoding.batch import ImageSource, encode_sources, without_skipped
from clipcore.errors import BadInput
from clipcore.folder_search.paths import shown, visible
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files
from clipcore.linear_probe import LinearProbe
from clipcore.types import LabelScore, Vectors
from clipcore.zero_shot import ZeroShotClassifier, read_labels, read_templates, split_labels

if TYPE_CHECKING:
    from clipcore.model import ClipModel

_BAR = 24

Judge = Callable[[Vectors], list[tuple[LabelScore, ...]]]

commands = Commands()


@dataclass(frozen=True, slots=True)
class LabelOptions:
    labels: str | None = option(
        None, help="Labels, separated by commas; a label that contains a comma needs --labels-file."
    )
    labels_file: Path | None = option(
        None,
        help="One label a line: `name`, `name: phrase, phrase` or separated by tabs; or JSON. The phrases describe "
        "the label to the model, and are averaged.",
    )
    probe: Path | None = option(None, help="Instead of labels: a probe that `clipcore evaluate probe` saved.")
    templates: Path | None = option(None, help=TEMPLATES_HELP)
    top: int = option(5, min=1, help="Labels shown for an image.")
    min_score: float | None = option(None, min=0, max=1, help="Show no label with a lower probability.")
    background: str | None = option(
        None,
        help="What else an image may show: texts, separated by commas, that compete with the labels but are not "
        "shown. Labels below the model's own threshold are then left out.",
    )
    abstain: bool = option(
        False,
        help="Show no label rather than a doubtful one: --background with the model's own texts. It rejects images "
        "of other things, but not every wrong choice among similar labels.",
    )

    def load_judge(self, encoding: EncodingOptions) -> tuple[ClipModel, Judge]:
        """Returns the model, and the function that classifies its embeddings. Raises typer.BadParameter for options
        that exclude each other, and BadInput where a file or a list cannot be used; most of it before the model loads.
        """
        if sum(given is not None for given in (self.labels, self.labels_file, self.probe)) != 1:
            raise typer.BadParameter("Give the labels with one of --labels, --labels-file and --probe.")
        if self.probe is not None and (self.templates is not None or self.background is not None or self.abstain):
            raise typer.BadParameter("A probe needs no texts: leave out --templates, --background and --abstain.")
        labels = split_labels(self.labels) if self.labels is not None else []
        if self.labels_file is not None:
            labels = read_labels(self.labels_file)
        templates = read_templates(self.templates) if self.templates is not None else ()
        background = tuple(label.name for label in split_labels(self.background)) if self.background is not None else ()
        model = encoding.load()
        min_score = self.min_score
        if min_score is None:
            # An image that may be none of the labels is held to the model's threshold.
            min_score = model.calibration.tag_threshold if self.abstain or background else 0.0
        if self.probe is not None:
            probe = LinearProbe.load(self.probe, model.card.key)
            return model, partial(probe.classify, top=self.top, threshold=min_score)
        own = model.card.prompts
        background = background or (own.background if self.abstain else ())
        prompts = replace(own, label=templates or own.label, background=background)
        classifier = ZeroShotClassifier.for_model(
            model, labels, prompts, threshold=min_score, batch_size=encoding.batch_size
        )
        return model, partial(classifier.classify, top=self.top)


@commands.command()
def classify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, and folders of them.")],
    label_options: LabelOptions,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Show which of the given labels fit each image, with probabilities."""
    for path in images:
        _refuse_label(path)
    sources = [ImageSource.file(file) for path in images for file in (image_files(path) if path.is_dir() else [path])]
    if not sources:
        raise BadInput("There are no images in these folders; name others.")
    model, judge = label_options.load_judge(encoding)
    skips = Skips()
    results: list[dict[str, Any]] = []
    # Without --json the lines of each image show the progress.
    watched = tracked(sources, "classifying") if as_json else sources
    outcomes = encode_sources(model, watched, batch_size=encoding.batch_size)
    for _, image in without_skipped(outcomes, skips.add):
        [scores] = judge(image.embedding[None])
        if as_json:
            labels = [{"label": score.label, "probability": round(score.probability, 6)} for score in scores]
            results.append({"name": shown(image.name), "labels": labels})
        else:
            print(_as_text(image.name, scores), flush=True)
    return finish({"model": model.card.key, "images": results}, lambda: None, skips, as_json=as_json)


def _refuse_label(path: Path) -> None:
    """A missing image is skipped; a text in its place was meant for --labels."""
    name = str(path)
    if not has_image_suffix(name) and not os.path.exists(name):  # noqa: PTH110 - a text may be too long for a path
        raise BadInput(f"There is no file {name!r}; labels are given as --labels {shlex.quote(name)}.")


def _as_text(name: str, scores: Sequence[LabelScore]) -> str:
    bars = [
        f"  {score.probability:6.1%}  {'█' * round(_BAR * score.probability):<{_BAR}}  {score.label}"
        for score in scores
    ]
    return "\n".join([visible(name), *(bars or ["  none of the labels"])])
