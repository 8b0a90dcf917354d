"""Evaluation results as tables for people and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console

from clipcore.cli.output import table_of
from clipcore.evaluation.classification import Classification
from clipcore.evaluation.published import TO_IMAGE, TO_TEXT, TOP_1, TOP_5, Published
from clipcore.evaluation.retrieval import Recall, Retrieval

# More classes than a screen holds are shown by the worst of them.
_MOST_CLASSES = 40
_MOST_CONFUSIONS = 10


def show_classification(title: str, result: Classification, published: Sequence[Published]) -> None:
    print(title)
    print(f"{result.images} images of {len(result.classes)} classes")
    print(f"  top-1                  {_percent(result.top_1):>8}")
    print(f"  top-5                  {_percent(result.top_5):>8}")
    print(f"  mean per-class recall  {_percent(result.mean_recall):>8}")
    _show_classes(result)
    if wrong := result.confusions(_MOST_CONFUSIONS):
        rows = [(str(images), true, predicted) for true, predicted, images in wrong]
        _print_table("Most frequent mistakes", [">images", "true class", "predicted class"], rows)
    _show_published(published, {TOP_1: result.top_1, TOP_5: result.top_5})


def classification_as_json(result: Classification) -> dict[str, Any]:
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


def show_retrieval(title: str, result: Retrieval, published: Sequence[Published]) -> None:
    print(title)
    rows = [
        ("image → text", *_recall_cells(result.image_to_text)),
        ("text → image", *_recall_cells(result.text_to_image)),
    ]
    headings = ["", ">queries", ">R@1", ">R@5", ">R@10", ">mean", ">median rank"]
    _print_table(f"Mean recall {_percent(result.mean)}", headings, rows)
    measured = [*result.image_to_text.at.values(), *result.text_to_image.at.values()]
    _show_published(published, dict(zip((*TO_TEXT, *TO_IMAGE), measured, strict=True)))


def retrieval_as_json(result: Retrieval) -> dict[str, Any]:
    return {
        "mean_recall": result.mean,
        "image_to_text": _recall_as_json(result.image_to_text),
        "text_to_image": _recall_as_json(result.text_to_image),
    }


def _show_published(published: Sequence[Published], measured: Mapping[str, float | None]) -> None:
    """Beside one's own, which come first; nothing where the data set is not known. measured: by name, from 0 to 1."""
    if not published:
        return
    kept = [name for name in measured if any(name in one.figures for one in published)]
    own = {name: 100 * share for name, share in measured.items() if share is not None}
    sources = list(dict.fromkeys(_source(one) for one in published))
    rows = [_figures("this run", own, kept, "")]
    rows += [_figures(one.model, one.figures, kept, f"[{sources.index(_source(one)) + 1}]") for one in published]
    _print_table("Beside published figures, in percent", ["", *(f">{_short(name)}" for name in kept), ""], rows)
    for mark, source in enumerate(sources, start=1):
        print(textwrap.fill(f"[{mark}] {source}", 78, initial_indent="  ", subsequent_indent="      "))


def published_as_json(published: Iterable[Published]) -> list[dict[str, Any]]:
    """Figures in percent, as printed in their sources."""
    return [
        {"model": one.model, "percent": one.figures, "source": one.source, **({"note": one.note} if one.note else {})}
        for one in published
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _show_classes(result: Classification) -> None:
    ordered = sorted(result.per_class, key=lambda one: (one.recall is None, one.recall or 0.0, one.name))
    rows = [
        (one.name, str(one.images), str(one.predicted), _percent(one.recall), _percent(one.precision))
        for one in ordered[:_MOST_CLASSES]
    ]
    more = len(ordered) > _MOST_CLASSES
    title = f"The {_MOST_CLASSES} worst classes; --json has all" if more else "Classes, the worst first"
    _print_table(title, ["class", ">images", ">predicted", ">recall", ">precision"], rows)


def _recall_cells(recall: Recall) -> list[str]:
    return [str(recall.queries), *map(_percent, recall.at.values()), _percent(recall.mean), f"{recall.median_rank:g}"]


def _recall_as_json(recall: Recall) -> dict[str, Any]:
    at = {f"recall_at_{cutoff}": share for cutoff, share in recall.at.items()}
    return {"queries": recall.queries, **at, "mean": recall.mean, "median_rank": recall.median_rank}


def _source(one: Published) -> str:
    return f"{one.source}; {one.note}" if one.note else one.source


def _figures(model: str, figures: Mapping[str, float], names: Sequence[str], source: str) -> list[str]:
    return [model, *(f"{figures[name]:.1f}" if name in figures else "" for name in names), source]


def _short(name: str) -> str:
    """`image→text R@1` takes six columns of eighty."""
    return name.replace("image→text ", "i→t ").replace("text→image ", "t→i ").replace(" R@", " ")


def _print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = table_of(headings, rows, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    # Names are user text: square brackets in them are not markup.
    Console(highlight=False, markup=False, emoji=False).print(table, markup=False)
