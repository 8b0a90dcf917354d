"""The loop that any objective goes through."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clipcore.errors import BadInput
from clipcore.training.record import Step
from clipcore.training.trainer import Trainer
from tests.training.full_disk import disk_full_at


class Falling:
    """A weight that must come down to nothing: loss w²/2 · slope."""

    def __init__(self, slope: float = 1.0, scaler: torch.amp.GradScaler | None = None, size: int = 4) -> None:
        self.weight = nn.Parameter(torch.full((size,), 8.0))
        self.asked: list[int] = []
        self.finished = 0
        self._slope = slope
        self._scaler = scaler

    def backward(self, step: int) -> float:
        self.asked.append(step)
        loss = self._slope * (self.weight**2).sum() / 2
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        return loss.item()

    def after_step(self) -> None:
        self.finished += 1

    def state_dict(self):
        return {"weight": self.weight.detach()}

    def load_state_dict(self, state):
        self.weight.data.copy_(state["weight"])


def trainer(objective: Falling, tmp_path, **options) -> Trainer:
    optimiser = torch.optim.SGD([objective.weight], lr=0.5)
    states = {"objective": objective, "optimiser": optimiser}
    options = {"steps": 3, "rate": lambda step: 1.0, "after_step": objective.after_step} | options
    return Trainer(objective.backward, [optimiser], tmp_path / "checkpoint.pt", states, **options)


def test_each_step_runs_once_and_calls_after_step(tmp_path):
    objective = Falling()
    steps = list(trainer(objective, tmp_path).run())
    assert objective.asked == [0, 1, 2]
    assert objective.finished == 3
    assert [step.loss for step in steps] == [128.0, 32.0, 8.0]
    assert steps[0] == Step(1, 128.0, 1.0)
    assert objective.weight.tolist() == [1.0] * 4


def test_the_rate_is_a_share_of_each_optimisers_own(tmp_path):
    objective = Falling()
    list(trainer(objective, tmp_path, rate=lambda step: 0.5 if step == 0 else 0.0).run())
    assert objective.weight.tolist() == [6.0] * 4


def test_long_gradients_are_clipped(tmp_path):
    objective = Falling()
    list(trainer(objective, tmp_path, steps=1, clip=2.0).run())
    # A gradient of 8 in each of 4 places is 16 long: an eighth of it is left.
    assert objective.weight.tolist() == pytest.approx([7.5] * 4)


def test_a_scaled_loss_has_the_same_effect_and_is_clipped_after_unscaling(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    objective = Falling(scaler=scaler)
    [step] = trainer(objective, tmp_path, steps=1, clip=2.0, scaler=scaler).run()
    assert step.loss == 128.0
    assert objective.weight.tolist() == pytest.approx([7.5] * 4)


def test_a_step_that_overflows_is_skipped_and_the_scale_halved(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    objective = Falling(scaler=scaler)
    list(trainer(objective, tmp_path, steps=1, scaler=scaler).run())
    assert objective.weight.tolist() == [8.0] * 4
    assert scaler.get_scale() == 2.0**126


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tmp_path):
    objective = Falling(slope=float("inf"))
    with pytest.raises(BadInput, match="became .* at step 1; lower the learning rate"):
        list(trainer(objective, tmp_path).run())
    assert objective.weight.tolist() == [8.0] * 4


def test_a_saved_checkpoint_is_resumed(tmp_path):
    first = trainer(Falling(), tmp_path)
    next(iter(first.run()))
    first.save()
    objective = Falling()
    second = trainer(objective, tmp_path)
    second.resume()
    assert [step.number for step in second.run()] == [2, 3]
    assert objective.weight.tolist() == [1.0] * 4


def test_a_checkpoint_is_replaced_and_never_overwritten(tmp_path):
    going = trainer(Falling(), tmp_path)
    going.save()
    with (tmp_path / "checkpoint.pt").open("rb") as before:
        next(iter(going.run()))
        going.save()
        assert torch.load(before, weights_only=True)["step"] == 0
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path):
    going = trainer(Falling(size=100_000), tmp_path)
    going.save()
    next(iter(going.run()))
    with disk_full_at(8192), pytest.raises(BadInput, match="cannot be written to .File too large.; see to the disk"):
        going.save()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 0


def test_a_checkpoint_runs_no_code(tmp_path):
    """A checkpoint from a stranger runs no code of theirs."""

    class Loud:
        def __reduce__(self):
            return (pytest.fail, ("its code ran",))

    torch.save({"step": 1, "settings": {}, "states": Loud()}, tmp_path / "checkpoint.pt")
    with pytest.raises(BadInput, match="cannot be read"):
        trainer(Falling(), tmp_path).resume()
