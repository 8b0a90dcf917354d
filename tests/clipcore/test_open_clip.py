"""open_clip's multilingual models: held to what its own code answered, and to what the hub's copies look like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clipcore.errors import ModelUnavailable
from clipcore.model import ClipModel
from clipcore.models.checkpoint import find_checkpoint
from clipcore.models.known_models import list_models
from tests.clipcore import open_clip_models as small
from tests.clipcore.hub import COMMIT, serve_hub
from tests.clipcore.images import noise
from tests.clipcore.test_checkpoint import closed_port, find_elsewhere

RECORDED = json.loads((Path(__file__).parent / "data" / "open_clip_xlm_roberta.json").read_text(encoding="utf-8"))
IDS = [model.id for model in list_models() if "xlm-roberta" in model.id]


def load(path: Path, **options: object) -> ClipModel:
    return ClipModel.load(str(path), **{"device": "cpu", "precision": "fp32", "local_only": True, **options})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write(tmp_path_factory.mktemp("open_clip") / "multilingual")


@pytest.fixture(scope="module")
def model(directory: Path) -> ClipModel:
    return load(directory)


def unit(features: list[list[float]]) -> np.ndarray:
    rows = np.asarray(features)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def images() -> list[np.ndarray]:
    return [noise(*size, seed=size[0]) for size in RECORDED["sizes"]]


def test_texts_and_images_are_encoded_as_by_open_clip(model):
    assert len(RECORDED["text_features"]) == len(small.TEXTS)
    texts, pictures = model.encode_texts(small.TEXTS), model.encode_images(images())
    np.testing.assert_allclose(texts, unit(RECORDED["text_features"]), atol=2e-5)
    np.testing.assert_allclose(pictures, unit(RECORDED["image_features"]), atol=2e-5)
    logits = model.card.logit_scale * pictures @ texts.T
    np.testing.assert_allclose(logits, RECORDED["logits_per_image"], atol=1e-3)


def test_features_are_open_clips_before_they_are_normalised(model):
    """Otherwise a wrong scale of the projection would not be seen."""
    with torch.inference_mode():
        features = model.towers.text_features(model.as_tokens(small.TEXTS)).numpy()
    np.testing.assert_allclose(features, RECORDED["text_features"], rtol=1e-4, atol=1e-4)


def test_tokens_are_open_clips_without_the_padding_that_no_text_needs(model):
    tokens = model.as_tokens(small.TEXTS)
    assert list(tokens) == ["input_ids"]
    assert tokens["input_ids"].tolist() == RECORDED["token_ids"]  # the long one fills the context
    longest = max(len([word for word in row if word != 1]) for row in RECORDED["token_ids"][:2])
    assert model.as_tokens(small.TEXTS[:2])["input_ids"].shape == (2, longest)


def test_a_text_is_encoded_alike_alone_and_beside_longer_ones(model):
    [alone] = model.encode_texts(small.TEXTS[1:2])
    np.testing.assert_allclose(alone, model.encode_texts(small.TEXTS)[1], atol=1e-6)


def test_the_card_describes_the_file(model, directory):
    card = model.card
    assert (card.id, card.dimension, card.input_size, card.context_length) == ("multilingual", 24, 32, small.CONTEXT)
    assert (card.logit_scale, card.logit_bias) == (pytest.approx(np.exp(3)), 0)
    assert card.preprocessing == "2", "cropped as by torchvision"
    assert find_checkpoint(directory).file == directory / "open_clip_pytorch_model.bin"


def test_every_weight_belongs_to_one_part(model):
    towers = model.towers
    vision, text = (
        {id(each) for part in parts for each in part.parameters()} for parts in (towers.vision, towers.text)
    )
    assert not vision & text
    assert vision | text | {id(towers.log_scale)} == {id(each) for each in towers.module.parameters()}


@pytest.mark.parametrize("projection", ["mlp", "linear"])
def test_a_saved_model_loads_again_with_the_same_embeddings(tmp_path, projection):
    trained = load(small.write(tmp_path / "source", projection=projection))
    with torch.no_grad():
        for weights in trained.towers.module.parameters():
            weights.mul_(1.1)
    trained.opened.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.preprocessing == trained.preprocessing
    assert again.card.context_length == small.CONTEXT
    np.testing.assert_allclose(again.encode_texts(small.TEXTS), trained.encode_texts(small.TEXTS), atol=1e-6)
    np.testing.assert_allclose(again.encode_images(images()), trained.encode_images(images()), atol=1e-6)


def test_rounded_weights_point_the_same_way(model, directory):
    rounded = load(directory, precision="bf16")
    assert (model.encode_texts(small.TEXTS) * rounded.encode_texts(small.TEXTS)).sum(axis=1).min() > 0.999


def test_a_single_linear_projection_is_told_from_the_weights(tmp_path, model):
    linear = load(small.write(tmp_path / "linear", projection="linear"))
    assert linear.card.dimension == 24
    assert not np.allclose(linear.encode_texts(["a cat"]), model.encode_texts(["a cat"]), atol=0.1)


@pytest.mark.parametrize("model_id", IDS)
def test_the_hubs_copies_are_known_without_a_description_beside_them(tmp_path, model_id):
    directory = small.write(tmp_path / model_id.rsplit("/", 1)[-1], described=False)
    found = find_checkpoint(directory)
    assert found.file == directory / "open_clip_pytorch_model.bin"
    if "ViT-B-32" in model_id:  # H/14 has heads of 80, which these weights have not
        np.testing.assert_allclose(
            load(directory).encode_texts(small.TEXTS[:2]), unit(RECORDED["text_features"])[:2], atol=2e-5
        )
    else:
        with pytest.raises(ModelUnavailable, match="no multiple of heads of 80"):
            load(directory)


def test_other_undescribed_files_are_refused(tmp_path):
    directory = small.write(tmp_path / "mine", described=False)
    with pytest.raises(ModelUnavailable, match=r"open_clip_config\.json"):
        load(directory / "open_clip_pytorch_model.bin")


@pytest.mark.parametrize("model_id", IDS)
def test_weights_and_tokenizer_are_downloaded_by_name_and_found_again(tmp_path, model_id):
    source = small.write(tmp_path / "source", described=False)
    (source / "results_5.html").write_text("a report")
    with serve_hub(source, model_id) as hub:
        assert find_elsewhere(model_id, tmp_path / "cache", hub.url)[0] == f"{model_id} {COMMIT[:12]}"
        assert sorted(hub.downloads) == ["open_clip_pytorch_model.bin", "tokenizer.json"]
    nobody = f"http://127.0.0.1:{closed_port()}"
    for name in (model_id, next(known.name for known in list_models() if known.id == model_id)):
        assert find_elsewhere(name, tmp_path / "cache", nobody)[0] == f"{model_id} {COMMIT[:12]}"
    [tokenizer] = (tmp_path / "cache").rglob("tokenizer.json")
    tokenizer.unlink()
    assert find_elsewhere(model_id, tmp_path / "cache", nobody)[0].startswith("unavailable: ")


def test_without_its_tokenizer_the_message_says_what_to_copy(directory, tmp_path):
    shutil.copytree(directory, tmp_path / "part")
    (tmp_path / "part" / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json beside the weights; copy it there.*xlm-roberta-base"):
        load(tmp_path / "part")


def test_a_tokenizer_of_another_model_is_refused(directory, tmp_path):
    shutil.copytree(directory, tmp_path / "mixed")
    file = tmp_path / "mixed" / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["vocab"] += [[f"word{number}", -9.0] for number in range(50)]
    file.write_text(json.dumps(content))
    with pytest.raises(ModelUnavailable, match=rf"tokens and the weights have {small.WORDS}"):
        load(tmp_path / "mixed")


@pytest.mark.parametrize("said", [{"hf_model_name": "roberta-base"}, {"hf_pooler_type": "cls_pooler"}])
def test_other_text_towers_and_poolings_are_refused_in_one_sentence(tmp_path, said):
    with pytest.raises(ModelUnavailable, match="XLM-RoBERTa with the mean of its tokens is supported") as refusal:
        load(small.write(tmp_path / "other", **said))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["text.proj.2.weight", "text.transformer.encoder.layer.1.output.dense.bias"])
def test_weights_that_lack_one_are_refused(directory, tmp_path, name):
    shutil.copytree(directory, tmp_path / "broken")
    weights = small.weights()
    del weights[name]
    torch.save(weights, tmp_path / "broken" / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        load(tmp_path / "broken")
