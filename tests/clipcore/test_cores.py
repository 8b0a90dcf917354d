from __future__ import annotations

import pytest

from clipcore.cores import decode_workers, usable_cores


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (16, 15)])
def test_beside_a_device_of_its_own_all_cores_but_one_decode(cores, expected):
    assert decode_workers(cores, overlaps=True) == expected


@pytest.mark.parametrize(("cores", "expected"), [(1, 2), (2, 2), (8, 2), (16, 4)])
def test_a_model_on_the_cpu_keeps_most_of_the_cores(cores, expected):
    assert decode_workers(cores, overlaps=False) == expected


def test_there_is_a_core_to_use():
    assert usable_cores() >= 1
