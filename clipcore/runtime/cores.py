"""How the processor's cores are shared between decoding images and looking at them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

# On two cores it makes no difference whether one thread decodes or three (benchmarks/NOTES.md). Decoding a photograph
# of 640 x 480 pixels takes about a tenth of what ViT-B/32 takes, so a quarter of the cores feeds it larger ones, too.
_LEAST, _SHARE = 2, 4


_SYSTEM = Path("/")


def usable_cores(root: Path = _SYSTEM) -> int:
    """What this process may use, which in a container can be less than the machine has: the cores that it may run on,
    and the share of their time that it is granted (`docker run --cpus 2`), rounded up. root: where proc/ and sys/ are.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Cores that this process's control group and those above it are granted, as cgroups(7) says where to look.

    A container often sees the path that its group has outside, and only its own group, at the top.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            hierarchy, granted = root / "sys/fs/cgroup", _granted
        elif "cpu" in controllers.split(","):
            hierarchy, granted = root / "sys/fs/cgroup/cpu", _granted_v1
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for one in (group, *group.parents):
            try:
                yield granted(hierarchy / one)
            except (OSError, ValueError):  # not in sight from here, or without a limit
                continue


def _granted(group: Path) -> float:
    """cpu.max: "$MAX $PERIOD" in microseconds; without a limit MAX is the word max, and a ValueError (kernel
    documentation, admin-guide/cgroup-v2).
    """
    most, period = (group / "cpu.max").read_text().split()
    return int(most) / int(period)


def _granted_v1(group: Path) -> float:
    """Without a limit the quota is -1 (kernel documentation, scheduler/sched-bwc)."""
    quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    if quota < 0:
        raise ValueError("no limit")
    return quota / period


def decode_workers(cores: int, *, overlaps: bool) -> int:
    """Images to decode at once. overlaps: the model runs on a device of its own, where decoding is what limits: all
    cores but the one that feeds it. Otherwise the model wants most of the cores itself.
    """
    return max(1, cores - 1) if overlaps else max(_LEAST, cores // _SHARE)
