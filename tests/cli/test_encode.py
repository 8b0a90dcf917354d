from __future__ import annotations

import io
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from safetensors import safe_open

from clipcore.encoding.inputs import inputs_of, write_inputs
from clipcore.errors import BadInput
from clipcore.model import ClipModel
from tests.cli.run import clipcore, start_clipcore
from tests.clipcore.images import noise, png

MODEL = ("--model", "bundled", "--device", "cpu")


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return ClipModel.load("bundled", device="cpu", local_only=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    (folder / "a red one.png").write_bytes(png("red"))
    (folder / "b.png").write_bytes(png("green"))
    (folder / "deep" / "blue.png").write_bytes(png("blue"))
    return folder


def safetensors_vectors(path: Path) -> bytes:
    with safe_open(path, "numpy") as file:
        return file.get_tensor("vectors").tobytes()


def safetensors_metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "numpy") as file:
        return file.metadata()


def vectors_of(model: ClipModel, *colours: str) -> np.ndarray:
    return model.encode_images([np.asarray(Image.new("RGB", (64, 48), colour)) for colour in colours])


def test_texts_become_tsv_lines_with_the_name_first(model):
    ended = clipcore("encode", "a cat", "两只狗", *MODEL)
    assert (ended.code, ended.err) == (0, "")
    names, *columns = zip(*(line.split("\t") for line in ended.out.splitlines()), strict=True)
    assert names == ("a cat", "两只狗")
    assert np.array_equal(np.array(columns, np.float32).T, model.encode_texts(["a cat", "两只狗"]))


def test_texts_images_and_folders_keep_their_order(model, folder):
    ended = clipcore("encode", "a cat", folder, "a dog", folder / "b.png", "--json", *MODEL)
    assert ended.code == 0
    told = ended.json()
    assert (told["model"], told["dimension"], told["skipped"]) == (model.card.key, 256, [])
    images = [str(folder / name) for name in ("a red one.png", "b.png", "deep/blue.png")]
    assert [each["name"] for each in told["vectors"]] == ["a cat", *images, "a dog", str(folder / "b.png")]
    vectors = np.array([each["vector"] for each in told["vectors"]], np.float32)
    assert np.allclose(vectors[[1, 2, 3, 5]], vectors_of(model, "red", "green", "blue", "green"), atol=0.02)
    assert np.array_equal(vectors[0], model.encode_texts(["a cat"])[0])


def test_npy_has_the_embeddings_and_a_list_of_names_beside_it(model, folder, tmp_path):
    output = tmp_path / "out.npy"
    ended = clipcore("encode", folder, "-o", output, *MODEL)
    assert (ended.code, ended.out) == (0, f"3 embeddings of 256 dimensions in {output}\n")
    vectors = np.load(output)
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 256))
    assert np.allclose(vectors, vectors_of(model, "red", "green", "blue"), atol=0.02)
    names = json.loads((tmp_path / "out.names.json").read_text())
    assert [Path(name).name for name in names] == ["a red one.png", "b.png", "blue.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.names.json", "out.npy"]


def test_safetensors_has_the_names_and_the_model_in_its_metadata(model, tmp_path):
    output = tmp_path / "out.safetensors"
    told = clipcore("encode", "a cat", "a dog", "-o", output, "--json", *MODEL).json()
    assert (told["encoded"], told["resumed_at"], told["output"]) == (2, 0, str(output))
    with safe_open(output, "numpy") as file:
        assert json.loads(file.metadata()["names"]) == ["a cat", "a dog"]
        assert file.metadata()["model"] == model.card.key
        assert np.array_equal(file.get_tensor("vectors"), model.encode_texts(["a cat", "a dog"]))


def test_parquet_has_a_column_of_names(model, tmp_path):
    assert clipcore("encode", "a cat", "a dog", "-o", tmp_path / "out.parquet", *MODEL).code == 0
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table["name"].to_pylist() == ["a cat", "a dog"]
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), model.encode_texts(["a cat", "a dog"]))


def test_json_on_stdout_has_one_embedding_a_line_and_is_valid_when_empty(folder):
    (folder / "b.png").write_bytes(b"no image")
    ended = clipcore("encode", "a cat", folder, "--json", *MODEL)
    assert ended.code == 3
    assert len(ended.json()["vectors"]) == 3
    assert [Path(each["name"]).name for each in ended.json()["skipped"]] == ["b.png"]
    assert ended.out.count("\n") == 5
    told = clipcore("encode", folder / "b.png", "--json", *MODEL).json()
    assert (told["vectors"], len(told["skipped"])) == ([], 1)


