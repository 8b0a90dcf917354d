"""What holds for a model of every family: its card, its parts, its refusals, and that what it saves loads again."""

from __future__ import annotations

import copy
import inspect
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, SiglipImageProcessorPil, SiglipProcessor

from clipcore.errors import ModelUnavailable, TextNotSupported
from clipcore.model import ClipModel, open_checkpoint
from clipcore.models.checkpoint import find_checkpoint
from clipcore.models.towers import Opened
from tests.clipcore.families import FAMILIES, READING, SEEING, Family
from tests.clipcore.images import noise
from tests.clipcore.tiny import write_tiny_chinese_clip
from tests.clipcore.tiny_families import write_tiny_dinov2, write_tiny_naflex, write_tiny_siglip, write_tiny_siglip2

IMAGES = [noise(64, 48), noise(90, 120, 1), np.full((50, 50, 3), 90, np.uint8)]
TEXTS = ["a cat", "a photo of a dog", "一只猫"]


def load(directory: Path, **options: object) -> ClipModel:
    settings = {"device": "cpu", "precision": "fp32", "local_only": True, **options}
    return ClipModel.load(str(directory), **settings)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def directory(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.write(tmp_path_factory.mktemp("families") / family.name)


@pytest.fixture
def opened(directory: Path) -> Opened:
    return open_checkpoint(find_checkpoint(str(directory)))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


def parameters(parts: object) -> set[nn.Parameter]:
    return {
        parameter
        for part in parts
        for parameter in (part.parameters() if isinstance(part, nn.Module) else (part,))
    }  # fmt: skip


def test_the_card_describes_the_family(family, directory):
    model = load(directory)
    card = model.card
    assert card.reads_text == (family.words is not None)
    assert card.context_length == family.context_length
    assert model.encode_images(IMAGES).shape == (3, card.dimension)
    assert model.prepare(IMAGES[0]).shape == (card.input_size, card.input_size, 3)
    assert card.logit_bias == (-10 if family.name in ("siglip", "siglip2", "naflex") else 0)
    assert card.logit_scale == pytest.approx(np.exp(2.3) if card.reads_text else 1, rel=1e-5)


def test_every_weight_belongs_to_one_part(opened):
    towers = opened.towers
    of_both = {each for each in (towers.log_scale, towers.logit_bias) if each is not None}
    vision, text = parameters(towers.vision), parameters(towers.text)
    assert not vision & text
    assert not of_both & (vision | text)
    assert vision | text | of_both == set(towers.module.parameters())


def test_images_pass_through_the_vision_parts_alone(opened):
    edge = opened.preprocessing.crop
    opened.towers.image_features(torch.randn(2, 3, edge, edge)).square().sum().backward()
    moved = {each for each in opened.towers.module.parameters() if each.grad is not None}
    assert moved
    assert moved <= parameters(opened.towers.vision)


@pytest.mark.parametrize("family", READING, ids=lambda family: family.name, scope="module", indirect=True)
def test_texts_pass_through_the_text_parts_alone(family, opened):
    assert opened.tokenize is not None
    opened.towers.text_features(opened.tokenize(TEXTS)).square().sum().backward()
    moved = {each for each in opened.towers.module.parameters() if each.grad is not None}
    assert moved
    assert moved <= parameters(opened.towers.text)


def test_what_is_saved_after_a_step_of_training_loads_again(family, directory, tmp_path, capfd):
    trained = load(directory)
    with torch.no_grad():
        for parameter in trained.towers.module.parameters():
            parameter.mul_(1.1)
    (tmp_path / "trained").mkdir()
    capfd.readouterr()
    trained.opened.save(tmp_path / "trained")
    assert capfd.readouterr() == ("", "")
    again = load(tmp_path / "trained")
    assert again.preprocessing == trained.preprocessing
    assert np.allclose(again.encode_images(IMAGES), trained.encode_images(IMAGES), atol=1e-6)
    assert not np.allclose(again.encode_images(IMAGES), load(directory).encode_images(IMAGES), atol=1e-3)
    if family.words:
        assert np.allclose(again.encode_texts(TEXTS), trained.encode_texts(TEXTS), atol=1e-6)
        assert again.card.logit_scale == pytest.approx(np.exp(2.53), rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_rounded_weights_point_the_same_way(family, directory, precision):
    exact, rounded = load(directory), load(directory, precision=precision)
    assert rounded.dtype == {"bf16": "bfloat16", "fp16": "float16"}[precision]
    assert rounded.card == exact.card
    images, rounded_images = exact.encode_images(IMAGES), rounded.encode_images(IMAGES)
    assert (images * rounded_images).sum(axis=1).min() > 0.999
    if family.words:
        texts, rounded_texts = exact.encode_texts(TEXTS), rounded.encode_texts(TEXTS)
        assert (texts * rounded_texts).sum(axis=1).min() > 0.999
        assert cosine(images @ texts.T, rounded_images @ rounded_texts.T) > 0.999


@pytest.mark.parametrize("family", SEEING, ids=lambda family: family.name, scope="module", indirect=True)
def test_an_image_only_model_refuses_texts(family, directory):
    model = load(directory)
    for texts in (["a cat"], []):
        with pytest.raises(TextNotSupported, match="image-only model without a text encoder; use a CLIP"):
            model.encode_texts(texts)
    with pytest.raises(TextNotSupported):
        model.towers.text_features({})


# torch's compiler still uses what torch itself calls old.
compiling = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_deep_copy_shares_no_weights(opened):
    pixels = torch.ones(1, 3, opened.preprocessing.crop, opened.preprocessing.crop)
    copied = copy.deepcopy(opened.towers)
    with torch.no_grad():
        before = opened.towers.image_features(pixels)
        for weights in copied.module.parameters():
            weights.zero_()
        assert copied.image_features(pixels).count_nonzero() == 0
        assert torch.equal(opened.towers.image_features(pixels), before)


@compiling
def test_compiled_towers_give_the_same_vectors(tmp_path):
    directory = write_tiny_siglip2(tmp_path / "siglip2")
    # Compiling in earnest takes a minute on a busy machine; what it would have compiled is run as it is.
    with torch.compiler.set_stance("force_eager"):
        compiled = load(directory, compile=True)
        images, texts = compiled.encode_images(IMAGES), compiled.encode_texts(TEXTS)
    plain = load(directory)
    assert compiled.card == plain.card
    for features in (compiled.towers.image_features, compiled.towers.text_features):
        assert inspect.unwrap(features) is not features
    assert np.allclose(images, plain.encode_images(IMAGES), atol=1e-6)
    assert np.allclose(texts, plain.encode_texts(TEXTS), atol=1e-6)


@compiling
def test_without_a_compiler_the_message_says_to_load_without_compiling(tmp_path):
    import torch._inductor.config as inductor

    directory = write_tiny_dinov2(tmp_path / "dinov2")
    with (
        inductor.patch({"cpp.cxx": (None, "no-such-compiler"), "fx_graph_cache": False}),
        pytest.raises(ModelUnavailable, match="could not be compiled on this machine .*; load it without") as caught,
    ):
        load(directory, compile=True)
    assert "\n" not in str(caught.value)
    assert "InvalidCxxCompiler" in str(caught.value)


def test_naflex_images_are_resized_to_one_square(tmp_path):
    model = load(write_tiny_naflex(tmp_path / "naflex"))
    wide = noise(96, 48)
    assert model.prepare(wide).shape == (48, 48, 3)
    assert model.preprocessing.squash


@pytest.mark.parametrize("write", [write_tiny_siglip, write_tiny_siglip2])
def test_texts_are_spelt_as_the_family_was_trained(tmp_path, write):
    model = load(write(tmp_path / "siglip"))
    [loud, quiet] = model.encode_texts(["A CAT and a Dog", "a cat and a dog"])
    assert np.array_equal(loud, quiet)
    [marked, bare] = model.encode_texts(["a cat, and (a dog)!", "a cat and a dog"])
    assert np.array_equal(marked, bare) == (write is write_tiny_siglip)


def test_the_end_mark_of_a_long_text_is_kept(tmp_path):
    model = load(write_tiny_siglip2(tmp_path / "siglip2"))
    tokens = model.as_tokens(["a cat " * 100, "a cat"])
    assert list(tokens) == ["input_ids"]
    long, short = tokens["input_ids"].tolist()
    assert (len(long), len(short)) == (64, 64)
    assert long[-1] == 1  # <eos>
    assert short[short.index(1) + 1 :] == [0] * (63 - short.index(1))  # <pad>


def test_the_newer_file_in_which_transformers_nests_the_preprocessing_is_read(tmp_path):
    directory = write_tiny_siglip(tmp_path / "siglip")
    (directory / "preprocessor_config.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"no preprocessor_config\.json"):
        find_checkpoint(str(directory))
    images = SiglipImageProcessorPil(size={"height": 40, "width": 40}, image_mean=[0.1, 0.2, 0.3])
    SiglipProcessor(images, PreTrainedTokenizerFast.from_pretrained(directory)).save_pretrained(directory)
    assert not (directory / "preprocessor_config.json").exists()
    read = open_checkpoint(find_checkpoint(str(directory))).preprocessing
    assert (read.crop, read.squash, read.mean) == (40, True, (0.1, 0.2, 0.3))


def test_a_chinese_clip_with_a_bare_vocabulary_as_on_the_hub_keeps_to_the_length_it_was_trained_at(tmp_path):
    directory = write_tiny_chinese_clip(tmp_path / "chinese")
    expected = load(directory).as_tokens(["A Cat, 一只猫", "dog"])
    vocabulary = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    (directory / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)), encoding="utf-8")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).unlink()
    model = load(directory)
    assert model.card.context_length == 52
    assert model.as_tokens(["猫" * 60])["input_ids"].shape == (1, 52)
    for name, tokens in model.as_tokens(["A Cat, 一只猫", "dog"]).items():
        assert tokens.tolist() == expected[name].tolist()


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="SentencePiece's library is installed")
def test_a_sentencepiece_file_alone_says_what_to_install(tmp_path):
    directory = write_tiny_siglip(tmp_path / "siglip")
    (directory / "tokenizer.json").unlink()
    (directory / "spiece.model").write_bytes(b"pieces")
    with pytest.raises(ModelUnavailable, match="pip install sentencepiece protobuf"):
        load(directory)


def test_a_classifier_beside_the_backbone_is_not_missed(tmp_path):
    """The hub's ResNet-50 names its weights `resnet.…` and has a classifier, which likeness does not need."""
    [resnet] = [family for family in FAMILIES if family.name == "resnet"]
    directory = resnet.write(tmp_path / "resnet")
    config = json.loads((directory / "config.json").read_text())
    assert config["architectures"] == ["ResNetForImageClassification"]
    assert load(directory).card.dimension == 32
