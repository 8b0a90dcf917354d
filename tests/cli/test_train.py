from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path

import numpy as np
import pytest

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tests.cli.run import clipcore
from tests.clipcore.tiny import write_tiny_clip
from tests.training.world import load, patch, patches, write_tsv


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tsv(tmp_path_factory.mktemp("pairs") / "train.tsv", patches(16, captions_each=2))


def train(pairs: Path, model: Path | str, output: Path, *options: str | Path):
    quick = ["--epochs", "2", "--batch-size", "8", "--micro-batch", "4", "--device", "cpu"]
    return clipcore("train", pairs, "--model", model, "--output", output, *quick, *options)


def test_a_table_trains_a_model_that_other_commands_take(table, tiny, tmp_path):
    ended = train(table, tiny, tmp_path / "run", "--validation", table, "--log-every", "1", "--json")
    assert ended.code == 0, ended.err
    summary = ended.json()
    assert (summary["steps"], summary["done"], summary["finished"], summary["skipped"]) == (4, 4, True, [])
    assert summary["best"]["mean_recall"] >= summary["mean_recall_before"] > 0
    assert "step 4/4" in ended.err
    assert "(best so far)" in ended.err
    best = ["--model", tmp_path / "run" / "best", "--device", "cpu"]
    measured = clipcore("evaluate", "retrieval", table, *best, "--json")
    assert measured.json()["mean_recall"] == pytest.approx(summary["best"]["mean_recall"], abs=0.02)


def test_without_json_the_summary_fits_in_eighty_columns(table, tiny, tmp_path):
    ended = train(table, tiny, tmp_path / "run", "--validation", table)
    assert "4 of 4 steps" in ended.out
    assert "mean recall" in ended.out
    assert str(tmp_path / "run" / "best") in ended.out
    assert max(len(line) for line in ended.out.splitlines()[:2]) <= 80


def test_a_folder_with_captions_trains_as_well(tiny, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(9):
        (folder / f"{index}.png").write_bytes(patch(index))
        (folder / f"{index}.txt").write_text(f"{chr(97 + index)}\n", "utf-8")
    captions = tmp_path / "elsewhere.csv"
    captions.write_text("image,caption\n0.png,a b\n1.png,c d\n", "utf-8")
    ended = train(folder, tiny, tmp_path / "run", "--validation", folder, "--validation-captions", captions)
    assert ended.code == 0, ended.err
    # Of two images each is among the five best; of nine it would not be sure.
    [first, *_] = (tmp_path / "run" / "training.jsonl").read_text("utf-8").splitlines()
    assert json.loads(first)["text_to_image"]["R@5"] == 1
    assert load(tmp_path / "run" / "last").encode_texts(["a"]).shape == (1, 24)


def test_the_splits_of_one_captions_file_train_and_validate(tiny, tmp_path):
    images = []
    for index in range(12):
        (tmp_path / f"{index}.png").write_bytes(patch(index))
        split = "train" if index < 8 else "val"
        words = f"{chr(97 + index)} a"
        images.append({"filename": f"{index}.png", "split": split, "sentences": [{"raw": words}]})
    captions = tmp_path / "dataset_patches.json"
    captions.write_text(json.dumps({"dataset": "patches", "images": images}), "utf-8")
    splits = ["--split", "train", "--validation", captions, "--validation-split", "val"]
    ended = train(captions, tiny, tmp_path / "run", *splits, "--json")
    assert ended.code == 0, ended.err
    assert ended.json()["steps"] == 2
    # Of four images each is among the ten best.
    [first, *_] = (tmp_path / "run" / "training.jsonl").read_text("utf-8").splitlines()
    assert json.loads(first)["text_to_image"]["R@10"] == 1


def test_broken_rows_and_images_are_reported_and_the_exit_code_is_3(tiny, tmp_path):
    table = write_tsv(tmp_path / "train.tsv", patches(17, broken=[4]))
    with table.open("a", encoding="utf-8") as file:
        file.write("a row without an image\n")
    ended = train(table, tiny, tmp_path / "run", "--json")
    assert ended.code == 3, ended.err
    names = [skip["name"] for skip in ended.json()["skipped"]]
    assert names == [f"row 18 of {table}", "row 5"]
    assert ended.err.count("skipped row 5:") == ended.err.count("skipped row 18") == 1
    again = train(table, tiny, tmp_path / "run", "--json")
    assert (again.code, again.json()["skipped"]) == (3, ended.json()["skipped"])
    assert "Resuming" not in again.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--fix-vision", "--fix-text"], "nothing is left to train"),
        (["--sequence-length", "99"], "16 tokens at most; 99 are too many"),
        (["--amp", "fp16"], "fp16 needs an NVIDIA GPU"),
        (["--validation", "nowhere.tsv"], "There is no file or folder 'nowhere.tsv'"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(table, tiny, tmp_path, options, words):
    ended = train(table, tiny, tmp_path / "run", *options)
    assert ended.code == 1
    assert words in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_an_output_that_is_a_file_is_refused_before_any_model_is_loaded(table, tmp_path):
    (tmp_path / "out").touch()
    ended = train(table, tmp_path / "no-model", tmp_path / "out")
    assert (ended.code, ended.err) == (1, f"{str(tmp_path / 'out')!r} is a file; give a folder for the run.\n")


def test_a_folder_with_another_run_is_refused_without_restart(table, tiny, tmp_path):
    assert train(table, tiny, tmp_path / "run").code == 0
    refused = train(table, tiny, tmp_path / "run", "--seed", "1")
    assert refused.code == 1
    assert "a run with seed 0, not 1" in refused.err
    assert train(table, tiny, tmp_path / "run", "--seed", "1", "--restart").code == 0
    its_own = train(table, tmp_path / "run" / "last", tmp_path / "run", "--restart")
    assert (its_own.code, "would delete" in its_own.err) == (1, True)
    assert load(tmp_path / "run" / "last")


def test_the_bundled_model_learns_in_bf16_with_short_captions_and_a_fixed_text_tower(tmp_path):
    table = tmp_path / "samples.tsv"
    lines = []
    for sample in json.loads((BUNDLED_DIRECTORY / "samples" / "samples.json").read_text("utf-8"))[:6]:
        image = (BUNDLED_DIRECTORY / "samples" / sample["file"]).read_bytes()
        lines.append(f"{sample['zh']}\t{urlsafe_b64encode(image).decode()}\n")
    table.write_text("".join(lines), "utf-8")
    options = ["--amp", "bf16", "--sequence-length", "6", "--fix-text", "--validation", table, "--json"]
    ended = train(table, "bundled", tmp_path / "run", *options)
    assert ended.code == 0, ended.err
    assert ended.json()["best"]["mean_recall"] == 1
    before, after = load(BUNDLED_DIRECTORY), load(tmp_path / "run" / "last")
    assert np.allclose(before.encode_texts(["猫"]), after.encode_texts(["猫"]), atol=1e-6)
    image = [np.zeros((60, 60, 3), np.uint8)]
    assert not np.allclose(before.encode_images(image), after.encode_images(image), atol=1e-6)
