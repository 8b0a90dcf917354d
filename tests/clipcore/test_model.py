from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

import clipcore
from clipcore.errors import BadInput, ImageRejected, ModelUnavailable
from clipcore.images.decode import decode_image
from clipcore.model import ClipModel
from clipcore.models.known_models import read_calibration
from clipcore.prompts import CHINESE, PHOTOGRAPHS
from clipcore.types import Label
from tests.clipcore.images import noise, quarters
from tests.clipcore.tiny import CONTEXT_LENGTH, DIMENSION, INPUT_SIZE, write_tiny_chinese_clip, write_tiny_clip

TEXTS = ["a cat", "a dog on a sofa, asleep", "x"]


def load(directory: Path) -> ClipModel:
    return ClipModel.load(str(directory), device="cpu", precision="fp32", local_only=True)


def by_transformers(features) -> np.ndarray:
    return torch.nn.functional.normalize(features.pooler_output, dim=-1).numpy()


def test_images_become_the_vectors_that_transformers_makes(tiny, tiny_directory):
    reference = CLIPModel.from_pretrained(tiny_directory).eval()
    processor = CLIPImageProcessorPil.from_pretrained(tiny_directory)
    images = [noise(64, 48), noise(33, 90), noise(32, 32)]
    pixels = processor(images, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    with torch.inference_mode():
        expected = by_transformers(reference.get_image_features(pixel_values=pixels))
    assert np.allclose(tiny.encode_images(images), expected, atol=1e-5)


def test_texts_become_the_vectors_that_transformers_makes(tiny, tiny_directory):
    reference = CLIPModel.from_pretrained(tiny_directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt")
    with torch.inference_mode():
        expected = by_transformers(reference.get_text_features(**tokens))
    assert np.allclose(tiny.encode_texts(TEXTS), expected, atol=1e-5)


def test_vectors_are_float32_of_unit_length(tiny):
    for vectors in (tiny.encode_images([noise(64, 48)] * 2), tiny.encode_texts(TEXTS[:2])):
        assert vectors.shape == (2, DIMENSION)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_card_describes_the_loaded_model(tiny):
    assert (tiny.card.id, tiny.card.dimension, tiny.card.input_size) == ("tiny", DIMENSION, INPUT_SIZE)
    assert tiny.card.context_length == CONTEXT_LENGTH
    assert tiny.card.logit_scale == pytest.approx(np.exp(2.6592), rel=1e-4)
    assert tiny.card.key == f"tiny@{tiny.card.revision}#1"
    unmeasured = read_calibration("openai/clip-vit-base-patch32", Path("no calibration.json"))
    assert replace(tiny.calibration, standing=None) == unmeasured


def test_a_text_beyond_the_context_is_cut(tiny):
    words = "a b c d e f g h i j k l m n o p q r s t u v w x y z "
    [long, cut] = tiny.encode_texts([words * 100, words[: 2 * (CONTEXT_LENGTH - 2)]])
    assert np.allclose(long, cut, atol=1e-6)


@pytest.mark.parametrize("text", ["", " ", "猫", "🐈", "\x00", "\ud800", "<|endoftext|>"])
def test_any_text_is_encoded(tiny, text):
    assert np.isfinite(tiny.encode_texts([text])).all()


def test_empty_lists_give_empty_arrays(tiny):
    assert tiny.encode_texts([]).shape == tiny.encode_images([]).shape == (0, DIMENSION)


def test_a_vector_does_not_depend_on_its_batch(tiny):
    together = tiny.encode_texts(TEXTS)
    alone = np.concatenate([tiny.encode_texts([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)


def test_bf16_vectors_are_close_and_still_float32(tiny, tiny_directory):
    rounded = ClipModel.load(str(tiny_directory), device="cpu", precision="bf16", local_only=True)
    assert rounded.card == tiny.card
    vectors = rounded.encode_images([noise(64, 48)])
    assert vectors.dtype == np.float32
    assert float((vectors @ tiny.encode_images([noise(64, 48)]).T)[0, 0]) > 0.99
    assert float((rounded.encode_texts(TEXTS) * tiny.encode_texts(TEXTS)).sum(axis=1).min()) > 0.99


def test_the_precision_follows_the_hardware(tiny_directory):
    automatic = ClipModel.load(str(tiny_directory), device="cpu", local_only=True)
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert automatic.dtype == ("bfloat16" if native else "float32")


def test_read_only_pixels_are_accepted(tiny):
    prepared = tiny.prepare(noise(64, 48))[None]
    prepared.setflags(write=False)
    assert tiny.encode_prepared(prepared).shape == (1, DIMENSION)


def test_a_chinese_clip_is_loaded_the_same_way(tmp_path):
    model = load(write_tiny_chinese_clip(tmp_path / "chinese"))
    assert model.encode_texts(["猫", "一只猫"]).shape == (2, DIMENSION)
    assert model.encode_images([noise(64, 48)]).shape == (1, DIMENSION)
    assert model.card.context_length == 12


class FullDevice:
    """Towers whose device has no memory left."""

    log_scale = logit_bias = None
    module = torch.nn.Linear(1, 1)
    vision, text = (module,), ()

    def __init__(self, error: Exception) -> None:
        self.error = error

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        raise self.error

    def text_features(self, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_a_device_out_of_memory_is_a_memory_error(tiny, error):
    opened = replace(tiny.opened, towers=FullDevice(error))
    model = ClipModel(opened, tiny.card, tiny.calibration)
    with pytest.raises(MemoryError):
        model.encode_prepared(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))


def test_weights_that_do_not_fit_are_refused(tiny_directory, tmp_path):
    from safetensors.torch import load_file, save_file

    directory = Path(shutil.copytree(tiny_directory, tmp_path / "part"))
    weights = load_file(directory / "model.safetensors")
    weights.pop("text_projection.weight")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match="incomplete"):
        load(directory)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_model_that_does_not_fit_is_not_called_broken(tiny_directory, monkeypatch, error):
    def full(_: object) -> None:
        raise error

    monkeypatch.setattr("clipcore.model._open", full)
    with pytest.raises(ModelUnavailable, match="does not fit the memory of cpu; choose a smaller"):
        load(tiny_directory)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_broken_files_are_one_sentence(tiny_directory, tmp_path, file):
    directory = Path(shutil.copytree(tiny_directory, tmp_path / "broken"))
    (directory / file).write_bytes(b"{ this is not it")
    with pytest.raises(ModelUnavailable, match=r"(could not|cannot) be loaded|json' is broken") as caught:
        load(directory)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_no_clip_is_named(tiny_directory, tmp_path):
    directory = Path(shutil.copytree(tiny_directory, tmp_path / "bert"))
    (directory / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelUnavailable, match="'bert' model; choose a CLIP"):
        load(directory)


def test_an_unknown_precision_or_backend_names_the_choices(tiny_directory):
    """Both were taken for something else: a broken download, and openvino."""
    with pytest.raises(BadInput, match="no precision 'half'; choose auto, fp32, bf16 or fp16"):
        ClipModel.load(str(tiny_directory), precision="half")
    with pytest.raises(BadInput, match="no backend 'onnx'; choose auto, torch or openvino"):
        ClipModel.load(str(tiny_directory), backend="onnx")
    assert ClipModel.load(str(tiny_directory), device="cpu", precision="float16").dtype == "float16"


def test_a_bug_is_not_taken_for_a_broken_download(tiny_directory, monkeypatch):
    monkeypatch.setattr("clipcore.model._card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load(tiny_directory)


def test_clip_is_loaded_without_importing_transformers(tiny_directory):
    program = (
        "import sys; from clipcore import ClipModel; model = ClipModel.load(sys.argv[1]); model.encode_texts(['a'])\n"
        "print('transformers' in sys.modules, 'ftfy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_directory)], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout == "False False\n"


def test_a_device_that_is_not_there_is_named(tiny_directory):
    with pytest.raises(ModelUnavailable, match="'nonsense' cannot be used"):
        ClipModel.load(str(tiny_directory), device="nonsense")


WATCHED = """
import sys, threading
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("network:", event, args)
sys.addaudithook(watch)
from clipcore import ClipModel
for directory in sys.argv[1:]:
    print(ClipModel.load(directory).encode_texts(["a"]).shape)
print(threading.active_count(), "thread")
"""


def test_a_local_model_uses_no_network_and_prints_nothing(tiny_directory, tmp_path):
    older = write_tiny_clip(tmp_path / "older")
    weights = CLIPModel.from_pretrained(older).state_dict()
    torch.save(weights, older / "pytorch_model.bin")
    (older / "model.safetensors").unlink()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tiny_directory), str(older)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout == f"(1, {DIMENSION})\n(1, {DIMENSION})\n1 thread\n"


def test_the_card_has_the_prompts_that_suit_the_model(tiny, tmp_path):
    chinese = load(write_tiny_chinese_clip(tmp_path / "chinese"))
    bundled = ClipModel.load("bundled", device="cpu", precision="fp32", local_only=True)
    assert (tiny.card.prompts, chinese.card.prompts) == (PHOTOGRAPHS, CHINESE)
    assert bundled.card.prompts.for_query("a cat") == ("a cat",)


def test_pillow_images_and_pixels_give_the_same_embeddings(tiny):
    upright = quarters()
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    pixels = np.asarray(upright)
    assert np.array_equal(tiny.encode_images([upright, turned]), tiny.encode_images([pixels, pixels]))


@pytest.mark.parametrize("wrong", ["photo.jpg", Path("photo.jpg"), b"bytes", noise(8, 8).astype(np.float32)])
def test_encode_images_refuses_paths_and_bytes_with_advice(tiny, wrong):
    with pytest.raises(BadInput, match="decode_image"):
        tiny.encode_images([wrong])


def test_empty_images_are_refused(tiny):
    for image in (np.zeros((0, 10, 3), np.uint8), np.zeros((10, 0, 3), np.uint8)):
        with pytest.raises(BadInput, match="is empty"):
            tiny.encode_images([image])


@pytest.mark.parametrize("mode", ["La", "RGBa", "LA", "P", "CMYK", "HSV", "I;16", "1", "F"])
def test_pillow_images_of_every_mode_are_encoded(tiny, mode):
    straight = {"La": "LA", "RGBa": "RGBA"}.get(mode)
    image = quarters().convert(straight).convert(mode) if straight else quarters().convert(mode)
    assert tiny.encode_images([image]).shape == (1, DIMENSION)


def test_an_image_is_decoded_from_its_path_and_from_any_kind_of_bytes(tmp_path):
    path = tmp_path / "image.png"
    quarters().save(path)
    data = path.read_bytes()
    for given in (str(path), path, data, bytearray(data), memoryview(data)):
        assert np.array_equal(decode_image(given), np.asarray(quarters()))
    with pytest.raises(BadInput, match=r"'none\.png' cannot be read: no such file"):
        decode_image("none.png")
    with pytest.raises(BadInput, match="path or its bytes, and got ndarray"):
        decode_image(np.zeros((8, 8, 3), np.uint8))


def test_encode_takes_paths_images_and_texts_one_or_many(tiny, tmp_path):
    path = tmp_path / "image.png"
    quarters().save(path)
    [image], [text] = tiny.encode_images([quarters()]), tiny.encode_texts(["a cat"])
    for given in (path, str(path), quarters(), np.asarray(quarters())):
        assert np.allclose(tiny.encode(given), image, atol=1e-6)
    assert np.allclose(tiny.encode("a cat"), text, atol=1e-6)
    mixed = tiny.encode(["a cat", path, "a cat", quarters(), str(path)], batch_size=2)
    assert np.allclose(mixed, [text, image, text, image, image], atol=1e-6)
    assert np.allclose(tiny.encode(each for each in ("a cat", path)), [text, image], atol=1e-6)
    assert tiny.encode([]).shape == (0, DIMENSION)
    assert tiny.encode("a cat", progress=True).shape == (DIMENSION,)


def test_encode_says_what_is_wrong_with_an_input(tiny, tmp_path):
    with pytest.raises(BadInput, match=r"'none\.jpg' cannot be read"):
        tiny.encode("none.jpg")
    with pytest.raises(BadInput, match="batch size is 0"):
        tiny.encode(["a"], batch_size=0)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageRejected):
        tiny.encode(tmp_path / "broken.png")


def test_classify_gives_each_label_its_probability(tiny, tmp_path):
    path = tmp_path / "image.png"
    quarters().save(path)
    scores = tiny.classify(str(path), ["cat", "dog", "sofa"])
    assert {score.label for score in scores} == {"cat", "dog", "sofa"}
    assert sum(score.probability for score in scores) == pytest.approx(1)
    assert scores == tiny.classify(quarters(), [Label("cat"), "dog", "sofa"])
    assert len(tiny.classify(path, ["cat", "dog"], top=1)) == 1


def test_one_line_classifies_an_image(tmp_path):
    path = tmp_path / "image.png"
    quarters().save(path)
    best, _ = clipcore.classify(path, ["red", "blue"], model="bundled")
    assert repr(best) == f"{best.label}: {best.probability:.1%}"


def test_a_single_text_is_not_split_into_letters(tiny):
    with pytest.raises(BadInput, match="list"):
        tiny.encode_texts("a cat")
