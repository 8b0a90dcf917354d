"""The interface of OpenAI's `clip` package: what code written for it finds here, on models of several families."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import clipcore
from clipcore.errors import BadInput, ModelUnavailable, TextNotSupported
from clipcore.models.tokenizers import END, clip_merges, vocabulary
from clipcore.openai_api import TorchClip
from tests.clipcore import originals
from tests.clipcore.images import noise, quarters
from tests.clipcore.tiny import DIMENSION, INPUT_SIZE, write_tiny_chinese_clip, write_tiny_clip
from tests.clipcore.tiny_families import write_tiny_dinov2, write_tiny_siglip

TEXTS = ["a diagram", "a dog", "a cat on a sofa, seen from the side", ""]


def with_clips_vocabulary(directory: Path, *, eos_token_id: int = END) -> Path:
    """A tiny CLIP that reads CLIP's own 49408 tokens."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    write_tiny_clip(directory)
    torch.manual_seed(1)
    config = CLIPConfig.from_pretrained(directory)
    config.text_config.vocab_size = 49408
    config.text_config.max_position_embeddings = 77
    config.text_config.eos_token_id = eos_token_id
    CLIPModel(config).eval().save_pretrained(directory)
    CLIPTokenizer(vocab=vocabulary(clip_merges()), merges=clip_merges(), model_max_length=77).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return with_clips_vocabulary(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="module")
def model(directory) -> TorchClip:
    return clipcore.load(str(directory), device="cpu", dtype="float32", local_only=True).model


def test_the_example_of_openais_readme_works_nearly_verbatim(directory):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, preprocess = clipcore.load(str(directory), device=device)

    image = preprocess(quarters()).unsqueeze(0).to(device)
    text = clipcore.tokenize(["a diagram", "a dog", "a cat"]).to(device)

    with torch.no_grad():
        image_features = model.encode_image(image)
        text_features = model.encode_text(text)

        logits_per_image, logits_per_text = model(image, text)
        probs = logits_per_image.softmax(dim=-1).cpu().numpy()

    assert image_features.shape == (1, DIMENSION)
    assert text_features.shape == (3, DIMENSION)
    assert probs.shape == (1, 3)
    assert probs.sum() == pytest.approx(1)
    image_features /= image_features.norm(dim=-1, keepdim=True)
    text_features /= text_features.norm(dim=-1, keepdim=True)
    similarity = model.card.logit_scale * image_features @ text_features.T
    assert torch.allclose(similarity, logits_per_image, atol=1e-4)
    assert torch.equal(logits_per_text, logits_per_image.T)


def test_the_notebook_on_interacting_with_clip_finds_what_it_asks_for(directory):
    model, _ = clipcore.load(str(directory))
    model.to("cpu").eval()
    assert model.visual.input_resolution == INPUT_SIZE
    assert model.visual.output_dim == DIMENSION
    assert (model.context_length, model.vocab_size) == (77, 49408)
    weights = load_file(directory / "model.safetensors")
    assert sum(int(np.prod(p.shape)) for p in model.parameters()) == sum(each.numel() for each in weights.values())
    assert model.logit_scale.exp().item() == pytest.approx(model.card.logit_scale)


def test_the_notebook_on_zero_shot_imagenet_works_as_it_is(model):
    weights = []
    with torch.no_grad():
        for name in ("cat", "dog"):
            texts = clipcore.tokenize([template.format(name) for template in ("a {}.", "art of a {}.", "many {}s.")])
            embeddings = model.encode_text(texts)
            embeddings /= embeddings.norm(dim=-1, keepdim=True)
            embedding = embeddings.mean(dim=0)
            embedding /= embedding.norm()
            weights.append(embedding)
        features = model.encode_image(torch.stack([model.preprocess(quarters())] * 2))
        features /= features.norm(dim=-1, keepdim=True)
        logits = 100.0 * features @ torch.stack(weights, dim=1)
    assert logits.shape == (2, 2)
    assert torch.isfinite(logits).all()


def test_the_linear_probe_of_the_readme_works_over_a_data_loader(model):
    device = "cpu"
    dataset = [(model.preprocess(Image.fromarray(noise(40, 50, seed=n))), n % 2) for n in range(5)]
    all_features = []
    with torch.no_grad():
        for images, _ in torch.utils.data.DataLoader(dataset, batch_size=2):
            all_features.append(model.encode_image(images.to(device)))
    assert torch.cat(all_features).cpu().numpy().shape == (5, DIMENSION)


def test_both_interfaces_follow_the_weights(directory):
    model = clipcore.load(str(directory), device="cpu", dtype="bfloat16", local_only=True).model
    assert (model.dtype, model.clip.dtype) == (torch.bfloat16, "bfloat16")
    assert model.logit_scale.exp().item() == pytest.approx(model.card.logit_scale)
    assert (model.float().dtype, model.clip.dtype) == (torch.float32, "float32")
    model.to("meta")
    assert model.clip.device == torch.device("meta")
    assert model.encode_image(torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE)).device == torch.device("meta")
    assert model.clip.as_input(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)).device == torch.device("meta")


