from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcore.errors import BadInput
from clipcore.folder_search.search import (
    Term,
    combine,
    describe_terms,
    match_threshold,
    parse_image,
    parse_query,
    parse_term,
)
from tests.folder_search.support import CALIBRATION, paint, unit, write


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("beach", Term(1, "beach")),
        ("  a   red car ", Term(1, "a red car")),
        ("2:golden retriever", Term(2, "golden retriever")),
        (".5:snow", Term(0.5, "snow")),
        ("1:12:30 on a clock", Term(1, "12:30 on a clock")),
        ("note: a cat", Term(1, "note: a cat")),
        ("C:\\images", Term(1, "C:\\images")),
        ("一只猫", Term(1, "一只猫")),
        ("mp3 vs. png", Term(1, "mp3 vs. png")),
    ],
)
def test_a_number_before_a_colon_is_the_weight_of_a_text(text, term):
    assert parse_term(text) == term
    assert parse_term(text, -1) == Term(-term.weight, term.text)


def test_a_path_of_an_image_is_an_image_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = paint(tmp_path / "2:beach")
    assert parse_term(str(image)) == Term(1, image=image)
    assert parse_term("2:beach").image is not None
    assert parse_term(f"3:{image}", -1) == Term(-3, image=image)


def test_a_file_or_folder_that_is_not_an_image_is_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "cat", b"not an image")
    (tmp_path / "dog").mkdir()
    assert parse_term("cat") == Term(1, "cat")
    assert parse_term("dog") == Term(1, "dog")


@pytest.mark.parametrize("text", ["https://example.org/cat.jpg", "HTTP://example.org/cat", "2:http://x"])
def test_urls_are_refused(text):
    with pytest.raises(BadInput, match="not fetched from the web"):
        parse_term(text)


@pytest.mark.parametrize("text", ["./cat.jpg", "../cat", "/nowhere/cat", "holiday.JPG", "3:cat.png", "~/cat"])
def test_a_path_of_a_missing_image_is_refused(text):
    with pytest.raises(BadInput, match="There is no image"):
        parse_term(text)


@pytest.mark.parametrize(("text", "words"), [("", "empty"), ("  ", "empty"), ("2: ", "empty"), ("0:cat", "is 0")])
def test_an_empty_part_is_refused(text, words):
    with pytest.raises(BadInput, match=words):
        parse_term(text)


def test_a_query_needs_something_to_look_for():
    with pytest.raises(BadInput, match="Say what to look for"):
        parse_query([], [], ["dog"])


def test_unquoted_words_are_one_phrase():
    assert parse_query(["a", "red", "car"], ["snow"], ["2:night"]) == [
        Term(1, "a red car"),
        Term(1, "snow"),
        Term(-2, "night"),
    ]


def test_words_beside_an_image_need_a_sign(tmp_path):
    with pytest.raises(BadInput, match=r"Write \+ or -"):
        parse_query([str(paint(tmp_path / "a.png")), "at", "night"], [], [])


def test_a_missing_image_among_words_is_refused(tmp_path, monkeypatch):
    for words in (["cat", "./sofa.jpg"], ["sofa.jpg", "at", "night"]):
        with pytest.raises(BadInput, match=r"There is no image '(\./)?sofa\.jpg'"):
            parse_query(words, [], [])
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "my sofa.jpg")
    assert parse_query(["my", "sofa.jpg"], [], [])[0].image is not None, "a shell without quotes parts a name"


def test_a_tilde_is_the_home_or_else_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    image = paint(tmp_path / "a.png")
    assert parse_term("~/a.png") == parse_image("~/a.png") == Term(1, image=image)
    assert parse_term("~nobody knows") == Term(1, "~nobody knows")


@pytest.mark.parametrize(
    ("text", "why"), [("https://x.org/a.png", "not fetched"), ("a.png", "no image 'a.png'"), ("cat", "no image")]
)
def test_parse_image_refuses_text(text, why):
    with pytest.raises(BadInput, match=why):
        parse_image(text)


def test_terms_are_described_for_people(tmp_path):
    terms = [Term(2, "sofa"), Term(0.5, image=tmp_path / "cat.png"), Term(-1, "night")]
    assert describe_terms(terms) == ("2 × sofa", "+ 0.5 × cat.png", "− night")


def test_terms_are_added_and_subtracted_by_weight():
    x, y = np.eye(4, dtype=np.float32)[:2]
    combined = combine([Term(3, "x"), Term(-4, "y")], [x, y])
    np.testing.assert_allclose(combined, [0.6, -0.8, 0, 0], atol=1e-6)
    assert combined.dtype == np.float32


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_a_query_has_unit_length_whatever_the_scale_of_its_weights(weights, seed):
    vectors = unit(np.random.default_rng(seed).normal(size=(len(weights), 8)))
    combined = combine([Term(weight, "x") for weight in weights], vectors)
    twice = combine([Term(2 * weight, "x") for weight in weights], vectors)
    assert abs(float(np.linalg.norm(combined)) - 1) < 1e-5
    np.testing.assert_allclose(combined, twice, atol=1e-5)


def test_terms_that_cancel_each_other_out_are_refused():
    x = np.eye(4, dtype=np.float32)[0]
    with pytest.raises(BadInput, match="cancel each other out"):
        combine([Term(1, "x"), Term(-1, "x")], [x, x])


def test_the_threshold_is_the_weighted_mean_over_the_added_terms(tmp_path):
    words, image, less = Term(3, "x"), Term(1, image=tmp_path), Term(-9, image=tmp_path)
    assert match_threshold([words, less], CALIBRATION) == pytest.approx(0.3)
    assert match_threshold([image], CALIBRATION) == pytest.approx(0.8)
    assert match_threshold([words, image], CALIBRATION) == pytest.approx((3 * 0.3 + 0.8) / 4)
