"""A run at a glance: loss and recall over its steps, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipcore.errors import BadInput
from clipcore.train.writing import writing_to


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """rows: a `Record`'s. Writes a PNG. Raises BadInput where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BadInput("Drawing the curves needs matplotlib: pip install 'magpie[lab]'.") from error
    steps = [row for row in rows if "loss" in row]
    recalls = [row for row in rows if "mean_recall" in row]
    figure = Figure(figsize=(8, 6 if recalls else 3.5), layout="constrained")
    panels = figure.subplots(2 if recalls else 1, squeeze=False, sharex=True)[:, 0]
    panels[0].plot([row["step"] for row in steps], [row["loss"] for row in steps], ".-", color="tab:blue")
    panels[0].set_ylabel("loss")
    if recalls:
        _draw_recalls(panels[1], recalls)
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    with writing_to(path.parent):
        figure.savefig(path, dpi=120)


def _draw_recalls(panel: Any, recalls: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - matplotlib's Axes
    at = [row["step"] for row in recalls]
    panel.plot(at, [100 * row["mean_recall"] for row in recalls], "o-", color="black", label="mean of all six")
    for direction, name, style in (("text_to_image", "text → picture", "--"), ("image_to_text", "picture → text", ":")):
        panel.plot(at, [100 * row[direction]["R@1"] for row in recalls], style, label=f"{name}, R@1")
    best = max(recalls, key=lambda row: row["mean_recall"])
    panel.plot(best["step"], 100 * best["mean_recall"], "*", color="tab:red", markersize=14, label="best")
    panel.set_ylabel("recall, %")
    # A curve that stays at 100 % is no reason for an axis that goes beyond it.
    panel.set_ylim(bottom=max(0, panel.get_ylim()[0]), top=min(101, panel.get_ylim()[1]))
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
