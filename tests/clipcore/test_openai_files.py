"""OpenAI's files and open_clip's: held to answers that the original gave, and to what a person gets from a bad file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipcore.errors import ModelUnavailable
from tests.clipcore import originals
from tests.clipcore.images import noise

# How it was recorded stands in it.
RECORDED = json.loads((Path(__file__).parent / "data" / "original_clip.json").read_text(encoding="utf-8"))
INPUT = {"vit": originals.VIT_INPUT, "resnet": originals.RESNET_INPUT}


@dataclass(frozen=True, slots=True)
class Files:
    """One model of each kind, in each way that a file can hold it."""

    directory: Path

    def path(self, kind: str, form: str) -> Path:
        return self.directory / form / f"{kind}.pt"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("originals")
    for kind, weights in (("vit", originals.vit_weights()), ("resnet", originals.resnet_weights())):
        for form in ("torchscript", "state_dict", "half"):
            (directory / form).mkdir(exist_ok=True)
        originals.write_torchscript(directory / "torchscript" / f"{kind}.pt", weights)
        originals.write_state_dict(directory / "state_dict" / f"{kind}.pt", weights)
        originals.write_state_dict(directory / "half" / f"{kind}.pt", weights, half=True)
    return Files(directory)


def load(path: Path) -> Any:
    from clipcore.model import ClipModel

    return ClipModel.load(str(path), device="cpu", precision="fp32", local_only=True)


def answers(model: Any, kind: str) -> dict[str, np.ndarray]:
    import torch

    pixels = np.random.RandomState(7).standard_normal((2, 3, INPUT[kind], INPUT[kind])).astype(np.float32)
    with torch.inference_mode():
        images = model.towers.image_features(torch.from_numpy(pixels))
        texts = model.towers.text_features(model.opened.tokenize(RECORDED["texts"]))
        unit = torch.nn.functional.normalize
        logits = model.towers.log_scale.exp() * unit(images) @ unit(texts).T
    return {
        "image_features": images.numpy(),
        "text_features": texts.numpy(),
        "logits_per_image": logits.numpy(),
    }


def assert_as_recorded(model: Any, kind: str) -> None:
    for name, given in answers(model, kind).items():
        np.testing.assert_allclose(given, RECORDED[kind][name], rtol=1e-4, atol=2e-4, err_msg=name)


CODE = "from pathlib import Path\n\nPath(__file__).with_name('was-run').touch()\n\n\nclass Tokenizer:\n    pass\n"


def test_code_beside_a_checkpoint_is_never_run_and_no_question_is_asked(files, tmp_path, monkeypatch):
    load(files.path("resnet", "state_dict")).opened.save(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Tokenizer", "auto_map": {"AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked to run code"))
    assert_as_recorded(load(tmp_path), "resnet")  # the vocabulary is CLIP's, whatever class the file names
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("form", ["torchscript", "state_dict", "half"])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_file_answers_as_the_original_did(files, kind, form):
    model = load(files.path(kind, form))
    assert model.dtype == "float32"
    assert_as_recorded(model, kind)
    card = model.card
    assert (card.id, card.dimension, card.input_size, card.context_length) == (kind, 24, INPUT[kind], 20)
    assert card.logit_scale == pytest.approx(np.exp(3))
    assert card.revision == hashlib.sha256(files.path(kind, form).read_bytes()).hexdigest()[:12]


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_model_saved_from_a_file_loads_again_with_the_same_embeddings(files, tmp_path, kind):
    model = load(files.path(kind, "state_dict"))
    model.opened.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert_as_recorded(again, kind)
    assert again.preprocessing == model.preprocessing
    assert (again.card.context_length, again.card.dimension) == (20, 24)
    images = [noise(70, 50, seed=1), noise(40, 90, seed=2)]
    np.testing.assert_allclose(again.encode_images(images), model.encode_images(images), atol=1e-6)
    long = "word " * 40
    np.testing.assert_allclose(again.encode_texts([long]), model.encode_texts([long]), atol=1e-6)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_model_that_was_rounded_before_it_was_saved_is_read_in_full_precision_again(files, tmp_path, kind):
    from clipcore.model import ClipModel

    path = str(files.path(kind, "state_dict"))
    rounded = ClipModel.load(path, device="cpu", precision="bf16", local_only=True)
    rounded.opened.save(tmp_path)
    again = load(tmp_path)
    assert again.dtype == "float32"
    image = [noise(70, 50, seed=1)]
    np.testing.assert_allclose(again.encode_images(image), load(Path(path)).encode_images(image), atol=0.02)


def test_a_saved_vision_transformer_is_a_checkpoint_for_transformers(files, tmp_path):
    import torch
    from PIL import Image
    from transformers import AutoModel, AutoTokenizer, CLIPImageProcessorPil

    model = load(files.path("vit", "torchscript"))
    model.opened.save(tmp_path)
    theirs, tokenizer = AutoModel.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    image = noise(70, 50, seed=1)
    pixels = CLIPImageProcessorPil.from_pretrained(tmp_path)(Image.fromarray(image), return_tensors="pt")
    tokens = tokenizer(["a diagram", "two dogs"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        features = theirs.get_image_features(**pixels).pooler_output
        texts = theirs.get_text_features(**tokens).pooler_output
    unit = torch.nn.functional.normalize
    np.testing.assert_allclose(model.encode_images([image]), unit(features).numpy(), atol=1e-5)
    np.testing.assert_allclose(model.encode_texts(["a diagram", "two dogs"]), unit(texts).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_file_can_be_trained_on_and_frozen_by_tower(files, kind):
    """Every weight is in one tower or the other, but for the temperature."""
    model = load(files.path(kind, "state_dict"))
    towers = model.towers
    parts = [part if hasattr(part, "numel") else list(part.parameters()) for part in (*towers.vision, *towers.text)]
    named = {id(weight) for part in parts for weight in (part if isinstance(part, list) else [part])}
    assert {id(weight) for weight in towers.module.parameters()} == named | {id(towers.log_scale)}


def test_a_training_scripts_checkpoint_is_unwrapped(files, tmp_path):
    import torch

    weights = {f"module.{name}": value for name, value in originals.vit_weights().items()}
    path = tmp_path / "epoch_3.pt"
    torch.save({"epoch": 3, "state_dict": weights, "optimizer": {"state": {}}}, path)
    assert_as_recorded(load(path), "vit")


def test_safetensors_under_the_originals_names_are_read(tmp_path):
    import safetensors.torch

    path = tmp_path / "mine.safetensors"
    safetensors.torch.save_file(originals.vit_weights(), path)
    assert_as_recorded(load(path), "vit")


def open_clip(directory: Path, **said: Any) -> Path:
    path = originals.write_state_dict(directory / "open_clip_pytorch_model.bin", originals.vit_weights())
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {"width": originals.VISION_WIDTH, **said.pop("vision", {})},
            "text_cfg": {"width": originals.TEXT_WIDTH, "heads": 1},
            **said,
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    return path


def test_open_clips_description_chooses_the_activation_and_the_colours(tmp_path):
    quick = load(open_clip(tmp_path, quick_gelu=True))
    assert_as_recorded(quick, "vit")
    assert quick.preprocessing.mean == (0.5, 0.5, 0.5)
    plain = answers(load(open_clip(tmp_path)), "vit")
    recorded = RECORDED["vit"]["image_features"]
    assert np.abs(plain["image_features"] - recorded).max() > 0.01
    wide = answers(load(open_clip(tmp_path, quick_gelu=True, vision={"head_width": 128})), "vit")
    assert np.abs(wide["image_features"] - recorded).max() > 0.01


def test_an_open_clip_file_without_its_configuration_is_refused(tmp_path):
    path = open_clip(tmp_path)
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(ModelUnavailable, match="open_clip_config.json"):
        load(path)


def test_open_clips_text_towers_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="another kind"):
        load(open_clip(tmp_path, custom_text=True))


def broken(tmp_path: Path, kind: str, change: str) -> Path:
    weights = originals.resnet_weights() if kind == "resnet" else originals.vit_weights()
    if change == "missing":
        del weights["visual.layer1.0.bn1.weight" if kind == "resnet" else "visual.ln_pre.weight"]
    elif change == "left over":
        weights["visual.ls.gamma"] = weights["logit_scale"]
    elif change == "other shape":
        name = "visual.layer1.0.conv2.weight" if kind == "resnet" else "visual.transformer.resblocks.1.ln_1.weight"
        weights[name] = weights[name][:3]
    elif change == "no square":
        name = f"visual.{'attnpool.' if kind == 'resnet' else ''}positional_embedding"
        weights[name] = weights[name][:-1]
    else:
        weights["token_embedding.weight"] = weights["token_embedding.weight"][:1000]
    return originals.write_state_dict(tmp_path / "broken.pt", weights)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("missing", "is missing"),
        ("left over", r"CLIP has no visual\.ls\.gamma"),
        ("other shape", "do not fit"),
        ("no square", "no square"),
        ("few words", "1000 tokens"),
    ],
)
def test_weights_that_are_not_quite_clips_are_refused_in_one_sentence(tmp_path, kind, change, sentence):
    with pytest.raises(ModelUnavailable, match=sentence) as refusal:
        load(broken(tmp_path, kind, change))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", ["", "not a checkpoint", "junk\n", "cut short"])
def test_a_file_that_is_no_checkpoint_is_named_in_one_sentence(files, tmp_path, content):
    path = tmp_path / "strange.pt"
    whole = files.path("resnet", "torchscript").read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "cut short" else content.encode())
    with pytest.raises(ModelUnavailable, match="model 'strange' cannot be loaded: the") as refusal:
        load(path)
    assert "\n" not in str(refusal.value)


def test_weights_of_another_model_are_refused(tmp_path):
    import torch

    path = originals.write_state_dict(tmp_path / "vgg.pt", {"features.0.weight": torch.zeros(3, 3)})
    with pytest.raises(ModelUnavailable, match="no weights of a CLIP model"):
        load(path)
    torch.save([1, 2, 3], tmp_path / "list.pt")
    with pytest.raises(ModelUnavailable, match="holds no state dict"):
        load(tmp_path / "list.pt")