def test_tsv_is_the_same_in_a_file_and_on_stdout(folder, tmp_path):
    output = tmp_path / "out.tsv"
    assert clipcore("encode", folder, "a cat", "-o", output, *MODEL).code == 0
    assert output.read_text() == clipcore("encode", folder, "a cat", *MODEL).out


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors", ".tsv"])
def test_a_broken_image_is_reported_and_has_no_row(folder, tmp_path, suffix):
    (folder / "b.png").write_bytes(png()[:60])
    ended = clipcore("encode", folder, "-o", tmp_path / f"out{suffix}", *MODEL)
    assert ended.code == 3
    assert ended.err == f"skipped {folder / 'b.png'}: The PNG image is truncated or broken.\n"
    assert ended.out.startswith("2 embeddings of 256 dimensions")


def test_a_text_that_equals_a_skipped_images_path_keeps_its_row(model, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "texts.txt").write_text(f"a cat\n{tmp_path / 'broken.png'}\na dog\n")
    command = ["encode", tmp_path / "broken.png", "--texts", tmp_path / "texts.txt", "-o", tmp_path / "out.npy"]
    assert clipcore(*command, *MODEL).code == 3
    names = json.loads((tmp_path / "out.names.json").read_text())
    assert names == ["a cat", str(tmp_path / "broken.png"), "a dog"]
    assert np.allclose(np.load(tmp_path / "out.npy"), model.encode_texts(names), atol=1e-5)


def test_an_output_without_rows_is_an_empty_file(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert clipcore("encode", tmp_path / "broken.png", "-o", tmp_path / "out.npy", *MODEL).code == 3
    assert np.load(tmp_path / "out.npy").shape == (0, 256)


def test_texts_come_from_a_file_or_stdin_one_a_line(tmp_path, monkeypatch):
    lines = "a cat\r\n\n  两只狗 \nof two\u2028paragraphs".encode()
    (tmp_path / "texts.txt").write_bytes(lines)
    from_file = clipcore("encode", "--texts", tmp_path / "texts.txt", *MODEL)
    assert [line.split("\t")[0] for line in from_file.out.rstrip("\n").split("\n")] == [
        "a cat",
        "两只狗",
        "of two\u2028paragraphs",
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert clipcore("encode", "--texts", "-", *MODEL).out == from_file.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to encode"),
        (["cat.jpg"], "no file 'cat.jpg'"),
        (["./cat"], "no file './cat'"),
        ([" "], "texts is empty"),
        (["a cat", "-o", "out.csv"], "must end in .npy, .parquet, .safetensors or .tsv"),
        (["--texts", "missing.txt"], "'missing.txt' cannot be read:"),
    ],
)
def test_invalid_inputs_are_refused_in_one_sentence(arguments, said):
    ended = clipcore("encode", *arguments, *MODEL)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("command", ["encode", "classify", "extract", "tokenize"])
