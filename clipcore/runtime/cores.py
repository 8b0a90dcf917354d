"""How the CPU's cores are shared between decoding images and encoding them. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def decode_workers(cores: int, *, model_on_cpu: bool) -> int:
    """Images to decode at once.

    Beside a GPU, decoding is the bottleneck: it gets all cores but the one that feeds the GPU. A model on the CPU wants
    most of the cores itself. Decoding a photograph of 640 x 480 pixels takes about a tenth of encoding it with
    ViT-B/32, so a quarter of the cores keeps up with larger ones, too; on two cores one or three threads made no
    difference (benchmarks/NOTES.md).
    """
    return max(2, cores // 4) if model_on_cpu else max(1, cores - 1)


def let_idle_threads_sleep() -> None:
    """For a program's first lines: OpenMP reads it when torch is imported. A value of the user's takes precedence.

    By default torch's threads spin while they wait for one another. Beside a busy program a spinning thread uses up the
    core that the last one of them needs, and then an image takes seconds.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def usable_cores(root: Path = _ROOT) -> int:
    """Cores that this process may use: those it may run on, or the CPU time that its container is granted
    (`docker run --cpus 2`) if that is less, rounded up. root: the directory that holds proc/ and sys/.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The CPU quotas, in cores, of this process's control group and its ancestors; cgroups(7).

    In a container, the membership file may name the group's path on the host, while the container's file system shows
    only that group, at the top.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            # Quota and period in microseconds; without a limit the word max (kernel documentation,
            # admin-guide/cgroup-v2).
            hierarchy, files = root / "sys/fs/cgroup", ["cpu.max"]
        elif "cpu" in controllers.split(","):
            # Version 1: without a limit the quota is -1 (scheduler/sched-bwc).
            hierarchy, files = root / "sys/fs/cgroup/cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for ancestor in (group, *group.parents):
            with suppress(OSError, ValueError):  # invisible from here, or unlimited
                quota, period = map(int, " ".join((hierarchy / ancestor / file).read_text() for file in files).split())
                if quota >= 0:
                    yield quota / period
