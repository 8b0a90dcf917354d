"""`clipcore dataset …`: splits, measures and converts data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from clipcore.cli.commands import Commands
from clipcore.cli.options import Header, ImageColumn, Json, TextColumn
from clipcore.cli.output import Skips, print_json, say, tracked
from clipcore.datasets.opening import open_texts
from clipcore.datasets.split import DEFAULT_RATIOS, PARTS, How, SplitResult, parse_ratios, split_folder
from clipcore.datasets.stats import ImageStats, Inventory, measure_images, take_inventory
from clipcore.datasets.tables import Columns
from clipcore.datasets.tsv import write_folder, write_tsv
from clipcore.encoding.batch import Problem
from clipcore.encoding.resumable import Progress

Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]


def register(app: typer.Typer) -> None:
    dataset = Commands(help="Split, measure and convert data sets.", no_args_is_help=True)
    dataset.command("split")(split)
    dataset.command("stats")(stats)
    dataset.command("to-tsv")(to_tsv)
    dataset.command("from-tsv")(from_tsv)
    app.add_typer(dataset, name="dataset")


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
    result = split_folder(
        source, output, parse_ratios(ratios), seed=seed, how=how, letterbox=letterbox, progress=_progress("splitting")
    )
    skips = Skips(result.problems)
    if as_json:
        print_json(
            {"output": str(output), "classes": result.counts, "done_before": result.done_before}
            | {"skipped": skips.as_json()}
        )
    else:
        _show_split(result)
    return skips.exit_code


def stats(
    source: Annotated[Path, typer.Argument(help="A folder of images, a table, a captions file or a tar.")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Measure squares of this edge as models see them, not whole images.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Images decoded at a time.")] = 2,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    header: Header = None,
    as_json: Json = False,
) -> int:
    """Show each channel's mean and standard deviation over all pixels, from 0 to 1; counts, sizes and formats."""
    inventory = take_inventory(source, Columns(text_column, image_column, header))
    skips = Skips(inventory.problems)
    measured = ImageStats()
    outcomes = measure_images(inventory.images, size=size, workers=workers)
    for outcome in tracked(outcomes, "measuring", len(inventory.images)):
        if isinstance(outcome, Problem):
            skips.add(outcome.name, outcome.reason)
        else:
            measured.add(outcome)
    if as_json:
        print_json(_stats_json(inventory, measured) | {"skipped": skips.as_json()})
    else:
        _show_stats(inventory, measured)
    return skips.exit_code


def to_tsv(
    source: Annotated[
        Path, typer.Argument(help="A folder of classes, a folder with captions, a captions file, a table or a tar.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")],
    captions: Annotated[Path | None, typer.Option(help="The captions file, if its name is not a usual one.")] = None,
    part: Annotated[
        str | None, typer.Option("--split", help="Which split of a Karpathy file: train, val, test.")
    ] = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    header: Header = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Write `text, tab, url-safe base64 image`, one row a caption; the images' own bytes.

    Tabs and line breaks in captions become spaces. The same command resumes a table that was stopped.
    """
    pairs = open_texts(source, captions=captions, split=part, columns=Columns(text_column, image_column, header))
    written = write_tsv(pairs, output, force=force, progress=_progress("writing"))
    skips = Skips(written.problems)
    if as_json:
        print_json(
            {"output": str(output), "rows": written.rows, "resumed_at": written.resumed_at}
            | {"skipped": skips.as_json()}
        )
    else:
        print(f"{written.rows} rows in {output}")
    return skips.exit_code


def from_tsv(
    source: Annotated[Path, typer.Argument(metavar="TSV", help="A table of texts and base64 images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    by_class: Annotated[
        bool, typer.Option("--by-class", help="A folder for each text, instead of captions.json.")
    ] = False,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    header: Header = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Write each image's own bytes as a file named by its row, and captions.json beside them, as COCO has it.

    Rows with the same image share one file. The same command resumes a folder that was stopped.
    """
    columns = Columns(text_column, image_column, header)
    written = write_folder(
        source, output, by_class=by_class, columns=columns, force=force, progress=_progress("writing")
    )
    skips = Skips(written.problems)
    if as_json:
        counts = {"files": written.files, "captions": written.captions, "resumed_at": written.resumed_at}
        print_json({"output": str(output)} | counts | {"skipped": skips.as_json()})
    else:
        print(f"{written.files} images and {written.captions} captions in {output}")
    return skips.exit_code


def _progress(doing: str) -> Progress:
    return lambda items: tracked(items, doing, len(items))


def _show_split(result: SplitResult) -> None:
    table = Table("class", *PARTS)
    for name, parts in sorted(result.counts.items()):
        table.add_row(name, *(str(parts[part]) for part in PARTS))
    sums = [sum(parts[part] for parts in result.counts.values()) for part in PARTS]
    table.add_section()
    table.add_row("all", *map(str, sums))
    Console().print(table)
    if result.done_before:
        say(f"{result.done_before} of them were there already.")


def _stats_json(inventory: Inventory, measured: ImageStats) -> dict[str, Any]:
    # JSON has no NaN.
    channels = {"mean": measured.mean, "std": measured.std} if measured.images else {"mean": None, "std": None}
    return {
        "images": measured.images,
        **channels,
        "widths": _range(measured.widths),
        "heights": _range(measured.heights),
        "formats": dict(measured.formats.most_common()),
        "bytes": measured.bytes,
        "captions": inventory.captions,
        "classes": dict(sorted(inventory.classes.items())),
        "in_no_class": inventory.loose,
    }


def _show_stats(inventory: Inventory, measured: ImageStats) -> None:
    print(f"images  {measured.images}")
    if measured.images:
        print(f"mean      {_channels(measured.mean)}")
        print(f"std       {_channels(measured.std)}")
        print(f"widths    {_span(measured.widths)}")
        print(f"heights   {_span(measured.heights)}")
        print(f"formats   {', '.join(f'{name} {number}' for name, number in measured.formats.most_common())}")
        print(f"bytes     {measured.bytes}")
    if inventory.captions:
        print(f"captions  {inventory.captions}")
    if inventory.classes:
        print(f"classes   {len(inventory.classes)}")
        for name, number in sorted(inventory.classes.items()):
            print(f"  {name}  {number}")
        if inventory.loose:
            print(f"in none   {inventory.loose}")


def _channels(values: Iterable[float]) -> str:
    """Red, green and blue, in the form of a preprocessor's configuration."""
    return ", ".join(f"{value:.6f}" for value in values)


def _range(sizes: Counter[int]) -> dict[str, float] | None:
    if not sizes:
        return None
    mean = sum(size * number for size, number in sizes.items()) / sizes.total()
    return {"least": min(sizes), "mean": round(mean, 1), "most": max(sizes)}


def _span(sizes: Counter[int]) -> str:
    span = _range(sizes) or {}
    return ", ".join(f"{name} {span[key]:g}" for name, key in (("min", "least"), ("mean", "mean"), ("max", "most")))
