"""A table's column encoded into a file or a stream, a batch at a time, so that Ctrl-C loses a batch at most."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from clipcore.dataset.pairs import Problem
from clipcore.dataset.partial import Partial, check_output, file_identity
from clipcore.dataset.rows import Row, first_rows, open_table, read_rows, without_blank_end
from clipcore.extract.columns import Choice, Chosen, choose
from clipcore.extract.encoding import RowFeatures, encode_rows
from clipcore.extract.formats import Output, RowFormat, TsvRows, row_format
from clipcore.features import DEFAULT_BATCH_SIZE, Encoder

Watch = Callable[[Iterable[RowFeatures]], Iterable[RowFeatures]]
"""Passes rows on and sees each go by, as a progress bar does."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """rows: in the whole output, broken ones included. problems: the broken ones. resumed_at: the rows that an earlier
    run had answered.
    """

    rows: int
    dimension: int
    problems: list[Problem] = field(default_factory=list)
    resumed_at: int = 0


def extract(
    model: Encoder,
    table: Path | None,
    output: Path | None,
    choice: Choice,
    form: Output = Output.TSV,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    force: bool = False,
    watch: Watch = iter,
) -> Extracted:
    """One row out for each line in, in their order; broken ones as `form` has them. table, output: None for stdin and
    stdout, the latter TSV alone.

    After an interruption the same call goes on where it was, unless stdin or stdout is one of its ends. Raises BadInput
    where the table or the choice cannot be used, and where the output exists, unless `force`.
    """
    folder = Path() if table is None else table.parent
    with _opened(table) as file:
        rows, chosen = _begin(read_rows(file), choice)

        def encode(rest: Iterable[Row]) -> Iterator[list[RowFeatures]]:
            found = encode_rows(model, rest, chosen, folder, batch_size=batch_size, workers=workers)
            return _batches(iter(watch(found)), batch_size)

        if output is None:
            return _to_stream(encode(rows), sys.stdout.buffer, model.card.dimension)
        writer = row_format(form, model.card.dimension, chosen.append_names)
        job = None if table is None else _job(model, table, choice, form)
        with Partial(output, job, force=force) as partial:
            return _to_file(partial, encode(islice(rows, partial.taken, None)), writer, model.card.dimension)


def check(
    table: Path | None, output: Path | None, choice: Choice, form: Output = Output.TSV, *, force: bool = False
) -> None:
    """Raises BadInput as `extract` would, as far as can be told before a model is loaded for it."""
    if output is not None:
        check_output(output, force=force)
        row_format(form, 1, choice.append)
    if table is not None:
        with open_table(table) as file:
            _begin(read_rows(file), choice)


def _opened(table: Path | None) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if table is None else open_table(table)


def _begin(rows: Iterator[Row], choice: Choice) -> tuple[Iterator[Row], Chosen]:
    """The rows behind the header."""
    rows = without_blank_end(rows)
    sample = first_rows(rows)
    chosen = choose(choice, sample)
    return islice(chain(sample, rows), int(choice.header), None), chosen


def _job(model: Encoder, table: Path, choice: Choice, form: Output) -> dict[str, Any]:
    # As JSON gives it back: lists, no tuples.
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(choice).items()}
    return {"extract": file_identity(table), "model": model.card.key, "choice": told, "form": form}


def _to_stream(batches: Iterable[list[RowFeatures]], out: BinaryIO, dimension: int) -> Extracted:
    writer, rows = TsvRows(dimension), 0
    problems: list[Problem] = []
    for batch in batches:
        out.write(writer.rows(batch))
        out.flush()
        rows += len(batch)
        problems += _problems(batch)
    return Extracted(rows, dimension, problems)


def _to_file(partial: Partial, batches: Iterable[list[RowFeatures]], writer: RowFormat, dimension: int) -> Extracted:
    begun = partial.taken
    if not begun:
        partial.file.write(writer.head(0))
    for batch in batches:
        partial.file.write(writer.rows(batch))
        partial.commit(partial.taken + len(batch), _problems(batch))
    partial.file.seek(0)
    partial.file.write(writer.head(partial.taken))
    partial.finish(writer.convert)
    return Extracted(partial.taken, dimension, partial.problems, begun)


def _batches(rows: Iterator[RowFeatures], size: int) -> Iterator[list[RowFeatures]]:
    while batch := list(islice(rows, size)):
        yield batch


def _problems(batch: Iterable[RowFeatures]) -> list[Problem]:
    return [Problem(row.name, row.reason) for row in batch if row.vector is None]
