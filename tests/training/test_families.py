"""Every family of two towers learns, keeps its own loss, and goes on exactly."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path

import pytest
import torch

from clipcore.errors import BadInput, TextNotSupported
from clipcore.model import ClipModel
from clipcore.training import TrainingPlan, train
from clipcore.training.contrastive import choose_weights, clamp_scale, set_training_mode
from tests.clipcore import easynlp_layouts, originals
from tests.clipcore.tiny import write_tiny_chinese_clip
from tests.clipcore.tiny_families import (
    write_tiny_altclip,
    write_tiny_dinov2,
    write_tiny_dual_encoder,
    write_tiny_siglip,
    write_tiny_siglip2,
)
from tests.training.world import load, patches, weights

PLAN = TrainingPlan(epochs=2, batch_size=6, micro_batch=4, learning_rate=1e-3, checkpoint_every=1)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "Chinese CLIP": write_tiny_chinese_clip,
    "AltCLIP": write_tiny_altclip,
    "two towers": write_tiny_dual_encoder,
    "SigLIP": write_tiny_siglip,
    "SigLIP 2": write_tiny_siglip2,
    "OpenAI's ResNet": lambda path: originals.write_state_dict(path.with_suffix(".pt"), originals.resnet_weights()),
    "EasyNLP's huggingface_clip": easynlp_layouts.write_huggingface_clip,
}


@pytest.mark.parametrize("family", WRITERS)
def test_every_family_learns_and_resumes_exactly(tmp_path, family):
    directory = WRITERS[family](tmp_path / "model")
    before = weights(load(directory))
    train(load(directory), patches(12), PLAN, tmp_path / "whole")
    train(load(directory), patches(12), PLAN, tmp_path / "parts", stopped=lambda: True)
    trained = train(load(directory), patches(12), PLAN, tmp_path / "parts")
    assert trained.finished
    whole, parts = (weights(load(tmp_path / name / "last")) for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    learning = choose_weights(load(directory).towers, PLAN)
    assert sum(not torch.equal(whole[name], before[name]) for name in whole) > 0.8 * len(learning)


def test_a_sigmoid_model_learns_its_bias_and_its_scale_is_not_limited(tmp_path):
    write_tiny_siglip(tmp_path / "model")
    model = load(tmp_path / "model")
    with torch.no_grad():
        model.towers.log_scale.fill_(5.0)
    before = model.towers.logit_bias.item()
    train(model, patches(12), PLAN, tmp_path / "run")
    assert model.towers.log_scale.item() > log(100)
    assert model.towers.logit_bias.item() != before


def test_a_sigmoid_model_reads_its_whole_context(tmp_path):
    write_tiny_siglip(tmp_path / "model")
    plan = TrainingPlan(sequence_length=4)
    with pytest.raises(BadInput, match="always reads its whole context"):
        train(load(tmp_path / "model"), patches(12), plan, tmp_path / "run")


def test_an_image_only_model_is_refused(tmp_path):
    write_tiny_dinov2(tmp_path / "model")
    with pytest.raises(TextNotSupported):
        train(load(tmp_path / "model"), patches(12), PLAN, tmp_path / "run")


class Normed:
    """Towers with a batch norm, as CLIP's ResNets have."""

    logit_bias = None

    def __init__(self) -> None:
        self.module = torch.nn.ModuleDict(
            {
                "see": torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout()),
                "read": torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout()),
            }
        )
        self.vision, self.text = (self.module["see"],), (self.module["read"],)
        self.log_scale = torch.nn.Parameter(torch.tensor(-3.0))


def test_batch_norms_keep_their_statistics_and_fixed_towers_have_no_dropout():
    towers = Normed()
    set_training_mode(towers, TrainingPlan(fix_text=True))
    assert not towers.module["see"][0].training
    assert towers.module["see"][1].training
    assert not towers.module["read"][1].training


def test_the_temperature_does_not_fall_below_one():
    towers = Normed()
    clamp_scale(towers)
    assert towers.log_scale.item() == 0


def test_a_model_in_half_precision_is_refused(tiny_directory, tmp_path):
    rounded = ClipModel.load(str(tiny_directory), device="cpu", precision="bf16", local_only=True)
    with pytest.raises(BadInput, match="in float32"):
        train(rounded, patches(12), PLAN, tmp_path / "run")
