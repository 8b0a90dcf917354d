from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clipcore.encoding.batch import ImageSource, encode_sources
from clipcore.model import ClipModel
from tests.cli.run import ROOT, clipcore, start_clipcore
from tests.clipcore.fakes import vector
from tests.datasets.tables import url_safe, write_lines

SAMPLES = sorted((ROOT / "clipcore" / "bundled" / "samples").glob("*.png"))[:3]
BUNDLED = ["--model", "bundled", "--device", "cpu"]


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return ClipModel.load("bundled", device="cpu", local_only=True)


def features(text: str) -> np.ndarray:
    return np.asarray([line.split("\t") for line in text.splitlines()], np.float32)


def vectors_of(model: ClipModel, files: Sequence[Path]) -> np.ndarray:
    outcomes = encode_sources(model, [ImageSource.file(path) for path in files], full_resolution=True)
    return np.stack([outcome.embedding for outcome in outcomes])


def test_each_text_becomes_a_line_of_numbers(model: ClipModel, tmp_path: Path):
    texts = ["a dog", "two cats", "一只猫"]
    ended = clipcore("extract", write_lines(tmp_path / "in.tsv", *texts), "-o", tmp_path / "out.tsv", *BUNDLED)
    assert (ended.code, ended.err) == (0, "")
    found = features((tmp_path / "out.tsv").read_text(encoding="utf-8"))
    np.testing.assert_allclose(found, model.encode_texts(texts), atol=1e-6)


def test_base64_images_are_encoded_like_their_files(model: ClipModel, tmp_path: Path):
    table = write_lines(tmp_path / "in.tsv", *(f"{path.name}\t{url_safe(path.read_bytes())}" for path in SAMPLES))
    schema = ["--input-schema", "name:str:1,image:str:1", "--column", "image", "--append", "name"]
    ended = clipcore("extract", table, "-o", tmp_path / "out.tsv", *schema, *BUNDLED)
    assert ended.code == 0
    lines = [line.split("\t") for line in (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()]
    assert [line[-1] for line in lines] == [path.name for path in SAMPLES]
    found = np.asarray([line[:-1] for line in lines], np.float32)
    np.testing.assert_allclose(found, vectors_of(model, SAMPLES), atol=1e-6)


@pytest.mark.parametrize("name", ["out.npy", "out.parquet"])
def test_the_outputs_name_decides_its_format(tmp_path: Path, name: str):
    table = write_lines(tmp_path / "in.tsv", "a dog", "", "a cat")
    ended = clipcore("extract", table, "-o", tmp_path / name, "--json", *BUNDLED)
    assert ended.code == 3
    told = ended.json()
    assert (told["rows"], told["dimension"], told["resumed_at"]) == (3, 256, 0)
    assert told["skipped"] == [{"name": "row 2", "reason": "Its text is empty."}]
    if name.endswith(".npy"):
        assert np.isnan(np.load(tmp_path / name)).all(axis=1).tolist() == [False, True, False]


WITH_A_FAKE_MODEL = """
from clipcore.cli import main
from clipcore.cli.options import ModelOptions
from tests.clipcore.fakes import FakeEncoder

ModelOptions.load = lambda self: FakeEncoder()
main()
"""


def start_with_a_fake_model(*arguments: str | Path) -> subprocess.Popen[str]:
    """Pipes need a process of its own; a fake needs no torch there."""
    command = [sys.executable, "-c", WITH_A_FAKE_MODEL, "extract", *map(str, arguments)]
    return subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, cwd=ROOT)


def test_from_stdin_to_stdout():
    with start_with_a_fake_model("-") as process:
        out, err = process.communicate("one\n\nthree\n", timeout=100)
    assert (process.returncode, err) == (3, "skipped row 2: Its text is empty.\n")
    lines = [[str(np.float32(number)) for number in vector(length)] for length in (3, 5)]
    assert out.splitlines() == ["\t".join(lines[0]), "\t\t\t", "\t".join(lines[1])]


def test_a_closed_pipe_is_not_a_failure(tmp_path: Path):
    table = write_lines(tmp_path / "in.tsv", *("a dog" for _ in range(20_000)))
    with start_with_a_fake_model(table, "--batch-size", "8") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().count("\t") == 3
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_only_tsv_goes_to_stdout(tmp_path: Path):
    table = write_lines(tmp_path / "in.tsv", "a dog")
    for wrong in (["--json"], ["--format", "npy"]):
        ended = clipcore("extract", table, *wrong, *BUNDLED)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)


def test_an_unknown_ending_needs_a_format(tmp_path: Path):
    table = write_lines(tmp_path / "in.tsv", "a dog")
    for name in ("out.csv", "out.txt", "out"):
        ended = clipcore("extract", table, "-o", tmp_path / name, *BUNDLED)
        assert (ended.code, ended.out, ended.err.count("\n"), "--format" in ended.err) == (1, "", 1, True)
    assert clipcore("extract", table, "-o", tmp_path / "out.csv", "--format", "npy", *BUNDLED).code == 0
    assert np.load(tmp_path / "out.csv").shape == (1, 256)


@pytest.mark.parametrize(
    ("name", "said"), [("there.npy", "exists"), ("none/a.tsv", "make it first"), ("a.npy", "embeddings only")]
)
def test_an_unwritable_output_is_refused_before_a_model_is_loaded(tmp_path: Path, name: str, said: str):
    (tmp_path / "there.npy").touch()
    table = write_lines(tmp_path / "in.tsv", "1\ta dog")
    columns = ["--column", "2", "--append", "1"]
    ended = clipcore("extract", table, "-o", tmp_path / name, *columns, "--model", tmp_path / "no-model")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert said in ended.err
    assert not (tmp_path / "none").exists()


def test_refusals_are_one_line(tmp_path: Path):
    table = write_lines(tmp_path / "in.tsv", "a\tb")
    for wrong in ([table], [tmp_path / "nowhere.tsv"], [table, "--column", "7"]):
        # No model is loaded for what cannot be done: this one is nowhere.
        ended = clipcore("extract", *wrong, "-o", tmp_path / "out.tsv", "--model", str(tmp_path / "no-model"))
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "no-model" not in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tsv"]


def test_ctrl_c_loses_nothing_and_the_same_command_resumes(model: ClipModel, tmp_path: Path):
    """A broken row is named as soon as it is met: then the work is under way."""
    texts = [f"text number {n}" if n != 100 else "" for n in range(600)]
    command = ["extract", write_lines(tmp_path / "in.tsv", *texts), "-o", tmp_path / "out.tsv", *BUNDLED]
    with start_clipcore(*command, "--batch-size", "16") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "skipped row 101: Its text is empty.\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "out.tsv").exists()
    ended = clipcore(*command, "--batch-size", "64", "--json")
    assert ended.code == 3
    assert 0 < ended.json()["resumed_at"] < 600
    assert ended.json()["skipped"] == [{"name": "row 101", "reason": "Its text is empty."}]
    lines = (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert (len(lines), lines[100]) == (600, "\t" * 255)
    some = [0, 99, 101, ended.json()["resumed_at"], 599]
    expected = model.encode_texts([texts[n] for n in some])
    np.testing.assert_allclose(features("\n".join(lines[n] for n in some)), expected, atol=1e-5)
