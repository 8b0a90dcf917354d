"""Names, directories and the hub's cache. What needs a network is answered by a small hub on loopback, or by nobody."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from clipcore.errors import ModelUnavailable
from clipcore.model import ClipModel
from clipcore.models.checkpoint import find_checkpoint
from clipcore.models.known_models import BUNDLED_DIRECTORY, DEFAULT_MODEL, read_calibration, resolve
from clipcore.types import Calibration, Standing
from tests.clipcore import originals
from tests.clipcore.hub import COMMIT, serve_hub

# The hub's client would pause 23 seconds in all between its five retries; a busy machine alone may take some seconds.
SOON = 20
VIT_B_32 = "openai/clip-vit-base-patch32"
FALLBACK = read_calibration(VIT_B_32, Path("no calibration.json"))


def copy_of(directory: Path, target: Path) -> Path:
    return Path(shutil.copytree(directory, target))


def test_names_are_resolved_without_a_network(tmp_path):
    assert resolve("bundled").directory == BUNDLED_DIRECTORY
    assert resolve("ViT-B/32").id == VIT_B_32
    assert resolve("base").id == resolve("clip-vit-base-patch32").id == VIT_B_32
    assert resolve("large").id == resolve("clip-vit-large-patch14").id == "openai/clip-vit-large-patch14"
    assert resolve(" someone/their-clip ").id == "someone/their-clip"
    assert resolve("someone/their-clip").directory is None
    (tmp_path / "mine").mkdir()
    assert resolve(str(tmp_path / "mine")).id == "mine"


def test_a_directory_is_named_by_its_weights(tiny_directory, tmp_path):
    found = find_checkpoint(str(tiny_directory))
    assert (found.id, found.directory, len(found.revision)) == ("tiny", tiny_directory, 12)
    moved = copy_of(tiny_directory, tmp_path / "tiny")
    assert find_checkpoint(str(moved)).revision == found.revision
    with (moved / "model.safetensors").open("ab") as weights:
        weights.write(b"x")
    assert find_checkpoint(str(moved)).revision != found.revision


def test_unchanged_weights_are_read_once(tiny_directory, tmp_path, monkeypatch):
    directory = copy_of(tiny_directory, tmp_path / "own")
    revision = find_checkpoint(str(directory)).revision
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert find_checkpoint(str(directory)).revision == revision


def test_weights_in_several_files_are_one_fingerprint(tiny_directory, tmp_path):
    directory = copy_of(tiny_directory, tmp_path / "sharded")
    (directory / "model.safetensors").rename(directory / "model-1.safetensors")
    (directory / "model-2.safetensors").write_bytes(b"more")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    whole = find_checkpoint(str(directory)).revision
    (directory / "model-2.safetensors").write_bytes(b"other")
    assert find_checkpoint(str(directory)).revision != whole
    (directory / "model-2.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"no model-2\.safetensors"):
        find_checkpoint(str(directory))


def test_the_directory_that_hf_download_prints_keeps_the_models_name(tiny_directory, tmp_path):
    printed = copy_of(tiny_directory, tmp_path / "models--openai--clip-vit-base-patch32" / "snapshots" / COMMIT)
    found = find_checkpoint(str(printed))
    assert (found.id, found.revision) == (VIT_B_32, COMMIT[:12])


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("config.json", "config.json"),
        ("preprocessor_config.json", "preprocessor_config.json"),
        ("tokenizer.json", "tokenizer files"),
        ("model.safetensors", "weights"),
    ],
)
def test_an_incomplete_directory_says_what_it_lacks(tiny_directory, tmp_path, missing, named):
    directory = copy_of(tiny_directory, tmp_path / "part")
    (directory / missing).unlink()
    with pytest.raises(ModelUnavailable, match=f"no {named}"):
        find_checkpoint(str(directory))


def test_a_calibration_beside_the_weights_overrides_the_table(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text('{"text_threshold": 0.1, "image_threshold": 0.2, "tag_threshold": 0.3, "source": "x"}')
    assert read_calibration(DEFAULT_MODEL, path) == Calibration(0.1, 0.2, 0.3)


def test_a_calibration_under_the_former_names_is_read(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text('{"text_match": 0.1, "image_match": 0.2, "tag_match": 0.3}')
    assert read_calibration(DEFAULT_MODEL, path) == Calibration(0.1, 0.2, 0.3)


def test_each_of_several_files_in_a_folder_has_its_own_calibration(tmp_path):
    for name in ("one.pt", "another.pt"):
        (tmp_path / name).write_bytes(name.encode())
    figures = {"text_threshold": 0.1, "image_threshold": 0.2, "tag_threshold": 0.3}
    (tmp_path / "calibration.json").write_text(json.dumps(figures | {"text_threshold": 0.9}))
    (tmp_path / "one.calibration.json").write_text(json.dumps(figures))
    assert find_checkpoint(str(tmp_path / "one.pt")).calibration() == Calibration(0.1, 0.2, 0.3)
    assert find_checkpoint(str(tmp_path / "another.pt")).calibration() == FALLBACK


@pytest.mark.parametrize("said", ['{"text_threshold": 0.1}', '{"text_threshold": 0, "image_threshold": []}', "[]"])
def test_a_calibration_that_is_broken_is_one_sentence(tmp_path, said):
    path = tmp_path / "calibration.json"
    path.write_text(said)
    with pytest.raises(ModelUnavailable, match=r"calibration\.json'.*delete"):
        read_calibration(DEFAULT_MODEL, path)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/clip", "clip" * 2000, "a\0b"])
def test_a_name_that_is_no_valid_path_raises_model_unavailable(name):
    with pytest.raises(ModelUnavailable, match="neither a file or directory"):
        find_checkpoint(name, local_only=True)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.json", "[]"),
        ("config.json", "{"),
        ("config.json", "[" * 100_000),
        ("model.safetensors.index.json", "{}"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 1}}'),
    ],
)
def test_a_small_file_that_is_broken_is_named(tiny_directory, tmp_path, file, said):
    directory = copy_of(tiny_directory, tmp_path / "broken")
    (directory / "model.safetensors").unlink()
    (directory / file).write_text(said)
    with pytest.raises(ModelUnavailable, match=r"config\.json'.*is broken|index\.json'.*is broken|has no 1;"):
        find_checkpoint(str(directory))


def test_an_unmeasured_model_gets_the_fallback_and_a_copy_of_a_known_one_its_own(tmp_path):
    absent = tmp_path / "calibration.json"
    assert read_calibration("someone/their-clip", absent) == FALLBACK
    large = read_calibration("openai/clip-vit-large-patch14", absent)
    assert read_calibration("clip-vit-large-patch14", absent) == large != FALLBACK


def test_a_model_with_a_bias_matches_and_tags_by_its_own_probabilities(tmp_path):
    absent = tmp_path / "calibration.json"
    read = read_calibration(DEFAULT_MODEL, absent, logit_scale=112.0, logit_bias=-16.0)
    assert 1 / (1 + math.exp(16.0 - 112.0 * read.text_threshold)) == pytest.approx(0.00025)
    assert read.tag_threshold == pytest.approx(0.001)
    assert read.image_threshold == FALLBACK.image_threshold
    large = "openai/clip-vit-large-patch14"
    assert replace(read_calibration(large, absent, logit_scale=100.0), standing=None) == read_calibration(large, absent)


def test_the_standing_is_read_from_the_file_or_else_derived_from_the_threshold_and_the_logit_scale(tmp_path):
    path = tmp_path / "calibration.json"
    figures: dict[str, object] = {"text_threshold": 0.2, "image_threshold": 0.7, "tag_threshold": 0.3}
    path.write_text(json.dumps(figures))
    derived = read_calibration(DEFAULT_MODEL, path, logit_scale=100.0).standing
    assert derived == Standing(None, pytest.approx(0.17), pytest.approx(0.25))
    path.write_text(json.dumps(figures | {"standing": {"spread": 0.1, "doubtful": 0.15, "certain": 0.4}}))
    assert read_calibration(DEFAULT_MODEL, path, logit_scale=100.0).standing == Standing(0.1, 0.15, 0.4)
    path.write_text(json.dumps(figures | {"standing": {"spread": 0.1}}))
    with pytest.raises(ModelUnavailable, match=r"calibration\.json'.*doubtful"):
        read_calibration(DEFAULT_MODEL, path)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def find_elsewhere(name: str, cache: Path, endpoint: str, *, local_only: bool = False) -> tuple[str, float]:
    """Finds a checkpoint in a process of its own, since the hub's client reads its settings once. Output and
    seconds.
    """
    program = (
        "from clipcore.models.checkpoint import find_checkpoint; from clipcore.errors import ModelUnavailable\n"
        "import time; began = time.monotonic()\n"
        f"try: found = find_checkpoint({name!r}, local_only={local_only}); print(found.id, found.revision)\n"
        "except ModelUnavailable as error: print('unavailable:', error)\n"
        "print(time.monotonic() - began)"
    )
    environment = {**os.environ, "HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
    environment |= {"NO_PROXY": "*", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stderr == ""
    output, seconds = done.stdout.rstrip().rsplit("\n", 1)
    assert "\n" not in output
    return output, float(seconds)


@pytest.mark.parametrize("local_only", [True, False])
def test_a_model_that_is_neither_local_nor_reachable_fails_soon_with_advice(tmp_path, local_only):
    nobody = f"http://127.0.0.1:{closed_port()}"
    output, seconds = find_elsewhere(DEFAULT_MODEL, tmp_path, nobody, local_only=local_only)
    assert output.startswith("unavailable: ")
    assert f"`hf download {DEFAULT_MODEL} --local-dir siglip2-base-patch32-256`" in output
    assert "`bundled` for a trial" in output
    assert seconds < SOON


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("someone/unknown", "does not exist on the hub or needs a login (HTTP 404)"),
        ("someone/secret", "does not exist on the hub or needs a login (HTTP 401)"),
        ("someone/ill", "the hub answered HTTP 500"),
    ],
)
def test_the_hubs_refusal_is_part_of_the_message(tiny_directory, tmp_path, name, why):
    with serve_hub(tiny_directory) as hub:
        output, seconds = find_elsewhere(name, tmp_path, hub.url)
    assert why in output
    assert "`bundled` for a trial" in output
    assert seconds < SOON


def test_a_model_is_downloaded_once_and_then_found_without_the_hub(tiny_directory, tmp_path):
    source = copy_of(tiny_directory, tmp_path / "source")
    (source / "tf_model.h5").write_bytes(b"a copy for another library")
    (source / "pytorch_model.bin").write_bytes(b"a copy in an older format")
    expected = f"someone/tiny {COMMIT[:12]}"
    with serve_hub(source) as hub:
        assert find_elsewhere("someone/tiny", tmp_path / "cache", hub.url)[0] == expected
        assert "model.safetensors" in hub.downloads
        assert not {"tf_model.h5", "pytorch_model.bin"} & set(hub.downloads)
    nobody = f"http://127.0.0.1:{closed_port()}"
    assert find_elsewhere("someone/tiny", tmp_path / "cache", nobody)[0] == expected


def snapshot_of(repository: str, cache: Path) -> Path:
    """An empty snapshot of the repository in the hub's cache."""
    directory = cache / f"models--{repository.replace('/', '--')}"
    (directory / "refs").mkdir(parents=True)
    (directory / "refs" / "main").write_text(COMMIT)
    snapshot = directory / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_hub_id_means_transformers_files_although_open_clips_alone_are_cached(tmp_path):
    snapshot = snapshot_of("laion/clip", tmp_path)
    (snapshot / "open_clip_config.json").write_text("{}")
    (snapshot / "open_clip_model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        find_checkpoint("laion/clip", local_only=True, cache_dir=tmp_path)
    assert find_checkpoint(snapshot).file == snapshot / "open_clip_model.safetensors"


def test_an_openai_resnet_means_the_single_file_although_a_complete_directory_is_cached(tiny_directory, tmp_path):
    snapshot = snapshot_of("timm/resnet50_clip.openai", tmp_path)
    shutil.copytree(tiny_directory, snapshot, dirs_exist_ok=True)
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        find_checkpoint("RN50", local_only=True, cache_dir=tmp_path)
    (snapshot / "open_clip_config.json").write_text("{}")
    (snapshot / "open_clip_model.safetensors").write_bytes(b"weights")
    found = find_checkpoint("RN50", local_only=True, cache_dir=tmp_path)
    assert found.file == snapshot / "open_clip_model.safetensors"


def test_a_repository_that_lacks_a_file_is_no_checkpoint(tiny_directory, tmp_path):
    source = copy_of(tiny_directory, tmp_path / "source")
    (source / "preprocessor_config.json").unlink()
    with serve_hub(source) as hub:
        output, _ = find_elsewhere("someone/tiny", tmp_path / "cache", hub.url)
    assert output.endswith(
        "'someone/tiny' has no preprocessor_config.json: it is not a CLIP checkpoint that can be loaded."
    )


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_openais_resnets_are_downloaded_from_the_hub_in_open_clips_layout(tmp_path, file):
    source = tmp_path / "source"
    source.mkdir()
    weights = originals.resnet_weights()
    if file.endswith(".bin"):
        originals.write_state_dict(source / file, weights)
    else:
        save_file(weights, source / file)
    cfg = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": {}, "text_cfg": {"width": 64, "heads": 1}}
    (source / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}))
    (source / "config.json").write_text(json.dumps({"architecture": "resnet50_clip"}))  # timm's
    (source / "model.safetensors").write_bytes(b"timm's copy of the image tower")
    with serve_hub(source, "timm/resnet50_clip.openai") as hub:
        assert find_elsewhere("RN50", tmp_path / "cache", hub.url)[0] == f"RN50 {COMMIT[:12]}"
        assert sorted(hub.downloads) == sorted([file, "open_clip_config.json"])
    nobody = f"http://127.0.0.1:{closed_port()}"
    assert find_elsewhere("RN50", tmp_path / "cache", nobody)[0] == f"RN50 {COMMIT[:12]}"
    [found] = (tmp_path / "cache").rglob(file)
    # What `hf download` makes of it, as the advice without a network says.
    for path in (found, source):
        model = ClipModel.load(path, device="cpu", precision="fp32")
        assert (model.card.dimension, model.card.input_size) == (24, originals.RESNET_INPUT)


