"""Encoded words and images in a file, each vector with its name; an interrupted one is gone on with."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol

import numpy as np

from clipcore.datasets.pairs import Problem
from clipcore.datasets.rows import Row, first_rows, open_table, read_rows, without_blank_end
from clipcore.encoding.batch import DEFAULT_BATCH_SIZE
from clipcore.encoding.inputs import Input, encode_inputs
from clipcore.encoding.resumable import Partial, check_output, file_identity, whole, write_whole
from clipcore.encoding.tables import Choice, Chosen, RowFeatures, choose, encode_rows
from clipcore.errors import BadInput
from clipcore.files import write_tensors
from clipcore.types import Encoder, Vectors

KIND = "vectors 1"
_ROWS_AT_A_TIME = 4096
_SEPARATORS = dict.fromkeys(map(ord, "\t\r\n"), " ")


class Form(StrEnum):
    NPY = ".npy"
    SAFETENSORS = ".safetensors"
    TSV = ".tsv"


@dataclass(frozen=True, slots=True)
class Written:
    """encoded: vectors in the file. resumed_at: inputs that earlier runs had answered."""

    encoded: int
    resumed_at: int


def write_encoded(
    model: Encoder,
    inputs: Sequence[Input],
    output: Path,
    *,
    batch_size: int,
    force: bool = False,
    watch: Callable[[Sequence[Input]], Iterable[Input]] = iter,
    tell: Callable[[Problem], object] = lambda problem: None,
) -> Written:
    """The form follows the name: `.npy` (float32 [n, dim], with a list of names in `.names.json` beside it),
    `.safetensors` (`vectors`, and a JSON list of `names` in its metadata), `.tsv` (a name, then its numbers).

    What is skipped has no row. Memory: the names and a few batches; for `.safetensors` all vectors once more in the
    end, 2 KiB each at 512 dimensions. tell: hears of each skipped input, those of earlier runs first. Raises BadInput
    where the output exists, unless `force`.
    """
    form = check_encoded(output, force=force)
    job = {"model": model.card.key, "form": form, "inputs": _digest(inputs)}
    with Partial(output, job, force=force) as partial:
        resumed_at = partial.taken
        for earlier in partial.problems:
            tell(earlier)
        for done in encode_inputs(model, watch(inputs[resumed_at:]), batch_size=batch_size):
            problems = [Problem(done.name, done.reason)] if done.vector is None else []
            for problem in problems:
                tell(problem)
            if done.vector is not None:
                partial.file.write(done.vector.astype("<f4").tobytes())
            partial.commit(partial.taken + 1, problems)
        skipped = {problem.name for problem in partial.problems}
        # Words are never skipped, though they may read like the name of an image that was.
        names = [each.name for each in inputs if each.image is None or each.name not in skipped]
        partial.finish(lambda part, path: _WRITERS[form](part, path, names, model))
    return Written(len(names), resumed_at)


def as_line(name: str, vector: Vectors) -> str:
    """Tab-separated, with as few digits as tell one float32 from every other. Tabs and line breaks in a name become
    spaces.
    """
    told = name.translate(_SEPARATORS).encode(errors="replace").decode()
    return "\t".join([told, *map(str, vector)])


def check_encoded(output: Path, *, force: bool = False) -> Form:
    """To be asked before a model is loaded. Raises BadInput as `write_encoded` would."""
    try:
        form = Form(output.suffix.lower())
    except ValueError:
        raise BadInput(f"{str(output)!r} must end in .npy, .safetensors or .tsv, which says how to write it.") from None
    check_output(output, force=force)
    return form


def _digest(inputs: Sequence[Input]) -> str:
    """Tells these inputs, and these states of the images' files, from others."""
    digest = hashlib.sha256()
    for each in inputs:
        digest.update(json.dumps(_told(each)).encode() + b"\n")
    return digest.hexdigest()


def _told(each: Input) -> Any:  # noqa: ANN401 - whatever JSON takes
    try:
        return each.name if each.image is None else file_identity(each.image)
    except OSError:
        return each.name  # gone already; it will be skipped


def _write_npy(part: Path, output: Path, names: Sequence[str], model: Encoder) -> None:
    about = {"descr": "<f4", "fortran_order": False, "shape": (len(names), model.card.dimension)}
    with part.open("rb") as rows, whole(output) as new:
        with new.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, about)
            shutil.copyfileobj(rows, file)
        write_whole(output.with_suffix(".names.json"), json.dumps(list(names)).encode())


def _write_safetensors(part: Path, output: Path, names: Sequence[str], model: Encoder) -> None:
    vectors = np.fromfile(part, "<f4").reshape(len(names), model.card.dimension)
    about = {"names": json.dumps(list(names)), "model": model.card.key}
    write_tensors(output, KIND, {"vectors": vectors}, about)


