"""Teaching a finished model: what stays as it is, and how it goes on after a stop."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from transformers import CLIPModel

from clipcore.training.trainer import Trainer
from tests.tools.worlds import made_up_sprites, shipped_concepts, small_wording
from tools.bundled_model import new_model
from tools.bundled_objective import trainer_for
from tools.bundled_stream import Mix, Stream
from tools.bundled_tokenizer import train_tokenizer
from tools.emoji_questions import Questions
from tools.emoji_scenes import SIDE
from tools.teach_bundled import LOWER, TEACHING, Lessons, freeze

CONCEPTS = shipped_concepts()[:50]
TOKENIZER = train_tokenizer(["a cat on a sofa", "沙发上的猫"])


def begin(folder: Path) -> tuple[CLIPModel, Trainer]:
    """As a process that has just started does."""
    torch.manual_seed(0)
    stream = Stream(CONCEPTS, made_up_sprites(50), TOKENIZER, 0)
    model = new_model(TOKENIZER, torch.rand(8, 3, SIDE, SIDE))
    freeze(model, LOWER)
    plan = replace(TEACHING, steps=4, later=Mix(4, 4, 1))
    questions = Questions(CONCEPTS, small_wording(CONCEPTS))
    return model, trainer_for(model, Lessons(model, TOKENIZER, stream, questions, plan), plan, folder)


def test_a_stopped_run_ends_at_the_weights_of_one_in_one_piece(tmp_path):
    (tmp_path / "whole").mkdir()
    whole, trainer = begin(tmp_path / "whole")
    losses = [step.loss for step in trainer.run()]
    _, trainer = begin(tmp_path)
    for _ in islice(trainer.run(), 2):
        pass
    trainer.save()
    resumed, trainer = begin(tmp_path)
    assert [step.loss for step in trainer.run()] == losses[2:]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_lower_layers_stay_as_they_are_and_the_upper_ones_learn(tmp_path):
    model, trainer = begin(tmp_path)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    for _ in trainer.run():
        pass
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    seen = {name.split(".")[3] for name in changed if name.startswith("vision_model.encoder.layers.")}
    assert seen == {str(layer) for layer in range(LOWER, 6)}
    assert not any("embeddings" in name for name in changed if name.startswith("vision_model"))
    assert any(name.startswith("text_model") for name in changed)
