"""A report as a table for people, as JSON for comparison, and its curves as plots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Against, Curve, Figure, Outcome

Report = Mapping[str, Outcome]


def print_table(report: Report, console: Console) -> None:
    for name, outcome in report.items():
        if outcome.skipped:
            console.print(f"[bold]{name}[/bold]: skipped. {outcome.skipped}")
            continue
        table = Table(title=name, title_justify="left", title_style="bold")
        for heading in ("figure", "median", "least to most", "against", "ratio", "bar"):
            table.add_column(heading, overflow="fold")
        for figure in outcome.figures:
            _add_rows(table, figure)
        console.print(table)
        for figure in outcome.figures:
            if figure.note:
                console.print(f"  {figure.name}: {figure.note}", style="dim")
        if outcome.missing:
            console.print(f"  not installed here, so not compared with: {', '.join(outcome.missing)}", style="dim")


def write_json(report: Report, machine: Mapping[str, object], directory: Path) -> list[Path]:
    """A file for each benchmark: the machine, and every figure with its runs, what it stands against, and whether its
    bar is met. Benchmarks that were not run keep their files.
    """
    written = []
    for name, outcome in report.items():
        path = directory / f"{name}.json"
        content = {"machine": machine, **_as_data(outcome)}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def draw_curves(report: Report, directory: Path) -> list[Path]:
    """A PNG for each curve; nothing where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ModuleNotFoundError:
        return []
    drawn = []
    for outcome in report.values():
        for curve in outcome.curves:
            canvas = Canvas(figsize=(7, 4.2), layout="constrained")
            axes = canvas.add_subplot()
            for label, values in curve.series.items():
                axes.plot(curve.x, values, marker="o", markersize=3, label=label)
            if curve.logarithmic:
                axes.set_xscale("log")
                axes.set_yscale("log")
            axes.set(title=curve.name, xlabel=curve.x_name, ylabel=curve.y_name)
            axes.grid(visible=True, which="both", alpha=0.2)
            axes.legend()
            path = directory / f"{_file_name(curve)}.png"
            canvas.savefig(path, dpi=110)
            drawn.append(path)
    return drawn


def _add_rows(table: Table, figure: Figure) -> None:
    spread = figure.spread
    head = (
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        f"{_number(spread.least)} to {_number(spread.most)}",
    )
    for position, other in enumerate(figure.against or [None]):
        start = head if position == 0 else ("", "", "")
        if other is None:
            table.add_row(*start, "", "", "")
            continue
        ratio = f"{other.ratio(figure.value):.2f}"
        table.add_row(*start, f"{other.name}: {_number(other.value)}", ratio, _bar(other, figure.value))


def _bar(other: Against, ours: float) -> str:
    met = other.met(ours)
    if met is None:
        return ""
    wanted = [f"≥ {other.at_least:g}"] if other.at_least is not None else []
    wanted += [f"≤ {other.at_most:g}"] if other.at_most is not None else []
    return f"{' and '.join(wanted)} {'met' if met else 'MISSED'}"


def _as_data(outcome: Outcome) -> dict[str, object]:
    if outcome.skipped:
        return {"skipped": outcome.skipped}
    return {
        "figures": [
            {
                "name": figure.name,
                "median": figure.value,
                "unit": figure.unit,
                "runs": figure.spread.runs,
                "against": [
                    {
                        "name": other.name,
                        "value": other.value,
                        "ratio": other.ratio(figure.value),
                        "at_least": other.at_least,
                        "at_most": other.at_most,
                        "met": other.met(figure.value),
                    }
                    for other in figure.against
                ],
                "note": figure.note,
            }
            for figure in outcome.figures
        ],
        "curves": [
            {"name": curve.name, "x_name": curve.x_name, "x": curve.x, "y_name": curve.y_name, "series": curve.series}
            for curve in outcome.curves
        ],
        "missing": list(outcome.missing),
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _file_name(curve: Curve) -> str:
    return re.sub(r"[^a-z0-9]+", "-", curve.name.lower()).strip("-")