def test_weights_are_frozen_until_requires_grad(directory):
    model = clipcore.load(str(directory), device="cpu", dtype="float32", local_only=True).model
    image = model.preprocess(quarters())[None]
    assert not model.encode_image(image).requires_grad
    assert model.requires_grad_().encode_image(image).requires_grad


@pytest.mark.parametrize("eos_token_id", [END, 2])
def test_zeros_behind_the_end_mark_change_nothing(tmp_path, eos_token_id):
    """2 is what OpenAI's checkpoints on the hub say; transformers then sums up at the greatest id, as the original."""
    from transformers import CLIPModel

    directory = with_clips_vocabulary(tmp_path / "clip", eos_token_id=eos_token_id)
    model = clipcore.load(str(directory), device="cpu", dtype="float32", local_only=True).model
    tokens = clipcore.tokenize(TEXTS)
    features = model.encode_text(tokens)
    reference = CLIPModel.from_pretrained(directory).eval()
    for row, feature in zip(tokens.long(), features, strict=True):
        alone = row[: int((row == END).int().argmax()) + 1][None]
        hidden = reference.text_model(input_ids=alone).last_hidden_state[0, -1]
        assert torch.allclose(reference.text_projection(hidden), feature, atol=1e-5)


def test_features_are_those_of_the_vectors_before_they_are_scaled(model):
    features = model.encode_text(clipcore.tokenize(TEXTS))
    assert features.dtype == torch.float32
    lengths = features.norm(dim=-1, keepdim=True)
    assert not torch.allclose(lengths, torch.ones(()), atol=0.01)
    assert np.allclose((features / lengths).detach().numpy(), model.clip.encode_texts(TEXTS), atol=1e-5)
    image = Image.fromarray(noise(40, 50))
    feature = model.encode_image(model.preprocess(image)[None])[0]
    vector = model.clip.encode_images([np.asarray(image)])[0]
    assert np.allclose((feature / feature.norm()).detach().numpy(), vector, atol=1e-5)


def test_similarity_is_differentiable_with_respect_to_the_image(model):
    image = model.preprocess(quarters()).unsqueeze(0).requires_grad_()
    model(image, clipcore.tokenize("a cat"))[0].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def original_transform(image: Image.Image, size: int) -> torch.Tensor:
    """OpenAI's `_transform`, step by step, as torchvision does each."""
    width, height = image.size
    short = min(width, height)
    image = image.resize((int(size * width / short), int(size * height / short)), Image.Resampling.BICUBIC)
    left, top = (round((edge - size) / 2) for edge in image.size)
    image = image.crop((left, top, left + size, top + size)).convert("RGB")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).div(255)
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    return (pixels - mean) / torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)


def with_transparency() -> Image.Image:
    image = Image.fromarray(noise(64, 48)).convert("RGBA")
    image.putalpha(Image.fromarray(noise(64, 48, seed=1)[..., 0]))
    return image


@pytest.mark.parametrize(
    "image",
    [
        quarters(),
        Image.fromarray(noise(96, 64)),
        Image.fromarray(noise(33, 40)[..., 0]),
        with_transparency(),
        Image.fromarray(noise(32, 39)),
        Image.fromarray(noise(43, 32)),
    ],
    ids=["colours", "noise", "grey", "transparent", "rounded down", "rounded up"],
)
def test_images_are_prepared_as_the_original_does(model, image):
    prepared = model.preprocess(image)
    assert prepared.shape == (3, INPUT_SIZE, INPUT_SIZE)
    assert prepared.dtype == torch.float32
    assert torch.allclose(prepared, original_transform(image, INPUT_SIZE), atol=1e-5)


def test_the_transform_can_be_sent_to_another_process(model):
    again = pickle.loads(pickle.dumps(model.preprocess))
    assert torch.equal(again(quarters()), model.preprocess(quarters()))


def test_a_model_with_its_own_vocabulary_refuses_clips_tokens():
    model = clipcore.load("bundled", device="cpu", dtype=torch.float32, local_only=True).model
    with pytest.raises(BadInput, match=r"vocabulary of its own; pass what model\.tokenize"):
        model.encode_text(clipcore.tokenize(["a cat"], 32))
    features = model.encode_text(model.tokenize(["a cat", "a red apple on a table"]))
    vectors = model.clip.encode_texts(["a cat", "a red apple on a table"])
    assert np.allclose(torch.nn.functional.normalize(features, dim=-1).numpy(), vectors, atol=1e-5)
    assert model.encode_text(model.tokenize("a cat")).shape == (1, 256)


def test_padding_is_masked_where_a_family_wants_it(tmp_path):
    directory = write_tiny_chinese_clip(tmp_path / "chinese")
    model = clipcore.load(str(directory), device="cpu", dtype="float32", local_only=True).model
    together = model.encode_text(model.tokenize(["猫", "一只猫狗"]))
    assert torch.allclose(together[:1], model.encode_text(model.tokenize("猫")), atol=1e-5)


