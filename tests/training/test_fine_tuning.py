from __future__ import annotations

import json
from math import log

import pytest
import torch
from PIL import Image

from clipcore.errors import BadInput
from clipcore.training import TrainingPlan, train
from clipcore.training.contrastive import ContrastiveBatches, choose_weights, optimiser_for
from clipcore.training.distributed import ProcessGroup
from clipcore.training.record import Record, TrainingObserver, draw_curves
from tests.training.world import load, patches, weights

QUICK = TrainingPlan(epochs=2, batch_size=8, micro_batch=8, learning_rate=1e-3, log_every=2)


class Heard(TrainingObserver):
    def __init__(self) -> None:
        self.skips: list[str] = []
        self.words: list[str] = []

    def skipped(self, name, reason):
        self.skips.append(name)

    def warned(self, words):
        self.words.append(words)


def test_a_model_learns_the_training_pairs(tiny, tmp_path):
    plan = TrainingPlan(
        epochs=30, batch_size=16, micro_batch=16, learning_rate=3e-3, weight_decay=0.0, validate_every=30
    )
    trained = train(tiny, patches(16), plan, tmp_path / "run", validation=patches(16, seed=1))
    assert trained.finished
    assert trained.first < 0.5
    assert trained.best.mean_recall > 0.95


def test_the_output_is_a_model_and_documents_its_thresholds(tiny, tmp_path):
    train(tiny, patches(45), QUICK, tmp_path / "run", validation=patches(45, seed=1))
    last = load(tmp_path / "run" / "last")
    for name, weight in weights(last).items():
        assert torch.equal(weight, weights(tiny)[name])
    written = json.loads((tmp_path / "run" / "last" / "calibration.json").read_text("utf-8"))
    assert "validation set" in written["source"]["text_threshold"]
    assert "carried over" in written["source"]["tag_threshold"]
    assert last.calibration.text_threshold == written["text_threshold"] != tiny.calibration.text_threshold
    assert last.calibration.tag_threshold == tiny.calibration.tag_threshold


def test_after_training_the_model_encodes_with_its_new_weights(tiny, tmp_path):
    train(tiny, patches(8), QUICK, tmp_path / "run")
    assert not tiny.towers.module.training
    assert not any(weight.requires_grad for weight in tiny.towers.module.parameters())
    assert (tiny.encode_texts(["a"]) == load(tmp_path / "run" / "last").encode_texts(["a"])).all()


def test_dropout_is_on_in_training_and_off_in_validation(tiny, tmp_path):
    seen: set[tuple[bool, bool]] = set()
    # A part that every way through the tower calls as a module.
    tiny.towers.module.vision_model.embeddings.register_forward_pre_hook(
        lambda module, _: seen.add((torch.is_inference_mode_enabled(), module.training))
    )
    train(tiny, patches(8), QUICK, tmp_path / "run", validation=patches(8, seed=1))
    assert seen == {(False, True), (True, False)}


def test_best_is_kept_when_later_steps_are_worse(tiny, tmp_path):
    sensible = TrainingPlan(epochs=20, batch_size=16, micro_batch=16, learning_rate=3e-3, schedule="constant")
    train(tiny, patches(16), sensible, tmp_path / "first", validation=patches(16, seed=1))
    good = load(tmp_path / "first" / "best")
    wrecking = TrainingPlan(
        epochs=3, batch_size=16, micro_batch=16, learning_rate=1.0, schedule="constant", warm_up=0.0
    )
    trained = train(good, patches(16), wrecking, tmp_path / "second", validation=patches(16, seed=1))
    assert trained.best.step == 0
    assert trained.best.mean_recall == trained.first
    before, best, last = (
        weights(load(path)) for path in (tmp_path / "first/best", tmp_path / "second/best", tmp_path / "second/last")
    )
    assert all(torch.equal(before[name], best[name]) for name in before)
    assert not all(torch.equal(before[name], last[name]) for name in before)


@pytest.mark.parametrize(("fixed", "still"), [("fix_vision", "vis"), ("fix_text", "text")])
def test_a_fixed_tower_keeps_its_weights_and_the_other_learns(tiny, tmp_path, fixed, still):
    before = weights(tiny)
    plan = TrainingPlan(epochs=1, batch_size=8, micro_batch=4, learning_rate=1e-3, **{fixed: True})
    train(tiny, patches(8), plan, tmp_path / "run")
    moved = {name: not torch.equal(weight, before[name]) for name, weight in weights(tiny).items()}
    assert not any(moves for name, moves in moved.items() if name.startswith(still))
    assert all(moves for name, moves in moved.items() if not name.startswith(still) and before[name].any())


