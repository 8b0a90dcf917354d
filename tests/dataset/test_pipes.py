"""Tables are read more than once, and a pipe that nobody writes to never ends."""

from __future__ import annotations

import pytest

from clipcore.dataset import open_labelled
from clipcore.errors import BadInput
from clipcore.extract import Choice, check
from tests.clipcore.pipes import pipe


@pytest.mark.parametrize("ask", [open_labelled, lambda table: check(table, None, Choice())], ids=["labelled", "check"])
def test_a_pipe_is_no_table(tmp_path, ask):
    with pipe(tmp_path / "a.tsv") as table, pytest.raises(BadInput, match=r"a\.tsv' cannot be read: it is a pipe"):
        ask(table)
