from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from clipcore.runtime.cores import decode_workers, usable_cores
from clipcore.runtime.torch import limit_threads


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (16, 15)])
def test_beside_a_gpu_all_cores_but_one_decode(cores, expected):
    assert decode_workers(cores, model_on_cpu=False) == expected


@pytest.mark.parametrize(("cores", "expected"), [(1, 2), (2, 2), (8, 2), (16, 4)])
def test_a_model_on_the_cpu_keeps_most_of_the_cores(cores, expected):
    assert decode_workers(cores, model_on_cpu=True) == expected


def test_this_machine_has_a_usable_core():
    assert usable_cores() >= 1


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


def machine(root: Path, membership: str, files: dict[str, str]) -> Path:
    """Writes the control group files of a system's proc/ and sys/."""
    for name, content in {"proc/self/cgroup": membership, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", 16), ("6400000 100000", 16)],
)
def test_a_cpu_quota_limits_the_cores_and_is_rounded_up(tmp_path, limit, cores):
    assert usable_cores(machine(tmp_path, "0::/", {"sys/fs/cgroup/cpu.max": limit})) == cores


def test_the_lowest_quota_of_the_group_and_its_ancestors_counts(tmp_path):
    limits = {"bot.slice/magpie.service": "max 100000", "bot.slice": "300000 100000", ".": "800000 100000"}
    files = {f"sys/fs/cgroup/{group}/cpu.max": limit for group, limit in limits.items()}
    assert usable_cores(machine(tmp_path, "0::/bot.slice/magpie.service", files)) == 3


@pytest.mark.parametrize("path", ["/docker/0123abcd", "/../../system.slice/docker-0123.scope"])
def test_a_container_that_sees_its_groups_path_on_the_host_finds_the_quota_at_the_top(tmp_path, path):
    assert usable_cores(machine(tmp_path, f"0::{path}", {"sys/fs/cgroup/cpu.max": "400000 100000"})) == 4


@pytest.mark.parametrize(("quota", "cores"), [("250000", 3), ("-1", 16)])
def test_quotas_of_cgroup_v1_count_too(tmp_path, quota, cores):
    membership = "5:memory:/docker/01\n4:cpu,cpuacct:/docker/01\n0::/"
    group = "sys/fs/cgroup/cpu/docker/01"
    files = {f"{group}/cpu.cfs_quota_us": quota, f"{group}/cpu.cfs_period_us": "100000"}
    assert usable_cores(machine(tmp_path, membership, files)) == cores


def test_without_control_groups_every_core_counts(tmp_path):
    assert usable_cores(tmp_path) == 16


@pytest.fixture
def five_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(5)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "threads"), [(3, 3), (8, 5)])
@pytest.mark.usefixtures("five_threads")
def test_torch_uses_no_more_threads_than_cores_on_any_thread(cores, threads):
    limit_threads(cores)
    with ThreadPoolExecutor(1) as other:
        assert torch.get_num_threads() == other.submit(torch.get_num_threads).result() == threads


@pytest.mark.usefixtures("five_threads")
def test_omp_num_threads_takes_precedence(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    limit_threads(3)
    assert torch.get_num_threads() == 5