def test_an_empty_argument_is_refused_instead_of_meaning_the_current_folder(folder, monkeypatch, command):
    """`clipcore encode "$PHOTOS"` with an unset variable."""
    monkeypatch.chdir(folder)
    ended = clipcore(command, "")
    assert (ended.code, ended.out) == (2, "")
    assert "empty" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "a cat", "--output", ""],
        ["encode", "a cat", ""],
        ["encode", "a cat", "--texts="],
        ["classify", "a.png", "--labels-file="],
        ["classify", "a.png", "--probe", ""],
        ["train", "pairs.tsv", "--output="],
        ["train", "pairs.tsv", "--output", "run", "--captions="],
        ["evaluate", "zero-shot", "classes", "--names", ""],
        ["evaluate", "retrieval", ""],
        ["dataset", "split", "", "--output", "out"],
        ["dataset", "stats", ""],
        ["index", ""],
        ["search", "a cat", "--in", ""],
    ],
)
def test_an_empty_option_value_is_refused_with_the_options_name(arguments):
    ended = clipcore(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "empty" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("argument", ["", " ", "\t"])
def test_an_empty_text_is_refused_by_the_library(argument):
    with pytest.raises(BadInput, match="empty"):
        inputs_of([argument])


def test_a_text_that_is_too_long_for_a_file_name_is_a_text():
    (found,) = inputs_of(["a cat and " * 1000])
    assert found.image is None


def test_a_text_that_begins_with_a_tilde_is_a_text():
    (found,) = inputs_of(["~two cats"])
    assert (found.image, found.text) == (None, "~two cats")


@pytest.mark.parametrize(
    ("name", "said"), [("a.csv", "must end in"), ("there.npy", "exists"), ("none/a.npy", "make it first")]
)
def test_an_unwritable_output_is_refused_before_a_model_is_loaded(tmp_path, name, said):
    (tmp_path / "there.npy").touch()
    ended = clipcore("encode", "a cat", "-o", tmp_path / name, "--model", tmp_path / "no-model")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert said in ended.err
    assert not (tmp_path / "none").exists()


def test_an_existing_output_is_replaced_only_with_force(tmp_path):
    output = tmp_path / "out.tsv"
    output.write_text("mine")
    refused = clipcore("encode", "a cat", "-o", output, *MODEL)
    assert (refused.code, output.read_text()) == (1, "mine")
    assert "--force" in refused.err
    assert clipcore("encode", "a cat", "-o", output, "--force", *MODEL).code == 0
    assert output.read_text().startswith("a cat\t")


class Tired:
    """Gives up after some batches, as Ctrl-C would have it."""

    def __init__(self, model: ClipModel, batches: int) -> None:
        self.card, self.prepare, self.encode_texts = model.card, model.prepare, model.encode_texts
        self._model = model
        self._batches = batches

    def encode_prepared(self, batch: np.ndarray) -> np.ndarray:
        self._batches -= 1
        if self._batches < 0:
            raise KeyboardInterrupt
        return self._model.encode_prepared(batch)


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".safetensors", ".tsv"])
def test_an_interrupted_output_resumes_to_the_same_file(model, tmp_path, suffix):
    for number in range(10):
        Image.fromarray(noise(40, 40, seed=number)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    inputs = inputs_of([str(tmp_path)])
    whole, resumed = tmp_path / f"whole{suffix}", tmp_path / f"resumed{suffix}"
    write_inputs(model, inputs, whole, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        write_inputs(Tired(model, 3), inputs, resumed, batch_size=2)
    assert not resumed.exists()
    told = []
    written = write_inputs(model, inputs, resumed, batch_size=2, on_problem=told.append)
    assert (written.rows, written.resumed_at) == (9, 6)
    assert [Path(problem.name).name for problem in told] == ["3.png"]
    if suffix == ".safetensors":
        # The library writes the metadata in a random order.
        for read in (safetensors_vectors, safetensors_metadata):
            assert read(resumed) == read(whole)
    else:
        assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", ["an image", "the model"])
def test_another_commands_partial_output_is_not_resumed(model, tmp_path, change):
    for number in range(6):
        Image.fromarray(noise(40, 40, seed=number)).save(tmp_path / f"{number}.png")
    inputs, output = inputs_of([str(tmp_path)]), tmp_path / "out.tsv"
    with pytest.raises(KeyboardInterrupt):
        write_inputs(Tired(model, 1), inputs, output, batch_size=2)
    other = Tired(model, 10)
    if change == "an image":
        Image.fromarray(noise(50, 50)).save(tmp_path / "0.png")
    else:
        other.card = replace(model.card, revision="other")
    with pytest.raises(BadInput, match="beginning of another command's output"):
        write_inputs(other, inputs, output, batch_size=2)
    assert write_inputs(other, inputs, output, batch_size=2, force=True).resumed_at == 0


def test_ctrl_c_has_its_own_exit_code_and_the_same_command_resumes(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(200):
        Image.fromarray(noise(80, 80, seed=number)).save(images / f"{number:03}.png")
    (images / "009.png").write_bytes(b"broken")
    output = tmp_path / "out.npy"
    process = start_clipcore("encode", images, "-o", output, "--batch-size", "1", *MODEL)
    assert process.stderr is not None
    assert "009.png" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (130, "Stopped. The same command resumes from here.\n")
    assert not output.exists()
    ended = clipcore("encode", images, "-o", output, "--json", *MODEL)
    assert (ended.code, ended.json()["encoded"]) == (3, 199)
    assert ended.json()["resumed_at"] >= 9  # 009.png was reported
    assert np.load(output).shape == (199, 256)
