"""How many threads torch computes with."""

from __future__ import annotations

import os

import torch


def use_at_most(cores: int) -> None:
    """On this thread and every one that begins to compute afterwards; OpenVINO asks torch.

    By itself torch counts the cores that it may run on, not the time that a container is granted on them: threads
    beyond that stand still, all at once, until the next tenth of a second.
    OMP_NUM_THREADS is somebody's word and stays.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
