"""The bundled model's training goes by `clipcore.training`'s trainer and keeper."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

from clipcore.training.trainer import Trainer
from tests.tools.worlds import made_up_sprites, shipped_concepts
from tools import train_bundled
from tools.bundled_model import new_model
from tools.bundled_objective import FINISH, HIGHEST_LOG_SCALE, Lessons, Plan, trainer_for
from tools.bundled_stream import Mix, Stream
from tools.bundled_tokenizer import train_tokenizer

TOKENIZER = train_tokenizer(["a cat on a sofa", "沙发上的猫"])
FIRST = Plan(4, alone_until=0.5, later=Mix(4, 4, 1))


def begin(folder: Path, plan: Plan) -> tuple[CLIPModel, Trainer]:
    """As a process that has just started does."""
    torch.manual_seed(0)
    concepts = shipped_concepts()[:12]
    stream = Stream(concepts, made_up_sprites(12), TOKENIZER, 0)
    model = new_model(TOKENIZER, Stream(concepts, made_up_sprites(12), TOKENIZER, 0).batch(Mix(12, 0, 0)).pixels)
    return model, trainer_for(model, Lessons(model, stream, plan), plan, folder)


@pytest.mark.parametrize("plan", [FIRST, replace(FINISH, steps=4, later=Mix(4, 4, 1))])
def test_a_stopped_run_ends_at_the_weights_of_one_in_one_piece(tmp_path, monkeypatch, plan):
    (tmp_path / "whole").mkdir()
    whole, trainer = begin(tmp_path / "whole", plan)
    losses = [step.loss for step in trainer.run()]
    _, trainer = begin(tmp_path, plan)
    monkeypatch.setattr(train_bundled, "CHECKPOINT_EVERY", 2)
    assert list(islice(train_bundled.run(trainer), 3)) == [1, 2, 3]  # the third is lost
    resumed, trainer = begin(tmp_path, plan)
    assert [step.loss for step in trainer.run()] == losses[2:]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_temperature_is_held(tmp_path):
    model, trainer = begin(tmp_path, FIRST)
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    next(iter(trainer.run()))
    assert model.logit_scale.item() == pytest.approx(HIGHEST_LOG_SCALE)
