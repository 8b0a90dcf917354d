from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.errors import BadInput
from clipcore.training.plan import TrainingPlan, first_difference, rate_factor

STEPS = st.integers(1, 500)
SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 1}, "batch size must be at least 2"),
        ({"micro_batch": 0}, "micro batch must be at least 1"),
        ({"learning_rate": 0.0}, "learning rate must be greater than 0"),
        ({"learning_rate": float("nan")}, "learning rate must be greater than 0"),
        ({"warm_up": 1.5}, "share from 0 to 1"),
        ({"weight_decay": -1.0}, "weight decay must be 0 or more"),
        ({"schedule": "square"}, "one of cosine, linear, constant"),
        ({"amp": "fp8"}, "one of fp32, bf16, fp16"),
        ({"sequence_length": 1}, "sequence length must be at least 2"),
        ({"validate_every": 0}, "validate every must be at least 1"),
        ({"fix_vision": True, "fix_text": True}, "nothing is left to train"),
    ],
)
def test_an_invalid_plan_is_refused_with_what_to_change(wrong, words):
    with pytest.raises(BadInput, match=words):
        TrainingPlan(**wrong)


def test_the_first_changed_setting_is_named():
    before = TrainingPlan(epochs=5).fixed_settings()
    assert first_difference(before, before) is None
    assert first_difference(before, TrainingPlan(epochs=6).fixed_settings()) == "epochs 5, not 6"
    assert first_difference(before, before | {"new": 1}) == "new None, not 1"


def test_reporting_and_micro_batches_may_change_when_resuming():
    assert TrainingPlan(log_every=1, micro_batch=3, workers=7).fixed_settings() == TrainingPlan().fixed_settings()


@given(st.sampled_from(["cosine", "linear", "constant"]), STEPS, SHARES)
def test_the_rate_rises_once_then_falls_and_is_always_positive(schedule, steps, warm_up):
    factors = [rate_factor(schedule, step, steps, warm_up) for step in range(steps)]
    rising = round(warm_up * steps)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:rising] == sorted(factors[:rising])
    assert factors[rising:] == sorted(factors[rising:], reverse=True)
    assert max(factors) == 1


def test_a_cosine_is_at_half_its_height_half_way():
    assert rate_factor("cosine", 60, 110, 10 / 110) == pytest.approx(0.5)
    assert rate_factor("linear", 60, 110, 10 / 110) == pytest.approx(0.5)
    assert rate_factor("constant", 109, 110, 0.1) == 1


def test_a_plan_needs_no_torch():
    code = "import sys; from clipcore.training import TrainingPlan; TrainingPlan(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
