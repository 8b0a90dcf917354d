"""Tables are read more than once, and a pipe that nobody writes to never ends."""

from __future__ import annotations

import pytest

from clipcore.datasets import open_labelled
from clipcore.datasets.split import How, parse_ratios, split_folder
from clipcore.encoding.tables import ColumnOptions, check_extract
from clipcore.encoding.writers import VectorFormat
from clipcore.errors import BadInput
from tests.clipcore.pipes import pipe
from tests.datasets.tables import RED, write_files


@pytest.mark.parametrize(
    "ask",
    [open_labelled, lambda table: check_extract(table, None, ColumnOptions(), VectorFormat.TSV)],
    ids=["labelled", "extract"],
)
def test_a_pipe_is_refused_as_a_table(tmp_path, ask):
    with pipe(tmp_path / "a.tsv") as table, pytest.raises(BadInput, match=r"a\.tsv' cannot be read: it is a pipe"):
        ask(table)


@pytest.mark.parametrize("how", How)
def test_a_split_does_not_move_a_pipe(tmp_path, how):
    source = write_files(tmp_path / "in", {"cat/a.png": RED})
    with pipe(source / "cat" / "b.png") as named:
        result = split_folder(source, tmp_path / "out", parse_ratios("1:0"), how=how)
        assert [problem.name for problem in result.problems] == ["cat/b.png"]
        assert named.exists()
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["a.png"]
