"""Writes embeddings to .tsv, .npy, .parquet and .safetensors files, a batch at a time and resumable."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from clipcore.batching import batches_of
from clipcore.encoding.batch import EncodedRow, OnProblem, Problem
from clipcore.encoding.resumable import resumable
from clipcore.errors import BadInput
from clipcore.files import atomic_path, write_atomically, write_tensors
from clipcore.types import ModelCard, Vectors

SAFETENSORS_KIND = "vectors 1"
_ROW_GROUP = 8192
_SEPARATORS = dict.fromkeys(map(ord, "\t\r\n"), " ")


class VectorFormat(StrEnum):
    TSV = "tsv"
    NPY = "npy"
    PARQUET = "parquet"
    SAFETENSORS = "safetensors"

    @classmethod
    def of(cls, path: Path) -> VectorFormat | None:
        """The format that a file's ending names, if it names one."""
        ending = path.suffix.lower().removeprefix(".")
        return cls(ending) if ending in list(cls) else None


@dataclass(frozen=True, slots=True)
class Written:
    """rows: the number of rows in the whole output. problems: all skipped inputs. resumed_at: the number of inputs that
    earlier runs had finished.
    """

    rows: int
    problems: list[Problem] = field(default_factory=list)
    resumed_at: int = 0


@dataclass
class Writer:
    """One format. A part file holds a head, then the rows; `finish` makes the output of it.

    columns: the names of the text columns; TSV and Parquet alone hold them. columns_first: in TSV, write them before
    the embedding.
    """

    card: ModelCard
    columns: Sequence[str] = ()
    columns_first: bool = False

    def head(self, rows: int) -> bytes:
        """The beginning of the part, of the same length for any number of rows."""
        return b""

    def rows(self, batch: Sequence[EncodedRow]) -> bytes:
        """float32 [rows, dim], little-endian; skipped rows are nan."""
        return self._matrix(batch).tobytes()

    def finish(self, part: Path, output: Path, names: Sequence[str] | None) -> None:
        """names: of the rows, for formats that keep them outside the rows; None where there are none."""
        part.replace(output)

    def _matrix(self, batch: Sequence[EncodedRow]) -> Vectors:
        missing = np.full(self.card.dimension, np.nan, "<f4")
        return np.stack([missing if row.embedding is None else row.embedding for row in batch], dtype="<f4")


def check_format(format: VectorFormat, columns: Sequence[str] = ()) -> None:
    """Raises BadInput where the format cannot hold the columns, or the library that writes it is missing."""
    if columns and format in (VectorFormat.NPY, VectorFormat.SAFETENSORS):
        raise BadInput(f"A .{format} file holds embeddings only; write .tsv or .parquet, or append no columns.")
    if format is VectorFormat.PARQUET:
        _pyarrow()


def write_rows(
    output: Path,
    writer: Writer,
    job: Mapping[str, Any] | None,
    encode: Callable[[int], Iterable[EncodedRow]],
    *,
    batch_size: int,
    force: bool = False,
    names: Callable[[Sequence[Problem]], Sequence[str]] | None = None,
    on_problem: OnProblem = lambda problem: None,
) -> Written:
    """Writes what `encode` yields; called again with the same job after an interruption, it resumes.

    encode: called with the number of inputs that are finished, yields a row for each of the others. names: given all
    problems, returns the names of the rows; a skipped input has none. Without names a row is known by its place, so a
    skipped input has a row of missing numbers. on_problem: called for each skipped input, those of earlier runs first.
    Raises BadInput as `resumable` does.
    """

    def convert(part: Path, path: Path) -> None:
        writer.finish(part, path, None if names is None else names(partial.problems))

    with resumable(output, job, force=force, convert=convert) as partial:
        resumed_at = partial.taken
        for problem in partial.problems:
            on_problem(problem)
        if not resumed_at:
            partial.file.write(writer.head(0))
        for batch in batches_of(encode(resumed_at), batch_size):
            problems = [row.problem for row in batch if row.problem]
            kept = batch if names is None else [row for row in batch if row.embedding is not None]
            if kept:
                partial.file.write(writer.rows(kept))
            partial.commit(partial.taken + len(batch), problems)
            for problem in problems:
                on_problem(problem)
        rows = partial.taken if names is None else partial.taken - len(partial.problems)
        partial.file.seek(0)
        partial.file.write(writer.head(rows))
    return Written(rows, partial.problems, resumed_at)


