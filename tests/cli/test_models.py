from __future__ import annotations

from clipcore.models.known_models import list_models
from tests.cli.run import clipcore


def test_every_known_model_has_its_line_within_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = clipcore("models")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 80
    for model in list_models():
        (line,) = (line for line in lines if line.split()[:1] == [model.name])
        assert f" {model.dimension} " in line
        assert model.licence in line


def test_the_bundled_model_is_here_and_reads_two_languages(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    (line,) = (line for line in clipcore("models").out.splitlines() if line.startswith("bundled"))
    assert line.split()[1:] == ["yes", "yes", "256", "60", "32", "5", "M", "en,", "zh", "MIT"]


def test_json_tells_everything_that_is_known():
    told = {model["name"]: model for model in clipcore("models", "--json").json()}
    assert list(told) == [model.name for model in list_models()]
    assert told["bundled"]["on_this_machine"] is True
    assert told["ViT-L/14@336px"]["id"] == "openai/clip-vit-large-patch14-336"
    assert told["ViT-L/14@336px"]["input_size"] == 336
    assert told["RN50"]["repository"] == "timm/resnet50_clip.openai"
    assert told["siglip2-base"]["repository"] == "google/siglip2-base-patch16-224"
    assert told["bundled"]["repository"] is None
    assert (told["dinov2-base"]["reads_text"], told["dinov2-base"]["languages"]) == (False, [])
    assert told["chinese-B/16"]["languages"] == ["zh"]


def test_models_that_are_not_here_are_not_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    told = {model["name"]: model for model in clipcore("models", "--json").json()}
    assert told["RN50x64"]["on_this_machine"] is False
