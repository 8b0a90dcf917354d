"""`clipcore dataset …`: splits, measures and converts data sets."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from clipcore.cli.options import Commands, Force, Json, TableOptions
from clipcore.cli.output import Skips, finish, say, tracked
from clipcore.datasets.captions import open_texts
from clipcore.datasets.split import DEFAULT_RATIOS, PARTS, How, SplitResult, parse_ratios, split_folder
from clipcore.datasets.stats import ImageStats, Inventory, measure_images, take_inventory
from clipcore.datasets.tsv import write_folder, write_tsv
from clipcore.encoding.batch import Problem

commands = Commands(name="dataset", help="Split, measure and convert data sets.", no_args_is_help=True)


@commands.command()
def split(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with a folder for each class.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder, for train, val and test.")],
    ratios: Annotated[str, typer.Option(help="train:val:test or train:test, in any unit.")] = DEFAULT_RATIOS,
    seed: Annotated[int, typer.Option(help="Of the random order; another seed gives another split.")] = 0,
    how: Annotated[How, typer.Option(help="How the images get to their part.")] = How.COPY,
    letterbox: Annotated[
        int | None, typer.Option(min=1, help="Write PNGs instead: black squares of this edge that hold the images.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Divide each class into train, val and test: the same for a seed, on every machine.

    Every class has images in train. The same command resumes a split that was stopped.
    """
    progress = partial(tracked, doing="splitting")
    done = split_folder(
        source, output, parse_ratios(ratios), seed=seed, how=how, letterbox=letterbox, progress=progress
    )
    result = {"output": str(output), "classes": done.counts, "done_before": done.done_before}
    return finish(result, lambda: _show_split(done), Skips(done.problems), as_json=as_json)


@commands.command()
def stats(
    source: Annotated[Path, typer.Argument(help="A folder of images, a table, a captions file or a tar.")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Measure squares of this edge as models see them, not whole images.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Images decoded at a time.")] = 2,
    *,
    columns: TableOptions,
    as_json: Json = False,
) -> int:
    """Show each channel's mean and standard deviation over all pixels, from 0 to 1; counts, sizes and formats."""
    inventory = take_inventory(source, columns)
    skips = Skips(inventory.problems)
    measured = ImageStats()
    outcomes = measure_images(inventory.images, size=size, workers=workers)
    for outcome in tracked(outcomes, "measuring", len(inventory.images)):
        if isinstance(outcome, Problem):
            skips.add(outcome)
        else:
            measured.add(outcome)
    result = _stats_as_json(inventory, measured)
    return finish(result, lambda: _show_stats(result), skips, as_json=as_json)


@commands.command()
def to_tsv(
    source: Annotated[
        Path, typer.Argument(help="A folder of classes, a folder with captions, a captions file, a table or a tar.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")],
    captions: Annotated[Path | None, typer.Option(help="The captions file, if its name is not a usual one.")] = None,
    split: Annotated[str | None, typer.Option(help="Which split of a Karpathy file: train, val, test.")] = None,
    *,
    columns: TableOptions,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Write `text, tab, url-safe base64 image`, one row a caption; the images' own bytes.

    Tabs and line breaks in captions become spaces. The same command resumes a table that was stopped.
    """
    pairs = open_texts(source, captions=captions, split=split, columns=columns)
    written = write_tsv(pairs, output, force=force, progress=partial(tracked, doing="writing"))
    result = {"output": str(output), "rows": written.rows, "resumed_at": written.resumed_at}
    told = f"{written.rows} rows in {output}"
    return finish(result, lambda: print(told), Skips(written.problems), as_json=as_json)


@commands.command()
def from_tsv(
    source: Annotated[Path, typer.Argument(metavar="TSV", help="A table of texts and base64 images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    by_class: Annotated[
        bool, typer.Option("--by-class", help="A folder for each text, instead of captions.json.")
    ] = False,
    *,
    columns: TableOptions,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Write each image's own bytes as a file named by its row, and captions.json beside them, as COCO has it.

    Rows with the same image share one file. The same command resumes a folder that was stopped.
    """
    progress = partial(tracked, doing="writing")
    written = write_folder(source, output, by_class=by_class, columns=columns, force=force, progress=progress)
    counts = {"files": written.files, "captions": written.captions, "resumed_at": written.resumed_at}
    told = f"{written.files} images and {written.captions} captions in {output}"
    return finish({"output": str(output), **counts}, lambda: print(told), Skips(written.problems), as_json=as_json)


def _show_split(result: SplitResult) -> None:
    table = Table("class", *PARTS)
    for name, parts in sorted(result.counts.items()):
        table.add_row(name, *(str(parts[part]) for part in PARTS))
    table.add_section()
    table.add_row("all", *(str(sum(parts[part] for parts in result.counts.values())) for part in PARTS))
    Console().print(table)
    if result.done_before:
        say(f"{result.done_before} of them were there already.")


def _stats_as_json(inventory: Inventory, measured: ImageStats) -> dict[str, Any]:
    return {
        "images": measured.images,
        # JSON has no NaN.
        "mean": measured.mean if measured.images else None,
        "std": measured.std if measured.images else None,
        "widths": _range(measured.widths),
        "heights": _range(measured.heights),
        "formats": dict(measured.formats.most_common()),
        "bytes": measured.bytes,
        "captions": inventory.captions,
        "classes": dict(sorted(inventory.classes.items())),
        "in_no_class": inventory.loose,
    }


def _range(sizes: Counter[int]) -> dict[str, float] | None:
    if not sizes:
        return None
    mean = sum(size * number for size, number in sizes.items()) / sizes.total()
    return {"least": min(sizes), "mean": round(mean, 1), "most": max(sizes)}


def _show_stats(stats: dict[str, Any]) -> None:
    """stats: as in JSON."""
    print(f"images    {stats['images']}")
    if stats["images"]:
        for name in ("mean", "std"):
            # Red, green and blue, in the form of a preprocessor's configuration.
            print(f"{name:<8}  {', '.join(f'{value:.6f}' for value in stats[name])}")
        for name in ("widths", "heights"):
            sizes = stats[name]
            print(f"{name:<8}  min {sizes['least']:g}, mean {sizes['mean']:g}, max {sizes['most']:g}")
        print(f"formats   {', '.join(f'{name} {number}' for name, number in stats['formats'].items())}")
        print(f"bytes     {stats['bytes']}")
    if stats["captions"]:
        print(f"captions  {stats['captions']}")
    if stats["classes"]:
        print(f"classes   {len(stats['classes'])}")
        for name, number in stats["classes"].items():
            print(f"  {name}  {number}")
        if stats["in_no_class"]:
            print(f"in none   {stats['in_no_class']}")