def _write_tsv(part: Path, output: Path, names: Sequence[str], model: Encoder) -> None:
    dimension = model.card.dimension
    with part.open("rb") as rows, whole(output) as new, new.open("w", encoding="utf-8", errors="replace") as file:
        for start in range(0, len(names), _ROWS_AT_A_TIME):
            few = names[start : start + _ROWS_AT_A_TIME]
            vectors = np.fromfile(rows, "<f4", len(few) * dimension).reshape(len(few), dimension)
            file.writelines(f"{as_line(name, vector)}\n" for name, vector in zip(few, vectors, strict=True))


_WRITERS = {Form.NPY: _write_npy, Form.SAFETENSORS: _write_safetensors, Form.TSV: _write_tsv}


_ROW_GROUP = 8192


class Output(StrEnum):
    TSV = "tsv"
    NPY = "npy"
    PARQUET = "parquet"


class RowFormat(Protocol):
    def head(self, rows: int) -> bytes:
        """What the file begins with, of one length for any number of rows."""
        ...

    def rows(self, batch: Sequence[RowFeatures]) -> bytes: ...

    def convert(self, part: Path, output: Path) -> None:
        """What was written takes the output's name, in its final form."""
        ...


def row_format(output: Output, dimension: int, append: Sequence[str]) -> RowFormat:
    """append: the names of the columns that go along. Raises BadInput where the format cannot hold them."""
    if output is Output.TSV:
        return TsvRows(dimension)
    if output is Output.NPY:
        return NpyRows(dimension, append)
    return ParquetRows(dimension, append)


class TsvRows:
    """A line a row: the dimensions, then the appended columns, tab-separated. A broken row's dimensions are empty, so
    that readers that pass over blank lines keep count.
    """

    def __init__(self, dimension: int) -> None:
        self._broken = [""] * dimension

    def head(self, rows: int) -> bytes:
        return b""

    def rows(self, batch: Sequence[RowFeatures]) -> bytes:
        lines = ["\t".join([*self._numbers(row.vector), *row.appended]) for row in batch]
        return "".join(f"{line}\n" for line in lines).encode(errors="replace")

    def convert(self, part: Path, output: Path) -> None:
        part.replace(output)

    def _numbers(self, vector: Vectors | None) -> list[str]:
        """As few digits as tell one float32 from every other."""
        return self._broken if vector is None else [str(number) for number in vector]


class NpyRows:
    """float32 [rows, dim], broken rows nan."""

    def __init__(self, dimension: int, append: Sequence[str]) -> None:
        if append:
            raise BadInput("An .npy file holds features alone; write .tsv or .parquet, or append no columns.")
        self._dimension = dimension

    def head(self, rows: int) -> bytes:
        head = io.BytesIO()
        # NumPy leaves room for the number of rows to grow.
        about = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._dimension)}
        np.lib.format.write_array_header_1_0(head, about)
        return head.getvalue()

    def rows(self, batch: Sequence[RowFeatures]) -> bytes:
        return _filled(batch, self._dimension).astype("<f4").tobytes()

    def convert(self, part: Path, output: Path) -> None:
        part.replace(output)


class ParquetRows:
    """`vector`, a list of `dim` float32, null where the row is broken, and the appended columns as strings.

    Parquet cannot be appended to, so batches are kept as an Arrow stream, which can, until all are there.
    """

    def __init__(self, dimension: int, append: Sequence[str]) -> None:
        self._arrow = _pyarrow()
        self._dimension = dimension
        arrow = self._arrow
        columns = [("vector", arrow.list_(arrow.float32(), dimension)), *((name, arrow.string()) for name in append)]
        self._schema = arrow.schema(columns)

    def head(self, rows: int) -> bytes:
        return bytes(self._schema.serialize())

    def rows(self, batch: Sequence[RowFeatures]) -> bytes:
        arrow = self._arrow
        numbers = arrow.array(_filled(batch, self._dimension).ravel())
        broken = arrow.array([row.vector is None for row in batch])
        vectors = arrow.FixedSizeListArray.from_arrays(numbers, self._dimension, mask=broken)
        along = [arrow.array(column, arrow.string()) for column in zip(*(row.appended for row in batch), strict=True)]
        return bytes(arrow.record_batch([vectors, *along], schema=self._schema).serialize())

    def convert(self, part: Path, output: Path) -> None:
        import pyarrow.parquet

        with part.open("rb") as file, whole(output) as new, pyarrow.parquet.ParquetWriter(new, self._schema) as writer:
            for group in _groups(self._arrow.ipc.open_stream(file)):
                writer.write_table(self._arrow.Table.from_batches(group, self._schema), row_group_size=_ROW_GROUP)


def _groups(batches: Iterator[Any]) -> Iterator[list[Any]]:
    """Batches together until they make a row group."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if sum(one.num_rows for one in group) >= _ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _filled(batch: Sequence[RowFeatures], dimension: int) -> Vectors:
    missing = np.full(dimension, np.nan, np.float32)
    return np.stack([missing if row.vector is None else row.vector for row in batch])


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
    except ImportError as error:
        raise BadInput("Writing Parquet needs pyarrow: pip install 'magpie[lab]'.") from error
    module: ModuleType = pyarrow
    return module


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
