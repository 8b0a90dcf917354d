from __future__ import annotations

import os
import shutil

import pytest

from clipcore.errors import BadInput
from clipcore.folder_search.paths import EVERYWHERE
from clipcore.folder_search.search import Term, parse_query, search_folder
from clipcore.folder_search.store import FolderStore
from clipcore.images.walk import WalkFilter
from tests.folder_search.support import CountingModel, paint, write


def ask(indexed, *words, root=None, plus=(), minus=(), top=10, model=None, **options):
    """The result, and the names of the files in it."""
    terms = parse_query(words, plus, minus)
    with FolderStore(indexed.file) as store:
        result = search_folder(
            store, indexed.root if root is None else root, (model or indexed.model).lazily(), terms, top=top, **options
        )
    return result, [[indexed.name(file.path) for file in match.files] for match in result.matches]


@pytest.fixture
def colours(indexed):
    for colour in ("red", "green", "blue", "yellow", "magenta", "black"):
        paint(indexed.folder / f"{colour}.png", colour)
    indexed.run()
    return indexed


def test_the_best_matches_come_first_and_those_below_the_threshold_are_weak(colours):
    result, names = ask(colours, "red", top=3)
    assert names[0] == ["red.png"]
    assert sorted(names[1:]) == [["magenta.png"], ["yellow.png"]]
    assert [match.weak for match in result.matches] == [False, False, False]
    assert (result.threshold, result.searched, result.gone) == (0.3, 6, 0)
    everything = ask(colours, "red")[0].matches
    assert [match.weak for match in everything] == [match.score < 0.3 for match in everything]
    assert any(match.weak for match in everything)


def test_a_text_query_is_encoded_with_the_models_prompts(colours):
    ask(colours, "red")
    assert colours.model.texts == ["red", "a photo of red.", "a picture of red."]


def test_queries_are_added_and_subtracted(colours):
    assert ask(colours, "red", plus=["green"])[1][0] == ["yellow.png"]
    assert ask(colours, str(colours.folder / "yellow.png"), minus=["green"])[1][0] == ["red.png"]


def test_an_indexed_image_needs_no_inference_even_under_another_name(colours, tmp_path):
    elsewhere = shutil.copy(colours.folder / "red.png", tmp_path / "query.png")
    model = CountingModel()
    result, names = ask(colours, str(elsewhere), model=model)
    assert names[0] == ["red.png"]
    assert result.matches[0].score == pytest.approx(1, abs=1e-3)
    assert result.matches[0].score <= 1, "rounding may lengthen a stored vector, and nothing is more alike than itself"
    assert model.loads == 0


def test_an_unknown_image_is_encoded(colours, tmp_path):
    model = CountingModel()
    assert ask(colours, str(paint(tmp_path / "q.png", "blue", width=9)), model=model)[1][0] == ["blue.png"]
    assert model.encoded == 1


def test_an_image_that_cannot_be_used_is_one_sentence(colours, tmp_path):
    broken = write(tmp_path / "q.png", b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BadInput, match=r"q\.png cannot be used: The PNG image is truncated or broken\.$"):
        ask(colours, str(broken))


def test_copies_are_one_match(colours):
    paint(colours.folder / "deep" / "again.png", "red")
    colours.run()
    assert ask(colours, "red", top=2)[1][0] == ["deep/again.png", "red.png"]


def test_a_real_file_comes_before_links_to_it(colours):
    (colours.folder / "a link.png").symlink_to(colours.folder / "red.png")
    colours.run()
    assert ask(colours, "red", top=1)[1] == [["red.png", "a link.png"]]


def test_an_excluded_file_is_no_match_but_its_copies_are(colours):
    red = colours.folder / "red.png"
    terms = [Term(1, image=red)]
    with FolderStore(colours.file) as store:
        result = search_folder(store, EVERYWHERE, colours.model.lazily(), terms, top=6, exclude_file=red)
    assert len(result.matches) == 5, "something else should have taken its place"
    assert result.matches[0].score < 0.99
    paint(colours.folder / "deep" / "again.png", "red")
    colours.run()
    with FolderStore(colours.file) as store:
        result = search_folder(store, EVERYWHERE, colours.model.lazily(), terms, top=6, exclude_file=red)
    assert [colours.name(file.path) for file in result.matches[0].files] == ["deep/again.png"]


def test_only_images_below_the_folder_are_found_and_as_many_as_requested(colours):
    for number in range(5):
        paint(colours.folder / "inner" / f"{number}.png", "blue", width=5 + number)
    colours.run()
    root = os.fsencode((colours.folder / "inner").resolve())
    result, names = ask(colours, "red", root=root, top=5)
    assert sorted(names) == [[f"inner/{number}.png"] for number in range(5)]
    assert result.searched == 5


def test_excluded_names_are_replaced_by_the_next_best_matches(colours):
    paint(colours.folder / "thumbs" / "red.png", "red")
    paint(colours.folder / "thumbs" / "pink.png", "#ff0010")
    colours.run()
    result, names = ask(colours, "red", top=2, filter_=WalkFilter(exclude=("thumb*", "yellow.png")))
    assert names == [["red.png"], ["magenta.png"]]
    assert result.gone == 0


def test_files_that_are_gone_are_replaced_by_the_next_best_matches(colours):
    for name in ("red", "yellow", "magenta"):
        (colours.folder / f"{name}.png").unlink()
    result, names = ask(colours, "red", top=2)
    assert len(names) == 2
    assert result.gone == 3


def test_nothing_below_the_minimum_score_is_returned(colours):
    result, names = ask(colours, "red", min_score=0.9)
    assert names == [["red.png"]]
    assert ask(colours, "red", minus=["2:blue"], min_score=0.9)[1] == []
    assert result.searched == 6


def test_a_folder_that_was_never_indexed_says_what_to_do(indexed):
    with pytest.raises(BadInput, match=r"Nothing is indexed below .*: run `clipcore index .*`, or leave out --no"):
        ask(indexed, "red")


def test_a_folder_that_another_model_indexed_says_which(colours):
    with pytest.raises(BadInput, match=r"indexed with another model \(counting\): choose that one with --model"):
        ask(colours, "red", model=CountingModel("other"))
