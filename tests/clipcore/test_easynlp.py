"""EasyNLP's three CLIP layouts: told from the hub's, held to EasyNLP's own answers, and saved to load again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipcore.errors import ModelUnavailable
from clipcore.models.easynlp import easynlp_layout
from tests.clipcore import originals
from tests.clipcore.easynlp_layouts import (
    WORDS,
    huggingface_clip_weights,
    write_chinese_clip,
    write_huggingface_clip,
    write_open_clip,
)
from tests.clipcore.images import noise
from tests.clipcore.tiny import write_tiny_chinese_clip

# How it was recorded stands in it.
RECORDED = json.loads((Path(__file__).parent / "data" / "easynlp_clip.json").read_text(encoding="utf-8"))
WRITE: dict[str, Callable[[Path], Path]] = {
    "open_clip": lambda directory: write_open_clip(directory, originals.vit_weights()),
    "chinese_clip": write_chinese_clip,
    "chinese_clip_resnet": lambda directory: write_chinese_clip(directory, "resnet"),
    "huggingface_clip": write_huggingface_clip,
}


def load(directory: Path) -> Any:
    from clipcore.model import ClipModel

    return ClipModel.load(str(directory), device="cpu", precision="fp32", local_only=True)


def assert_as_recorded(model: Any, name: str) -> None:
    import torch

    recorded = RECORDED[name]
    edge = recorded["edge"]
    assert model.card.input_size == edge
    pixels = np.random.RandomState(7).standard_normal((2, 3, edge, edge)).astype(np.float32)
    with torch.inference_mode():
        images = torch.nn.functional.normalize(model.towers.image_features(torch.from_numpy(pixels))).numpy()
    texts = model.encode_texts(recorded["texts"])
    np.testing.assert_allclose(images, recorded["image_embeds"], atol=2e-5)
    np.testing.assert_allclose(texts, recorded["text_embeds"], atol=2e-5)
    logits = model.card.logit_scale * images @ texts.T
    np.testing.assert_allclose(logits, recorded["logits_per_image"], atol=2e-3)


@pytest.mark.parametrize("name", WRITE)
def test_each_layout_answers_as_easynlp_did(tmp_path, name):
    model = load(WRITE[name](tmp_path / "mine"))
    assert_as_recorded(model, name)
    card = model.card
    context = {"open_clip": originals.CONTEXT, "huggingface_clip": 63}.get(name, 52)
    assert (card.id, card.dimension, card.context_length, len(card.revision)) == ("mine", 24, context, 12)


@pytest.mark.parametrize("name", WRITE)
def test_images_are_cropped_and_coloured_as_easynlp_does(tmp_path, name):
    preprocessing = load(WRITE[name](tmp_path)).preprocessing
    assert not preprocessing.squash
    assert preprocessing.size == preprocessing.crop == RECORDED[name]["edge"]
    assert preprocessing.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize("name", WRITE)
def test_what_is_saved_loads_again_and_answers_the_same(tmp_path, name):
    model = load(WRITE[name](tmp_path / "theirs"))
    model.opened.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert_as_recorded(again, name)
    assert (again.preprocessing, again.card.context_length) == (model.preprocessing, model.card.context_length)
    images = [noise(70, 50, seed=1)]
    np.testing.assert_allclose(again.encode_images(images), model.encode_images(images), atol=1e-6)
    long = "一只猫在沙发上 cats abc " * 20
    np.testing.assert_allclose(again.encode_texts([long]), model.encode_texts([long]), atol=1e-6)


def test_models_that_easynlp_fine_tuned_have_their_applications_name_before_each_weight(tmp_path):
    assert_as_recorded(load(write_chinese_clip(tmp_path / "zh", fine_tuned=True)), "chinese_clip")
    tuned = write_open_clip(tmp_path / "en", originals.vit_weights(), fine_tuned=True)
    assert_as_recorded(load(tuned), "open_clip")


def test_the_roberta_layout_is_two_towers_of_transformers_and_two_biased_projections(tmp_path):
    """Put together by hand."""
    import torch
    from transformers import BertTokenizer, CLIPVisionConfig, CLIPVisionModel, RobertaConfig, RobertaModel

    directory = write_huggingface_clip(tmp_path)
    weights, config = huggingface_clip_weights(), json.loads((directory / "config.json").read_text())

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}

    roberta = RobertaModel(RobertaConfig(**{**config["text_config"], "model_type": "roberta", "pad_token_id": 0}))
    vision = CLIPVisionModel(CLIPVisionConfig(**config["vision_config"]))
    for module, prefix in ((roberta, "text_encoder."), (vision, "vision_encoder.vision_model.")):
        report = module.eval().load_state_dict(part(prefix), strict=False)
        assert not report.missing_keys
        assert all(name.endswith("position_ids") for name in report.unexpected_keys)
    texts = ["一只猫", "cats"]
    tokens = BertTokenizer(vocab=str(directory / "vocab.txt"))(texts, padding=True, return_tensors="pt")
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        text = roberta(**tokens).pooler_output @ weights["text_projection.weight"].T + weights["text_projection.bias"]
        seen = vision(pixel_values=pixels).pooler_output
        image = seen @ weights["vision_projection.weight"].T + weights["vision_projection.bias"]
        model = load(directory)
        given = model.towers.image_features(pixels)
    np.testing.assert_allclose(model.encode_texts(texts), torch.nn.functional.normalize(text).numpy(), atol=1e-6)
    np.testing.assert_allclose(given.numpy(), image.numpy(), atol=1e-5)


def test_a_roberta_model_is_saved_for_easynlp_to_go_on_with(tmp_path):
    import torch

    model = load(write_huggingface_clip(tmp_path / "theirs"))
    model.opened.save(tmp_path / "saved")
    saved = torch.load(tmp_path / "saved" / "pytorch_model.bin", weights_only=True)
    buffers = {name for name in huggingface_clip_weights() if name.endswith("position_ids")}
    assert set(saved) == set(huggingface_clip_weights()) - buffers
    assert saved["logit_scale"].shape == (1,)
    before, after = tmp_path / "theirs", tmp_path / "saved"
    assert json.loads((after / "config.json").read_text()) == json.loads((before / "config.json").read_text())
    assert (after / "vocab.txt").read_bytes() == (before / "vocab.txt").read_bytes()


def test_a_roberta_model_without_a_temperature_has_the_one_that_easynlp_begins_with(tmp_path):
    directory = write_huggingface_clip(tmp_path)
    weights = huggingface_clip_weights()
    del weights["logit_scale"]
    originals.write_state_dict(directory / "pytorch_model.bin", weights)
    assert load(directory).card.logit_scale == pytest.approx(1 / 0.07)


def test_layouts_are_recognised_by_their_small_files(tmp_path, tiny_directory):
    for name, write in WRITE.items():
        assert easynlp_layout(write(tmp_path / name)) == name.removesuffix("_resnet")
    assert easynlp_layout(write_huggingface_clip(tmp_path / "unnamed", named=False)) == "huggingface_clip"
    assert easynlp_layout(tiny_directory) is None
    chinese = write_tiny_chinese_clip(tmp_path / "hub")
    # The hub's copies of the year had these files, too.
    (chinese / "pytorch_model.bin").touch()
    (chinese / "vocab.txt").touch()
    assert easynlp_layout(chinese) is None
    (tmp_path / "open_clip" / "config.json").write_text("{")
    with pytest.raises(ModelUnavailable, match=r"config\.json' is broken"):
        easynlp_layout(tmp_path / "open_clip")


def test_weights_of_the_hubs_clip_in_such_a_directory_are_refused_in_one_sentence(tmp_path):
    directory = write_huggingface_clip(tmp_path / "mine")
    originals.write_state_dict(directory / "pytorch_model.bin", originals.vit_weights())
    with pytest.raises(
        ModelUnavailable, match="'mine' cannot be loaded: .*no weights of a CLIP model, which have a text_encoder"
    ):
        load(directory)


def test_a_vocabulary_that_is_no_list_of_merges_is_refused_in_one_sentence(tmp_path):
    directory = write_open_clip(tmp_path / "mine", originals.vit_weights())
    (directory / "vocab.txt").write_text("\n".join(WORDS))
    with pytest.raises(ModelUnavailable, match=r"'mine' cannot be loaded: its vocab\.txt is not"):
        load(directory)


@pytest.mark.parametrize("name", ["chinese_clip", "huggingface_clip"])
def test_a_vocabulary_longer_than_the_models_is_refused_in_one_sentence(tmp_path, name):
    directory = WRITE[name](tmp_path / "mine")
    (directory / "vocab.txt").write_text("\n".join([*WORDS, "more"]), encoding="utf-8")
    with pytest.raises(ModelUnavailable, match=r"'mine' cannot be loaded: its vocab\.txt has 19 words .* have 18\."):
        load(directory)


def test_weights_that_the_chinese_layout_lacks_are_named(tmp_path):
    import torch

    directory = write_chinese_clip(tmp_path / "mine")
    weights = torch.load(directory / "pytorch_model.bin", weights_only=True)
    del weights["bert.encoder.layer.1.output.dense.bias"]
    torch.save(weights, directory / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match=r"encoder\.layer\.1\.output\.dense\.bias is missing"):
        load(directory)
