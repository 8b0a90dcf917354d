"""How features are written: text, a NumPy array, Parquet. Each grows by whole batches and can be gone on with."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from clipcore.dataset.partial import whole
from clipcore.errors import BadInput
from clipcore.extract.encoding import RowFeatures
from clipcore.types import Vectors

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