def test_the_temperature_stays_below_a_hundred(tiny, tmp_path):
    with torch.no_grad():
        tiny.towers.log_scale.fill_(9.0)
    train(tiny, patches(8), QUICK, tmp_path / "run")
    assert tiny.towers.log_scale.item() == pytest.approx(log(100), abs=0.01)
    assert tiny.towers.log_scale.item() <= log(100) + 1e-6


def test_gains_biases_and_the_temperature_do_not_decay(tiny):
    named = dict(tiny.towers.module.named_parameters())
    optimiser = optimiser_for(list(named.values()), QUICK)
    decay = {id(weight): group["weight_decay"] for group in optimiser.param_groups for weight in group["params"]}
    assert len(decay) == len(named)
    for name, weight in named.items():
        plain = (
            name.endswith("bias")
            or "norm" in name
            or name in ("logit_scale", "vision_model.embeddings.class_embedding")
        )
        assert decay[id(weight)] == (0 if plain else 0.2), name


def test_a_broken_image_is_reported_once_and_skipped(tiny, tmp_path):
    heard = Heard()
    validation = patches(8, seed=1, broken=[5])
    trained = train(tiny, patches(8, broken=[3]), QUICK, tmp_path / "run", validation=validation, observer=heard)
    assert sorted(heard.skips) == sorted(trained.skipped) == ["image 3", "image 5 of the validation set"]
    assert trained.finished


def test_a_broken_image_is_read_again_for_its_reason_once_a_run(tiny):
    skips = []
    batches = ContrastiveBatches(
        tiny,
        patches(8, broken=[3]),
        QUICK,
        group=ProcessGroup(),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        on_skip=lambda name, _: skips.append(name),
    )
    choose_weights(tiny.towers, QUICK)
    for step in range(3):
        batches.backward(step)
    batches.reader.close()
    assert skips == ["image 3"]


def test_a_log_and_a_curve_are_drawn(tiny, tmp_path):
    train(tiny, patches(16), QUICK, tmp_path / "run", validation=patches(8, seed=1))
    rows = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]
    assert [row["step"] for row in rows if "mean_recall" in row] == [0, 2, 4]
    with Image.open(tmp_path / "run" / "curve.png") as curve:
        assert curve.format == "PNG"
        assert len(curve.convert("RGB").getcolors(1 << 20)) > 50


def test_without_matplotlib_training_continues_with_a_warning(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    heard = Heard()
    assert train(tiny, patches(8), QUICK, tmp_path / "run", observer=heard).finished
    assert heard.words == ["Drawing the curves needs matplotlib: pip install 'magpie[lab]'."]
    assert (tmp_path / "run" / "last" / "model.safetensors").exists()


def test_of_equal_validations_the_earliest_is_best():
    record = Record(None)
    first, _ = (record.add({"step": step, "mean_recall": 0.5}) for step in (0, 5))
    assert record.best is first


def test_a_single_logged_step_is_visible_on_the_curve(tmp_path):
    draw_curves([{"step": 1, "loss": 2.0}], tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as curve:
        assert (31, 119, 180) in {colour for _, colour in curve.convert("RGB").getcolors(1 << 20)}


def test_too_little_memory_is_reported_with_what_to_do(tiny, tmp_path):
    def no_room() -> bool:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(BadInput, match="for 8 pairs at a time; take a smaller micro-batch"):
        train(tiny, patches(8), QUICK, tmp_path / "run", stopped=no_room)


def test_a_batch_of_broken_images_is_an_error(tiny, tmp_path):
    with pytest.raises(BadInput, match="None of the images of a whole batch"):
        train(tiny, patches(4, broken=range(4)), QUICK, tmp_path / "run")


def test_a_loss_that_is_not_finite_is_an_error(tiny, tmp_path):
    with torch.no_grad():
        tiny.towers.module.visual_projection.weight.fill_(float("nan"))
    with pytest.raises(BadInput, match="became nan at step 1"):
        train(tiny, patches(8), QUICK, tmp_path / "run")


def test_fp16_is_refused_where_there_is_no_gpu(tiny, tmp_path):
    with pytest.raises(BadInput, match="fp16 needs an NVIDIA GPU"):
        train(tiny, patches(8), TrainingPlan(amp="fp16"), tmp_path / "run")