def test_an_image_only_model_needs_no_tokenizer(tiny_directory, tmp_path):
    directory = copy_of(tiny_directory, tmp_path / "backbone")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).unlink()
    with pytest.raises(ModelUnavailable, match="no tokenizer files"):
        find_checkpoint(str(directory))
    (directory / "config.json").write_text('{"model_type": "dinov2"}')
    assert find_checkpoint(str(directory)).id == "backbone"


def test_a_sentencepiece_file_counts_as_a_tokenizer_and_is_downloaded(tiny_directory, tmp_path):
    source = copy_of(tiny_directory, tmp_path / "source")
    (source / "tokenizer.json").rename(source / "spiece.model")
    (source / "open_clip_model.safetensors").write_bytes(b"a copy for another library")
    with serve_hub(source) as hub:
        assert find_elsewhere("someone/tiny", tmp_path / "cache", hub.url)[0] == f"someone/tiny {COMMIT[:12]}"
        assert "spiece.model" in hub.downloads
        assert "open_clip_model.safetensors" not in hub.downloads


def test_weights_for_another_library_are_not_downloaded(tiny_directory, tmp_path):
    source = copy_of(tiny_directory, tmp_path / "source")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    (source / "open_clip_model.safetensors").write_bytes(b"a copy for another library")
    with serve_hub(source) as hub:
        assert find_elsewhere("someone/tiny", tmp_path / "cache", hub.url)[0] == f"someone/tiny {COMMIT[:12]}"
        assert "pytorch_model.bin" in hub.downloads


