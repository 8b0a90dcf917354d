"""The models known by name: what is said of each, and what each name leads to."""

from __future__ import annotations

import json

import pytest

from clipcore.models.known_models import (
    BUNDLED_DIRECTORY,
    DEFAULT_MODEL,
    LIBRARY_MODEL,
    KnownModel,
    languages_of,
    list_models,
    resolve,
)

OPENAI = ["RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"]


def by_name() -> dict[str, KnownModel]:
    return {model.name: model for model in list_models()}


def test_the_bundled_model_comes_first_and_openais_nine_follow_in_their_order():
    names = [model.name for model in list_models()]
    assert names[:10] == ["bundled", *OPENAI]


def test_the_defaults_are_known_and_free_to_use():
    """Apache-2.0 and MIT: nobody has to ask before running the bot."""
    models = by_name()
    [default] = [model for model in models.values() if model.id == DEFAULT_MODEL]
    assert (default.licence, default.languages) == ("Apache-2.0", ("mul",))
    assert models[LIBRARY_MODEL].licence == "MIT"


def test_the_recommended_families_are_offered():
    ids = {model.id for model in list_models()}
    assert {
        "google/siglip2-base-patch16-224",
        "google/siglip2-so400m-patch14-384",
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
        "OFA-Sys/chinese-clip-vit-base-patch16",
        "OFA-Sys/chinese-clip-vit-large-patch14",
        "OFA-Sys/chinese-clip-vit-huge-patch14",
        "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        "laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k",
        "facebook/dinov2-base",
        "microsoft/resnet-50",
    } <= ids


def test_names_and_ids_are_each_given_once():
    models = list_models()
    assert len({model.name for model in models}) == len({model.id for model in models}) == len(models)


@pytest.mark.parametrize("model", list_models(), ids=lambda model: model.name)
def test_every_name_leads_to_its_model_and_so_does_its_id(model):
    assert resolve(model.name).id == resolve(model.id).id == model.id


def test_the_bundled_models_figures_are_those_of_its_files():
    config = json.loads((BUNDLED_DIRECTORY / "config.json").read_text(encoding="utf-8"))
    bundled = by_name()["bundled"]
    assert bundled.dimension == config["projection_dim"]
    assert bundled.input_size == config["vision_config"]["image_size"]
    assert bundled.context_length == config["text_config"]["max_position_embeddings"]


def test_image_only_models_are_marked():
    blind_to_words = {model.name for model in list_models() if not model.reads_text}
    assert blind_to_words == {"dinov2-base", "resnet-50"}
    assert all(bool(model.languages) == model.reads_text for model in list_models())


@pytest.mark.parametrize(
    ("name", "repository"), [("RN50", "resnet50"), ("RN101", "resnet101"), ("RN50x16", "resnet50x16")]
)
def test_openais_resnets_are_the_hubs_copies(name, repository):
    """As in open_clip/pretrained.py."""
    assert (resolve(name).id, resolve(name).repository) == (name, f"timm/{repository}_clip.openai")
    assert resolve("ViT-B/32").repository is None


def test_a_file_is_named_by_its_stem(tmp_path):
    file = tmp_path / "mine.pt"
    file.write_bytes(b"weights")
    resolved = resolve(str(file))
    assert (resolved.id, resolved.file, resolved.directory) == ("mine", file, None)


def test_a_file_that_is_called_like_a_model_does_not_take_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RN50").write_bytes(b"something else")
    assert resolve("RN50").file is None


def test_the_languages_of_a_model_are_known_by_its_id_and_by_the_name_of_its_directory():
    assert languages_of("openai/clip-vit-base-patch32") == languages_of("clip-vit-base-patch32") == ("en",)
    assert languages_of(DEFAULT_MODEL) == ("mul",)
    assert languages_of("bundled") == ("en", "zh")
    assert languages_of("someone/their-clip") == ()
