"""Extraction takes as much memory for a long table as for a short one; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import ROOT
from tests.clipcore.images import noise
from tests.datasets.tables import RED, url_safe

MEASURE = """
import resource, sys
from pathlib import Path
from clipcore.encoding.tables import ColumnOptions, extract
from clipcore.encoding.writers import VectorFormat
from tests.clipcore.fakes import FakeEncoder

class Forgetful(FakeEncoder):
    def _encode(self, kind, values):
        self.calls.clear()
        return super()._encode(kind, values)

table, output, form = sys.argv[1:]
extract(Forgetful(), Path(table), Path(output), ColumnOptions(), VectorFormat(form))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(table: Path, form: str) -> float:
    """In MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(table), str(table.with_suffix(".out")), form],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return int(done.stdout) / 1024


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_a_table_of_forty_megabytes_takes_no_more_memory_than_one_of_four(tmp_path: Path, form: str):
    # A valid image, followed by noise that its decoder does not look at.
    line = url_safe(RED + noise(90, 150).tobytes()) + "\n"
    short, long = tmp_path / "short.tsv", tmp_path / "long.tsv"
    short.write_text(line * (4_000_000 // len(line)), encoding="utf-8")
    long.write_text(line * (40_000_000 // len(line)), encoding="utf-8")
    assert peak(long, form) - peak(short, form) < 15
