from __future__ import annotations

import os
import sys

import pytest

from tests.cli.measured import BUNDLED, SAMPLES
from tests.cli.run import clipcore, start_clipcore
from tests.clipcore.pipes import pipe
from tests.folder_search.support import paint

PANDA, CAT = SAMPLES / "panda.png", SAMPLES / "cat-on-sofa.png"


def best(ended) -> list[str]:
    return [image["labels"][0]["label"] if image["labels"] else "" for image in ended.json()["images"]]


def test_each_image_gets_probabilities_that_add_up_to_one():
    ended = clipcore("classify", PANDA, CAT, "--labels", "panda, cat on a sofa, rocket", "--json", *BUNDLED)
    assert (ended.code, ended.err) == (0, "")
    assert best(ended) == ["panda", "cat on a sofa"]
    for image in ended.json()["images"]:
        assert sum(label["probability"] for label in image["labels"]) == pytest.approx(1, abs=1e-5)
    assert ended.json()["model"].startswith("bundled@")


def test_text_output_has_the_name_and_a_line_for_each_label(monkeypatch):
    ended = clipcore("classify", PANDA, "--labels", "panda,rocket", "--top", "1", *BUNDLED)
    name, line = ended.out.splitlines()
    assert name == str(PANDA)
    assert line.split()[0].endswith("%")
    assert line.endswith("  panda")
    assert ended.err == ""


def test_a_folder_stands_for_its_images_and_broken_ones_are_skipped(tmp_path):
    (tmp_path / "a.png").write_bytes(PANDA.read_bytes())
    (tmp_path / "b.png").write_bytes(PANDA.read_bytes()[:200])
    (tmp_path / "notes.txt").write_text("no image")
    ended = clipcore("classify", tmp_path, tmp_path / "none.png", "--labels", "panda,rocket", "--json", *BUNDLED)
    assert ended.code == 3
    assert best(ended) == ["panda"]
    assert [skipped["name"] for skipped in ended.json()["skipped"]] == [
        str(tmp_path / "b.png"),
        str(tmp_path / "none.png"),
    ]
    assert "b.png" in ended.err
    assert "none.png" in ended.err


def test_labels_with_phrases_and_templates_come_from_files(tmp_path):
    labels, templates = tmp_path / "labels.txt", tmp_path / "templates.txt"
    labels.write_text("bear: panda, teddy bear\nspace\trocket\n", encoding="utf-8")
    templates.write_text("{}\na photo of {}\n", encoding="utf-8")
    ended = clipcore(
        "classify", PANDA, SAMPLES / "rocket.png", "--labels-file", labels, "--templates", templates, "--json", *BUNDLED
    )
    assert best(ended) == ["bear", "space"]


def test_with_abstain_an_image_of_none_of_the_labels_gets_none():
    asked = ("classify", PANDA, "--labels", "sailboat,guitar", *BUNDLED)
    assert best(clipcore(*asked, "--json")) != [""]
    assert best(clipcore(*asked, "--json", "--abstain")) == [""]
    assert "none of the labels" in clipcore(*asked, "--abstain").out


def test_a_label_in_place_of_an_image_is_refused_with_the_option():
    ended = clipcore("classify", PANDA, "rocket,cat", *BUNDLED)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "--labels rocket,cat" in ended.err


def test_with_a_background_unlikely_labels_are_left_out():
    asked = ("classify", PANDA, "--labels", "panda,sailboat,guitar", "--background", "kitchen", "--json", *BUNDLED)
    [image] = clipcore(*asked).json()["images"]
    assert [label["label"] for label in image["labels"]] == ["panda"]
    [image] = clipcore(*asked, "--min-score", "0").json()["images"]
    assert len(image["labels"]) == 3


def test_a_given_background_competes_with_the_labels():
    asked = ("classify", PANDA, "--labels", "sailboat,guitar", "--min-score", "0", "--json", *BUNDLED)
    [image] = clipcore(*asked, "--background", "panda, bear").json()["images"]
    assert sum(label["probability"] for label in image["labels"]) < 0.5


def test_labels_below_min_score_are_left_out():
    ended = clipcore("classify", PANDA, "--labels", "panda,rocket,sofa", "--min-score", "0.5", "--json", *BUNDLED)
    [image] = ended.json()["images"]
    assert [label["label"] for label in image["labels"]] == ["panda"]


@pytest.mark.parametrize("words", [("--templates", "t.txt"), ("--background", "sky"), ("--abstain",)])
def test_texts_for_a_probe_are_wrong_usage(words):
    ended = clipcore("classify", SAMPLES, "--probe", "none.safetensors", *words, *BUNDLED)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "leave out --templates" in ended.err


@pytest.mark.parametrize("labels", [(), ("--labels", "a", "--labels-file", "b"), ("--labels", "a", "--probe", "b")])
def test_labels_are_given_by_exactly_one_option(labels):
    ended = clipcore("classify", PANDA, *labels, *BUNDLED)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "--labels-file" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--labels", " , "), "different names"),
        (("--labels-file", "none.txt"), "none.txt"),
        (("--labels", "a", "--templates", "none.txt"), "none.txt"),
    ],
)
def test_invalid_options_are_refused_in_one_line_before_a_model_is_loaded(arguments, said):
    ended = clipcore("classify", PANDA, *arguments, "--model", "no/such-model")
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert said in ended.err


def test_a_folder_without_images_is_an_error(tmp_path):
    ended = clipcore("classify", tmp_path, "--labels", "a,b", *BUNDLED)
    assert (ended.code, ended.err.count("\n")) == (1, 1)


def test_a_pipe_is_reported_and_skipped_alone_and_in_a_folder(tmp_path):
    (tmp_path / "a.png").write_bytes(PANDA.read_bytes())
    for asked in ("classify", "encode"):
        labels = ["--labels", "panda,rocket"] if asked == "classify" else []
        with pipe(tmp_path / "b.png") as named:
            for argument in (named, tmp_path):
                ended = clipcore(asked, PANDA, argument, *labels, "--json", *BUNDLED)
                assert ended.code == 3
                assert ended.err.splitlines() == [
                    f"skipped {named}: It cannot be read: it is a pipe or a device, not a file."
                ]
        named.unlink()


def test_a_name_is_shown_as_search_shows_it(tmp_path):
    image = paint(tmp_path / os.fsdecode(b"caf\xe9\n.png"))
    arguments = ("classify", image, "--labels", "a,b", "--model", "bundled", "--device", "cpu")
    shown = "caf\N{REPLACEMENT CHARACTER}"
    assert clipcore(*arguments).out.splitlines()[0] == f"{tmp_path}/{shown}\N{SYMBOL FOR LINE FEED}.png"
    assert f"{shown}\\n.png" in clipcore(*arguments, "--json").out


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, which says what it read, comes with torch for Linux")
@pytest.mark.parametrize(("own", "spins"), [({}, "0"), ({"OMP_WAIT_POLICY": "active"}, "30000000000")])
def test_idle_threads_of_torch_sleep_unless_the_user_wants_them_to_spin(own, spins):
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = {**others, "OMP_DISPLAY_ENV": "verbose", **own}
    process = start_clipcore("classify", PANDA, "--labels", "panda,rocket", *BUNDLED, env=environment)
    out, err = process.communicate(timeout=180)
    assert "panda" in out
    assert f"GOMP_SPINCOUNT = '{spins}'" in err