def test_a_download_that_was_interrupted_is_not_taken_for_a_model(tiny_directory, tmp_path):
    snapshot = snapshot_of("someone/tiny", tmp_path / "hub")
    shutil.copytree(tiny_directory, snapshot, dirs_exist_ok=True)
    (snapshot / "model.safetensors").unlink()
    output, _ = find_elsewhere("someone/tiny", tmp_path, "http://127.0.0.1:9", local_only=True)
    assert output.startswith("unavailable: ")


def test_an_unknown_name_is_refused_with_advice():
    with pytest.raises(ModelUnavailable, match="neither a file or directory on this machine nor a model's name"):
        find_checkpoint("/no/such/directory")


@pytest.mark.parametrize("name", ["RN50.pt", "models/mine.safetensors", "no/such/directory", "nonsense"])
def test_a_name_that_can_only_be_a_path_is_not_looked_up_on_the_hub(name):
    with pytest.raises(ModelUnavailable, match="neither a file or directory"):
        find_checkpoint(name)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("RN5", "RN50"),
        ("rn50", "RN50"),
        ("ViT-B/99", r"ViT-B/\d\d"),
        ("vit-b/32", "ViT-B/32"),
        ("siglip2-bas", "siglip2-base"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(slip, meant):
    with pytest.raises(ModelUnavailable, match=rf"did you mean {meant}\?"):
        find_checkpoint(slip, local_only=True)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_not_the_current_directory(name):
    with pytest.raises(ModelUnavailable, match="name is empty"):
        find_checkpoint(name)