def test_siglips_bias_is_part_of_its_logits(tmp_path):
    from transformers import SiglipModel

    directory = write_tiny_siglip(tmp_path / "siglip")
    model = clipcore.load(str(directory), device="cpu", dtype="float32", local_only=True).model
    image, tokens = model.preprocess(quarters())[None], model.tokenize(["a cat", "dog"])
    theirs = SiglipModel.from_pretrained(directory).eval()(pixel_values=image, **tokens)
    logits_per_image, logits_per_text = model(image, tokens)
    assert model.card.logit_bias != 0
    logit = model.card.logit_scale * model.clip.calibration.text_threshold + model.card.logit_bias
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(0.00025)
    assert torch.allclose(logits_per_image, theirs.logits_per_image, atol=1e-4)
    assert torch.allclose(logits_per_text, theirs.logits_per_text, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, INPUT_SIZE, INPUT_SIZE), (1, 3, 8, 8), (1, INPUT_SIZE, INPUT_SIZE, 3)])
def test_images_of_the_wrong_shape_are_refused(model, shape):
    with pytest.raises(BadInput, match=r"\[n, 3, 32, 32\].*preprocess.*unsqueeze"):
        model.encode_image(torch.zeros(shape))


def test_tokens_of_the_wrong_shape_are_refused(model):
    with pytest.raises(BadInput, match="context_length=77"):
        model.encode_text(clipcore.tokenize("a cat", 100))
    with pytest.raises(BadInput, match="context_length=77"):
        model.encode_text(clipcore.tokenize("a cat")[0])


def test_weights_are_float32_on_a_cpu_by_default_as_in_the_original():
    assert clipcore.load("bundled", device="cpu", local_only=True).model.dtype == torch.float32


def test_an_unknown_dtype_is_refused():
    with pytest.raises(BadInput, match="no precision 'int8'; choose auto, fp32"):
        clipcore.load("bundled", dtype="int8")


def test_weights_may_be_rounded_and_features_stay_float32(directory):
    model = clipcore.load(str(directory), device="cpu", dtype=torch.bfloat16, local_only=True).model
    assert model.clip.dtype == "bfloat16"
    assert model.encode_text(clipcore.tokenize("a cat")).dtype == torch.float32
    assert model.encode_image(model.preprocess(quarters())[None]).dtype == torch.float32


def test_the_tokenizers_result_is_a_tensor_of_the_originals_type():
    tokens = clipcore.tokenize("a cat")
    assert (tokens.dtype, tuple(tokens.shape)) == (torch.int32, (1, 77))


def test_an_image_only_model_refuses_text(tmp_path):
    model = clipcore.load(str(write_tiny_dinov2(tmp_path / "dinov2")), device="cpu", local_only=True).model
    assert model.encode_image(model.preprocess(quarters())[None]).shape[0] == 1
    assert (model.vocab_size, model.context_length, model.logit_scale.item()) == (0, 0, 0)
    with pytest.raises(TextNotSupported):
        model.encode_text(clipcore.tokenize("a cat"))


def test_the_forms_of_openais_readme_and_of_code_in_the_wild_are_accepted(directory, tmp_path):
    for loaded in (
        clipcore.load(directory, "cpu", False),
        clipcore.load(str(directory), "cpu", jit=False, download_root=str(tmp_path)),
        clipcore.load(name=directory, device=torch.device("cpu")),
    ):
        model, preprocess = loaded
        assert loaded[0] is loaded.model is model
        assert loaded[1] is preprocess
        assert isinstance(model, torch.nn.Module)
    with pytest.warns(UserWarning, match="jit is ignored"):
        clipcore.load(directory, "cpu", jit=True)
    assert "ViT-B/32" in clipcore.available_models()
    assert all(isinstance(name, str) for name in clipcore.available_models())
    assert clipcore.load(clipcore.available_models()[0], "cpu")[0].card.id == "bundled"


def test_download_root_is_searched_for_openais_own_file(tmp_path):
    originals.write_state_dict(tmp_path / "ViT-L-14-336px.pt", originals.vit_weights())
    model, _ = clipcore.load("ViT-L/14@336px", "cpu", download_root=tmp_path)
    assert model.card.id == "ViT-L-14-336px"
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        clipcore.load("RN50", "cpu", download_root=tmp_path, local_only=True)


def test_fine_tuning_through_the_model_changes_the_temperature(directory):
    model, preprocess = clipcore.load(directory, "cpu", dtype="float32")
    model.requires_grad_()
    images, texts = torch.stack([preprocess(quarters())] * 2), clipcore.tokenize(["a cat", "a dog"])
    before = model(images, texts)[0].detach()
    optimizer = torch.optim.SGD([model.logit_scale], lr=0.5)
    model(images, texts)[0].logsumexp(dim=1).sum().backward()
    assert model.logit_scale.grad is not None
    optimizer.step()
    assert not torch.allclose(model(images, texts)[0], before)


def test_features_are_float16_where_the_weights_are(directory):
    model, preprocess = clipcore.load(directory, "cpu", dtype="float32")
    model.half()
    assert model.encode_image(preprocess(quarters())[None]).dtype == torch.float16
    assert model.encode_text(clipcore.tokenize("a cat")).dtype == torch.float16
