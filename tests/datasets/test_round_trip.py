"""Pairs -> one table -> a folder -> the same pairs; and what happens on the way there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.datasets import Pairs, open_labelled, open_pairs
from clipcore.datasets.captions import open_texts
from clipcore.datasets.tsv import one_line, write_folder, write_tsv
from clipcore.encoding.batch import ImageSource
from clipcore.encoding.resumable import resumable
from clipcore.encoding.rows import canonical, decode_field
from clipcore.errors import BadInput, ImageRejected
from tests.clipcore.images import FORMATS, encode, quarters
from tests.datasets.stopping import Stop, stopping_after
from tests.datasets.tables import BLUE, GREEN, RED, row, write_files, write_lines

SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF0000WEBP"]
CAPTIONS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(one_line)
IMAGES = st.tuples(st.sampled_from(SIGNATURES), st.binary(min_size=30, max_size=60)).map(b"".join)


def told(pairs: Pairs) -> list[tuple[str, bytes]]:
    read = [image.read() for image in pairs.images]
    return [(caption, read[at]) for at, caption in zip(pairs.image_of, pairs.captions, strict=True)]


def pairs_of(captioned: Sequence[tuple[bytes, Sequence[str]]]) -> Pairs:
    captions = [caption for _, captions in captioned for caption in captions]
    image_of = np.repeat(np.arange(len(captioned)), [len(captions) for _, captions in captioned])
    sources = [ImageSource(f"image {n}", lambda data=data: data) for n, (data, _) in enumerate(captioned)]
    return Pairs(captions, image_of, sources)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(IMAGES, st.lists(CAPTIONS, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_bytes_and_captions_survive_the_table_and_the_folder(captioned: list[tuple[bytes, list[str]]]):
    with TemporaryDirectory() as name:
        table, folder = Path(name, "a.tsv"), Path(name, "folder")
        written = write_tsv(pairs_of(captioned), table)
        expected = [(one_line(caption), data) for data, captions in captioned for caption in captions]
        assert told(open_pairs(table)) == expected
        assert (written.rows, written.problems) == (len(expected), [])
        write_folder(table, folder)
        # The folder's captions stand together by image, and JSON's readers see single spaces.
        found = [(caption, data) for caption, data in told(open_pairs(folder))]
        spaced = [(" ".join(caption.split()), data) for caption, data in expected]
        assert sorted(found) == sorted((caption, data) for caption, data in spaced if caption)


@given(st.binary(min_size=1, max_size=100), st.booleans(), st.booleans())
def test_any_bytes_survive_a_field_in_every_spelling(data: bytes, url_safe: bool, padded: bool):
    field = base64.urlsafe_b64encode(data) if url_safe else base64.b64encode(data)
    field = field if padded else field.rstrip(b"=")
    assert decode_field(field) == data
    assert canonical(field) == base64.urlsafe_b64encode(data).rstrip(b"=")


@pytest.mark.parametrize("field", [b"", b"====", b"A", b"AAAAA", b"AA A", b"AA\xff="])
def test_a_field_that_is_not_base64_is_rejected(field: bytes):
    for read in (canonical, decode_field):
        with pytest.raises(ImageRejected):
            read(field)


@pytest.mark.parametrize("image_format", FORMATS)
def test_files_are_named_by_row_and_by_what_their_bytes_are(tmp_path: Path, image_format: str):
    data = encode(quarters(), image_format)
    table = write_lines(tmp_path / "a.tsv", row("red", RED), row("quarters", data), row("also red", RED))
    write_folder(table, tmp_path / "out")
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(image_format, image_format.lower())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "00000001.png",
        f"00000002.{suffix}",
        "captions.json",
    ]
    assert (tmp_path / "out" / f"00000002.{suffix}").read_bytes() == data
    document = json.loads((tmp_path / "out" / "captions.json").read_text(encoding="utf-8"))
    assert document["annotations"][2] == {"id": 3, "image_id": 1, "caption": "also red"}


def test_a_folder_of_classes_comes_back_as_one(tmp_path: Path):
    write_files(tmp_path / "in", {"猫/a.png": RED, "dog/b.png": BLUE, "dog/c.png": GREEN, "dog/d.png": RED})
    write_tsv(open_texts(tmp_path / "in"), tmp_path / "a.tsv")
    write_folder(tmp_path / "a.tsv", tmp_path / "out", by_class=True)
    found = open_labelled(tmp_path / "out")
    told = [(found.classes[at], found.images[n].read()) for n, at in enumerate(found.class_of)]
    assert told == [("dog", BLUE), ("dog", GREEN), ("dog", RED), ("猫", RED)]


@pytest.mark.parametrize("label", ["../up", "a/b", ".hidden", "x" * 300])
def test_a_label_that_is_a_path_makes_no_folder(tmp_path: Path, label: str):
    table = write_lines(tmp_path / "a.tsv", row(label, RED), row("fine", BLUE))
    written = write_folder(table, tmp_path / "out", by_class=True)
    assert [problem.name for problem in written.problems] == ["row 1"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["00000002.png", "a.tsv", "fine", "out"]


def test_tabs_and_line_breaks_in_captions_become_spaces(tmp_path: Path):
    write_tsv(pairs_of([(RED, ["a\tb\r\nc  d ", "\n\t"])]), tmp_path / "a.tsv")
    assert open_pairs(tmp_path / "a.tsv").captions == ["a b c  d"]


def test_a_file_that_is_not_an_image_is_reported_and_skipped(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a/1.png": RED, "a/2.png": b"not an image", "a/3.png": b""})
    written = write_tsv(open_texts(folder), tmp_path / "a.tsv")
    assert written.rows == 1
    assert [(Path(problem.name).name, problem.reason[:5]) for problem in written.problems] == [
        ("2.png", "Its b"),
        ("3.png", "Its b"),
    ]
    text = write_lines(tmp_path / "b.tsv", row("fine", RED), row("broken", b"not an image, but base64 it is"))
    assert [problem.name for problem in write_folder(text, tmp_path / "out").problems] == ["row 2"]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_interrupted_table_resumes(tmp_path: Path, number: int):
    folder = write_files(tmp_path / "in", {"a/1.png": RED, "a/2.png": b"no", "a/3.png": BLUE, "b/1.png": GREEN})
    output = tmp_path / "a.tsv"
    with pytest.raises(Stop):
        write_tsv(open_texts(folder), output, progress=lambda things: stopping_after(number, things))
    assert not output.exists()
    written = write_tsv(open_texts(folder), output)
    assert (written.resumed_at, written.rows, len(written.problems)) == (number, 3, 1)
    write_tsv(open_texts(folder), tmp_path / "whole.tsv")
    assert output.read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tsv", "in", "whole.tsv"]


def test_another_commands_partial_table_is_not_resumed(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a/1.png": RED, "a/3.png": BLUE})
    with pytest.raises(Stop):
        write_tsv(open_texts(folder), tmp_path / "a.tsv", progress=lambda things: stopping_after(1, things))
    write_files(folder, {"a/2.png": GREEN})
    with pytest.raises(BadInput, match="another command's output; add --force"):
        write_tsv(open_texts(folder), tmp_path / "a.tsv")
    assert write_tsv(open_texts(folder), tmp_path / "a.tsv", force=True).rows == 3
    assert len(open_pairs(tmp_path / "a.tsv")) == 3


def test_two_commands_do_not_write_into_one_file(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a/1.png": RED, "a/2.png": BLUE})
    output = tmp_path / "a.tsv"

    def meanwhile(things: Sequence[int]) -> Iterator[int]:
        for thing in things:
            with pytest.raises(BadInput, match="written by another command"):
                write_tsv(open_texts(folder), output, force=True)
            yield thing

    assert write_tsv(open_texts(folder), output, progress=meanwhile).rows == 2
    assert len(open_pairs(output)) == 2
    assert write_tsv(open_texts(folder), output, force=True).rows == 2


def test_a_file_of_another_table_is_replaced(tmp_path: Path):
    alike = RED[:-1] + b"?"
    older = write_lines(tmp_path / "old.tsv", row("red", RED), row("green", GREEN))
    table = write_lines(tmp_path / "a.tsv", row("as long", alike), row("green", GREEN))
    write_folder(older, tmp_path / "out")
    with pytest.raises(Stop):
        write_folder(table, tmp_path / "out", force=True, progress=lambda things: stopping_after(0, things))
    assert write_folder(table, tmp_path / "out").resumed_at == 1
    assert (tmp_path / "out" / "00000001.png").read_bytes() == alike


def test_an_image_that_is_too_large_to_read_back_is_skipped(tmp_path: Path):
    large = RED + bytes(33 * 1024 * 1024)
    pairs = Pairs(["large", "red"], np.arange(2), [ImageSource("a", lambda: large), ImageSource("b", lambda: RED)])
    written = write_tsv(pairs, tmp_path / "a.tsv")
    assert (written.rows, [problem.name for problem in written.problems]) == (1, ["a"])
    assert "the limit is" in written.problems[0].reason


def test_the_journal_is_written_while_work_continues(tmp_path: Path):
    """A process that is killed tells nothing at its end."""
    with resumable(tmp_path / "a", {"job": 1}) as partial:
        partial.file.write(b"first")
        partial.commit(1)
        told = json.loads((tmp_path / "a.part.json").read_text(encoding="utf-8"))
        assert (told["taken"], told["bytes"]) == (1, 5)
        assert (tmp_path / "a.part").read_bytes() == b"first"


def test_an_output_that_is_a_folder_is_refused(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a/1.png": RED})
    with pytest.raises(BadInput, match="is a folder; name a file"):
        write_tsv(open_texts(folder), tmp_path / "in", force=True)


def test_existing_outputs_are_replaced_only_with_force(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a/1.png": RED})
    output = tmp_path / "a.tsv"
    output.write_text("precious", encoding="utf-8")
    with pytest.raises(BadInput, match="exists; name another output, or add --force"):
        write_tsv(open_texts(folder), output)
    assert output.read_text(encoding="utf-8") == "precious"
    write_tsv(open_texts(folder), output, force=True)
    with pytest.raises(BadInput, match="not empty"):
        write_folder(output, folder)
    write_folder(output, folder, force=True)
    assert (folder / "00000001.png").read_bytes() == RED
    assert (folder / "a" / "1.png").read_bytes() == RED
    with pytest.raises(BadInput, match="is a file"):
        write_folder(output, output)


def test_an_interrupted_folder_resumes(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row("red", RED), row("green", GREEN), row("blue", BLUE))
    with pytest.raises(Stop):
        write_folder(table, tmp_path / "out", progress=lambda things: stopping_after(2, things))
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")) == [
        "00000001.png",
        "00000002.png",
    ]
    before = (tmp_path / "out" / "00000001.png").stat().st_ino
    written = write_folder(table, tmp_path / "out")
    assert (written.files, written.captions, written.resumed_at) == (3, 3, 2)
    assert (tmp_path / "out" / "00000001.png").stat().st_ino == before
    assert len(list((tmp_path / "out").iterdir())) == 4
