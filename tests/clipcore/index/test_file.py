from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from clipcore.errors import BadInput
from clipcore.index.vector_index import VectorIndex

DIMENSION = 6
MODEL = "bundled@1df3b15bbcfb#1"


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def filled(keys: range = range(5)) -> VectorIndex:
    index = VectorIndex(DIMENSION)
    index.add(np.stack([unit(key) for key in keys]), keys, [key % 2 for key in keys])
    return index


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images.safetensors"


@given(
    added=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 3), st.integers(0, 30)), max_size=40),
    discarded=st.sets(st.integers(0, 39)),
    query=st.integers(0, 30),
    k=st.integers(1, 50),
    groups=st.none() | st.sets(st.integers(0, 3)),
)
@settings(max_examples=80, deadline=None)
def test_a_saved_index_gives_the_same_answers(tmp_path_factory, added, discarded, query, k, groups):
    index = VectorIndex(DIMENSION)
    for key, group, seed in added:
        frames = range(1 + seed % 3)
        index.add(np.stack([unit(seed + frame) for frame in frames]), [key] * len(frames), group, frames)
    index.discard([added[place][0] for place in discarded if place < len(added)])
    path = tmp_path_factory.mktemp("index") / "index.safetensors"
    index.save(path, MODEL)
    loaded = VectorIndex.load(path, MODEL)
    assert len(loaded) == len(index)
    assert loaded.search(unit(query), k, groups) == index.search(unit(query), k, groups)


def test_a_loaded_index_goes_on_growing_and_shrinking(path):
    filled().save(path, MODEL)
    index = VectorIndex.load(path, MODEL)
    index.add(unit(99)[None], [99], [7])
    assert index.discard([0, 1]) == 2
    assert [hit.key for hit in index.search(unit(99), 1, groups={7})] == [99]
    assert len(index) == 4


def test_rows_take_two_bytes_a_number(path):
    filled(range(1000)).save(path, MODEL)
    assert path.stat().st_size < 1000 * (2 * DIMENSION + 16) + 1000


def test_an_index_of_another_model_is_refused(path):
    filled().save(path, MODEL)
    with pytest.raises(BadInput, match="made with the model 'bundled@1df3b15bbcfb#1', not 'other@1#1'"):
        VectorIndex.load(path, "other@1#1")


def test_a_missing_file_is_named(path):
    with pytest.raises(BadInput, match="There is no file .*images.safetensors"):
        VectorIndex.load(path, MODEL)


def test_a_folder_is_no_index(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        VectorIndex.load(tmp_path, MODEL)


@pytest.mark.parametrize("content", [b"", b"words", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"\xff" * 64])
def test_a_foreign_file_is_refused_in_one_sentence(path, content):
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is broken or not an index"):
        VectorIndex.load(path, MODEL)


def test_safetensors_of_another_kind_are_refused(path):
    save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(BadInput, match="is not an index saved by Magpie"):
        VectorIndex.load(path, MODEL)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(path, kept):
    filled(range(50)).save(path, MODEL)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(BadInput, match="is broken"):
        VectorIndex.load(path, MODEL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": np.arange(4)},
        {"groups": np.zeros(6, np.int64)},
        {"rows": np.zeros((5, DIMENSION), np.float32)},
        {"rows": np.zeros(5, np.float16)},
        {"rows": np.zeros((5, 0), np.float16)},
        {"rows": np.full((5, DIMENSION), np.nan, np.float16)},
        {"rows": np.full((5, DIMENSION), -np.inf, np.float16)},
        {"keys": np.zeros(5, np.int64)},
        {"keys": np.arange(5, dtype=np.int32)},
    ],
)
def test_arrays_that_save_does_not_write_are_refused(path, wrong):
    good = {"keys": np.arange(5), "groups": np.zeros(5, np.int64), "rows": np.zeros((5, DIMENSION), np.float16)}
    save_file(good | wrong, path, {"magpie": "vector index 1", "model": MODEL})
    with pytest.raises(BadInput, match="is broken .*; make it again"):
        VectorIndex.load(path, MODEL)


def test_a_file_without_one_of_the_arrays_is_refused(path):
    save_file({"keys": np.arange(5), "groups": np.arange(5)}, path, {"magpie": "vector index 1", "model": MODEL})
    with pytest.raises(BadInput, match="is broken"):
        VectorIndex.load(path, MODEL)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_may_be_a_string(path, kind):
    filled().save(kind(path), MODEL)
    assert len(VectorIndex.load(kind(path), MODEL)) == 5


def test_an_empty_index_can_be_saved(path):
    VectorIndex(DIMENSION).save(path, MODEL)
    assert len(VectorIndex.load(path, MODEL)) == 0


def test_saving_again_replaces_the_whole_and_leaves_nothing_beside_it(path):
    filled(range(50)).save(path, MODEL)
    filled(range(3)).save(path, MODEL)
    assert len(VectorIndex.load(path, MODEL)) == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named_and_left_clean(tmp_path):
    with pytest.raises(BadInput, match="cannot be written"):
        filled().save(tmp_path / "none" / "index.safetensors", MODEL)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    with pytest.raises(BadInput, match="cannot be written"):
        filled().save(taken, MODEL)
    assert list(tmp_path.iterdir()) == [taken]


def test_a_new_file_takes_the_place_of_the_old_one_whole(path: Path):
    """Whoever has the old one open goes on with it as it was."""
    filled().save(path, MODEL)
    before = path.read_bytes()
    with path.open("rb") as open_since:
        filled(range(9)).save(path, MODEL)
        assert open_since.read() == before
    assert len(VectorIndex.load(path, MODEL)) == 9
    assert list(path.parent.iterdir()) == [path]
