"""Two processes with half of each batch do what one does with the whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipcore.training.distributed import ProcessGroup
from tests.cli.run import ROOT, clipcore
from tests.training.gradients import gradients
from tests.training.together import together
from tests.training.world import load, patches, weights, write_tsv

# What `torchrun --nproc-per-node 2 --no-python clipcore …` does, but that both processes import the library at once.
TWO = """
import clipcore.training.fine_tuning
from clipcore.cli import main
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
here = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "here", "max_restarts": 0}
elastic_launch(LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2, start_method="fork", **here), main)()
"""


@given(st.integers(0, 100), st.integers(1, 9))
def test_shares_cover_every_row_once(count, world):
    rows = [row for rank in range(world) for row in range(count)[ProcessGroup(rank, world).share(count)]]
    assert rows == list(range(count))


@pytest.mark.parametrize(("world", "broken"), [(2, []), (3, [0, 1, 2, 5]), (5, [4]), (3, range(10))])
def test_shared_gradients_are_those_of_the_whole_batch(tiny_directory, world, broken):
    loss, alone = gradients(tiny_directory, broken=broken)
    for same_loss, shared in together(world, lambda group: gradients(tiny_directory, group=group, broken=broken)):
        assert same_loss == pytest.approx(loss, abs=1e-5)
        assert alone.keys() == shared.keys()
        for name, gradient in alone.items():
            assert torch.allclose(shared[name], gradient, atol=1e-5), name


def test_two_processes_end_at_the_weights_of_one(tiny_directory, tmp_path):
    table = write_tsv(tmp_path / "train.tsv", patches(24, broken=[5, 6]))
    arguments = ["train", table, "--model", tiny_directory, "--device", "cpu", "--validation", table, "--json"]
    arguments += ["--epochs", "2", "--batch-size", "11", "--micro-batch", "4", "--learning-rate", "1e-3"]
    done = subprocess.run(
        [sys.executable, "-c", TWO, *map(str, arguments), "--output", str(tmp_path / "two")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    one = clipcore(*arguments, "--output", tmp_path / "one")
    assert one.code == 3
    summary = json.loads(done.stdout)
    assert [skip["name"] for skip in summary["skipped"]] == [skip["name"] for skip in one.json()["skipped"]]
    assert done.stderr.count("skipped row 6:") == 1
    # Where another process ends with a code but 0, the one that leads may be ended before it has written all.
    assert re.findall(r"exitcode +: (\d+)", done.stderr) == ["3"]
    assert re.findall(r"rank +: (\d+)", done.stderr) == ["0"]
    ours, theirs, before = (
        weights(load(path)) for path in (tmp_path / "two/last", tmp_path / "one/last", tiny_directory)
    )
    moved = torch.cat([(ours[name] - before[name]).flatten() for name in ours])
    apart = torch.cat([(ours[name] - theirs[name]).flatten() for name in ours])
    assert moved.norm() > 0.1
    assert apart.norm() < 1e-3 * moved.norm()
