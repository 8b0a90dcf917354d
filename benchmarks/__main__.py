"""`python -m benchmarks [NAME ...]`: measures, prints a table, writes JSON and plots."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.figures import Outcome
from benchmarks.machine import describe
from benchmarks.scale import Scale
from benchmarks.show import draw_curves, print_table, write_json
from clipcore.runtime.cores import let_idle_threads_sleep

# In this order; each is a module beside this one with `run(scale: Scale) -> Outcome`.
NAMES = (
    *("encoding", "indexing", "search", "find", "under_load", "load", "memory", "store", "start", "models", "gpu"),
    "relevance",
)


def run(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which of {', '.join(NAMES)}; all by default.")] = None,
    quick: Annotated[bool, typer.Option(help="Seconds instead of minutes; the figures mean nothing.")] = False,
    device: Annotated[str, typer.Option(help="Where models run: auto, cpu, cuda.")] = "auto",
    weights: Annotated[str | None, typer.Option(help="Relevance: another model, by id or directory.")] = None,
    gallery: Annotated[Path | None, typer.Option(help="Relevance: a labelled folder, or captioned images.")] = None,
    out: Annotated[Path, typer.Option(help="Where the JSON and the plots go.")] = Path("artifacts/benchmarks"),
) -> None:
    """Measures how fast Magpie is, beside baselines and computed limits of the same run."""
    let_idle_threads_sleep()  # as the bot and the command line do
    console = Console()
    chosen = names or list(NAMES)
    if unknown := [name for name in chosen if name not in NAMES]:
        raise typer.BadParameter(f"there is no benchmark {unknown[0]!r}; choose of {', '.join(NAMES)}")
    out.mkdir(parents=True, exist_ok=True)
    scale = Scale(quick=quick, device=device, weights=weights, gallery=gallery)
    for name in chosen:
        console.print(f"measuring {name} …", style="dim")
        outcome: Outcome = importlib.import_module(f"benchmarks.{name}").run(scale)
        report = {name: outcome}
        print_table(report, console)
        # Each by itself: what is measured is kept, whatever becomes of the next.
        written = [*write_json(report, describe(), out), *draw_curves(report, out)]
        console.print(f"written: {', '.join(map(str, written))}", style="dim")


if __name__ == "__main__":
    typer.run(run)