class TsvWriter(Writer):
    """One line a row: the numbers and the text columns, separated by tabs. The numbers of a skipped row are empty, so
    that the line is not blank and readers that skip blank lines keep count.
    """

    def rows(self, batch: Sequence[EncodedRow]) -> bytes:
        return "".join(f"{self._line(row)}\n" for row in batch).encode(errors="replace")

    def _line(self, row: EncodedRow) -> str:
        # str() writes the fewest digits that identify a float32.
        numbers = [""] * self.card.dimension if row.embedding is None else [str(number) for number in row.embedding]
        texts = [text.translate(_SEPARATORS) for text in row.columns]
        return "\t".join([*texts, *numbers] if self.columns_first else [*numbers, *texts])


class NpyWriter(Writer):
    """float32 [rows, dim]; skipped rows are nan. Names lie in `<output>.names.json`, a JSON list."""

    def head(self, rows: int) -> bytes:
        head = io.BytesIO()
        # NumPy pads the header, so that the number of rows may grow.
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self.card.dimension)}
        np.lib.format.write_array_header_1_0(head, header)
        return head.getvalue()

    def finish(self, part: Path, output: Path, names: Sequence[str] | None) -> None:
        if names is not None:
            write_atomically(output.with_suffix(".names.json"), json.dumps(list(names)).encode())
        part.replace(output)


class SafetensorsWriter(Writer):
    """`vectors`, float32 [rows, dim]; the metadata has the model's key and a JSON list of the names. Needs memory for
    all embeddings once, at the end.
    """

    def finish(self, part: Path, output: Path, names: Sequence[str] | None) -> None:
        vectors = np.fromfile(part, "<f4").reshape(-1, self.card.dimension)
        metadata = {"model": self.card.key} | ({} if names is None else {"names": json.dumps(list(names))})
        write_tensors(output, SAFETENSORS_KIND, {"vectors": vectors}, metadata)


class ParquetWriter(Writer):
    """`vector`, a list of `dim` float32, null where the row was skipped, and the text columns as strings.

    Parquet files cannot be appended to, so the part is an Arrow stream, which can. Raises BadInput where pyarrow is
    missing.
    """

    @cached_property
    def _schema(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        arrow = _pyarrow()
        vector = ("vector", arrow.list_(arrow.float32(), self.card.dimension))
        return arrow.schema([vector, *((name, arrow.string()) for name in self.columns)])

    def head(self, rows: int) -> bytes:
        return bytes(self._schema.serialize())

    def rows(self, batch: Sequence[EncodedRow]) -> bytes:
        arrow = _pyarrow()
        missing = arrow.array([row.embedding is None for row in batch])
        vectors = arrow.FixedSizeListArray.from_arrays(self._matrix(batch).ravel(), self.card.dimension, mask=missing)
        # A file name may hold bytes that are not UTF-8, which Arrow refuses.
        valid = [[text.encode(errors="replace").decode() for text in row.columns] for row in batch]
        texts = [arrow.array(column, arrow.string()) for column in zip(*valid, strict=True)]
        return bytes(arrow.record_batch([vectors, *texts], schema=self._schema).serialize())

    def finish(self, part: Path, output: Path, names: Sequence[str] | None) -> None:
        from pyarrow.parquet import write_table

        arrow = _pyarrow()
        # The table stays in the mapped file; only a row group at a time takes memory.
        with arrow.memory_map(str(part)) as file, atomic_path(output) as new:
            write_table(arrow.ipc.open_stream(file).read_all(), new, row_group_size=_ROW_GROUP)


WRITERS: Mapping[VectorFormat, type[Writer]] = {
    VectorFormat.TSV: TsvWriter,
    VectorFormat.NPY: NpyWriter,
    VectorFormat.PARQUET: ParquetWriter,
    VectorFormat.SAFETENSORS: SafetensorsWriter,
}


def _pyarrow() -> ModuleType:
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise BadInput("Writing Parquet needs pyarrow: pip install 'magpie[lab]'.") from error
