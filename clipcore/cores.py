"""How the processor's cores are shared between decoding pictures and looking at them."""

from __future__ import annotations

import os

# On two cores it makes no difference whether one thread decodes or three (benchmarks/NOTES.md). Decoding a photograph
# of 640 x 480 pixels takes about a tenth of what ViT-B/32 takes, so a quarter of the cores feeds it larger ones, too.
_LEAST, _SHARE = 2, 4


def usable_cores() -> int:
    """What this process may use, which in a container can be less than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_workers(cores: int, *, overlaps: bool) -> int:
    """Pictures to decode at once. overlaps: the model runs on a device of its own, where decoding is what limits: all
    cores but the one that feeds it. Otherwise the model wants most of the cores itself.
    """
    return max(1, cores - 1) if overlaps else max(_LEAST, cores // _SHARE)
