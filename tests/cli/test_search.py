from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from clipcore.cli.search import rewrite_signed, table
from clipcore.errors import BadInput
from clipcore.folder_search.search import Match, SearchResult, parse_query
from clipcore.folder_search.store import StoredFile
from clipcore.models.known_models import BUNDLED_DIRECTORY
from tests.cli.run import ROOT, clipcore, start_clipcore
from tests.folder_search.support import paint

OPTIONS = {"--top": True, "-t": True, "-m": True, "--minus": True, "-f": False, "-0": False, "--help": False}


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """The samples, indexed once; and the index."""
    folder = tmp_path_factory.mktemp("album") / "samples"
    shutil.copytree(BUNDLED_DIRECTORY / "samples", folder)
    index = folder.parent / "index.sqlite3"
    ended = clipcore("index", folder, "--index-file", index, "--model", "bundled", "--device", "cpu", "--json")
    assert (ended.code, ended.json()["folders"][0]["images"]) == (0, 24)
    return folder


@pytest.fixture(autouse=True)
def chosen(album, monkeypatch):
    monkeypatch.setenv("CLIPCORE_INDEX", str(album.parent / "index.sqlite3"))
    monkeypatch.setenv("CLIPCORE_MODEL", "bundled")
    monkeypatch.chdir(album)


def names(ended):
    return [line.rsplit("/", 1)[-1].removesuffix(".png") for line in ended.out.splitlines()]


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        (["sofa", "+cat", "-dog"], ["sofa", "--plus=cat", "--minus=dog"]),
        (["sofa", "+", "a cat", "-", "2:dog"], ["sofa", "--plus=a cat", "--minus=2:dog"]),
        (["-a red dog", "sofa", "--top", "-3"], None),
        (["sofa", "--top", "-3", "-t5", "-f"], ["sofa", "--top", "-3", "-t5", "-f"]),
        (["sofa", "-t", "-5", "-猫"], ["sofa", "-t", "-5", "--minus=猫"]),
        (["sofa", "--tpo", "3"], ["sofa", "--tpo", "3"]),
        (["sofa", "-x"], ["sofa", "-x"]),
        (["sofa", "--minus", "-dog"], ["sofa", "--minus", "-dog"]),
        (["+cat", "--", "-5 degrees", "+x"], ["--plus=cat", "--", "-5 degrees", "+x"]),
        (["sofa", "+", "--top=3"], None),
        (["sofa", "--top"], ["sofa", "--top"]),
        (["sofa", "-dog", "red"], None),
        (["sofa", "+"], None),
        (["sofa", "- "], None),
        (["sofa", "- ", "--top", "3"], None),
        (["sofa", "-", "--top", "3"], None),
        (["sofa", "-top", "3"], None),
        *((["sofa", option], ["sofa", option]) for option in ("-f0", "-0f", "-t=5", "-m=RN50")),
        *((["sofa", f"-m{name}"], ["sofa", f"-m{name}"]) for name in ("RN50", "bundled", "ViT-B/32", "a/b", ".")),
        *((["sofa", f"-{words}"], ["sofa", f"--minus={words}"]) for words in ("man", "tiger", "fox", "f1", "0.5:cat")),
    ],
)
def test_signed_parts_are_told_from_options(written, parsed):
    if parsed is None:
        with pytest.raises(BadInput):
            rewrite_signed(written, OPTIONS)
    else:
        assert rewrite_signed(written, OPTIONS) == parsed


def test_words_find_their_image_and_a_pipe_gets_score_and_path(album):
    ended = clipcore("search", "cat on sofa", "--top", "3")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split("\t") for line in ended.out.splitlines()]
    assert len(lines) == 3
    assert lines[0][1] == str((album / "cat-on-sofa.png").resolve())
    # Three digits of two different scores may be the same.
    assert float(lines[0][0]) > float(lines[1][0]) >= float(lines[2][0])


def test_unquoted_words_and_another_language_find_the_same():
    assert names(clipcore("search", "-f", "-t1", "cat", "on", "sofa")) == ["cat-on-sofa"]
    assert names(clipcore("search", "-f", "-t1", "一只熊猫")) == ["panda"]


def test_parts_are_added_and_taken_away():
    assert names(clipcore("search", "-f", "-t1", "pizza", "+rocket", "-pizza", "-cola")) == ["rocket"]
    assert names(clipcore("search", "-f", "-t1", "pizza", "--plus", "3:rocket", "--minus", "cola")) == ["rocket"]
    assert names(clipcore("search", "-f", "-t1", "./panda.png", "-", "./panda.png", "+octopus")) == ["octopus"]


def test_a_word_that_is_the_name_of_a_parameter_takes_no_value():
    assert clipcore("search", "words", "-dog", "-t1").code == 0


def test_an_image_is_found_by_itself_and_by_its_name_alone():
    assert names(clipcore("search", "-f", "-t1", "panda.png")) == ["panda"]


def test_json_has_the_query_and_the_matches(album):
    ended = clipcore("search", "2:panda", "-snow", "--top", "2", "--json")
    answer = ended.json()
    assert answer["query"] == [{"words": "panda", "weight": 2.0}, {"words": "snow", "weight": -1.0}]
    assert answer["folder"] == str(album.resolve())
    assert answer["model"].startswith("bundled@")
    assert (answer["searched"], answer["threshold"], answer["nothing_alike"]) == (24, 0.36, False)
    assert answer["matches"][0] == {
        "rank": 1,
        "score": pytest.approx(0.6, abs=0.4),
        "weak": False,
        "path": str((album / "panda.png").resolve()),
        "copies": [],
        "width": 256,
        "height": 256,
        "bytes": (album / "panda.png").stat().st_size,
    }
    assert [match["rank"] for match in answer["matches"]] == [1, 2]
    assert (answer["sheet"], answer["skipped"], ended.err) == (None, [], "")


def test_a_search_without_a_clear_match_says_so():
    ended = clipcore("search", "a spaceship made of cheese in court", "--top", "1")
    assert ended.code == 0
    assert "is clearly like that" in ended.err and "matches begin at 0.360" in ended.err
    ended = clipcore("search", "cat", "--min-score", "0.99")
    assert (ended.code, ended.out) == (0, "")
    assert "scores high enough" in ended.err


def test_similar_leaves_out_the_image_itself(album):
    ended = clipcore("similar", "panda.png", "--top", "24", "--paths")
    assert len(names(ended)) == 23
    assert "panda" not in names(ended)


def test_similar_searches_everywhere_and_search_below_the_current_folder(album, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(names(clipcore("similar", album / "panda.png", "--paths"))) == 10
    ended = clipcore("search", "panda", "--no-index")
    assert (ended.code, ended.out) == (1, "")
    assert f"run `clipcore index {tmp_path.resolve()}`, or leave out --no-index." in ended.err
    assert clipcore("search", "panda", "--in", album, "-t1").code == 0


def test_an_empty_folder_that_was_just_indexed_is_not_to_be_indexed(tmp_path):
    ended = clipcore("search", "cat", "--in", tmp_path)
    assert (ended.code, ended.err) == (1, f"There are no images below {tmp_path.resolve()}; check the path.\n")


def test_search_indexes_first_and_names_what_it_skipped_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCORE_INDEX", str(tmp_path / "own.sqlite3"))
    shutil.copy(BUNDLED_DIRECTORY / "samples" / "panda.png", tmp_path / "x.png")
    (tmp_path / "broken.png").write_bytes(b"x")
    ended = clipcore("search", "panda", "--in", tmp_path, "-f")
    assert (ended.code, names(ended)) == (3, ["x"])
    assert f"skipped {tmp_path.resolve() / 'broken.png'}: The bytes are no image" in ended.err
    again = clipcore("search", "panda", "--in", tmp_path, "-f")
    assert (again.code, names(again), again.err) == (0, ["x"], "")


def test_search_forgets_nothing_that_only_its_own_filter_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCORE_INDEX", str(tmp_path / "own.sqlite3"))
    album = tmp_path / "album"
    (album / ".hidden").mkdir(parents=True)
    shutil.copy(BUNDLED_DIRECTORY / "samples" / "panda.png", album / ".hidden" / "panda.png")
    shutil.copy(BUNDLED_DIRECTORY / "samples" / "rocket.png", album / "rocket.png")
    assert clipcore("index", album, "--hidden").code == 0
    assert names(clipcore("search", "panda", "--in", album, "--exclude", "rocket*", "-f")) == ["panda"]
    assert names(clipcore("search", "rocket", "--in", album, "--no-index", "-f", "-t1")) == ["rocket"]
    assert clipcore("index", album, "--json").json()["files"]["forgotten"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems open files in their own ways")
@pytest.mark.parametrize(("options", "opened"), [(("--sheet", "found.png"), "found.png"), ((), "octopus.png")])
def test_the_sheet_or_else_the_best_match_is_opened(album, tmp_path, monkeypatch, options, opened):
    """In a process of its own, which leaves the viewer behind; the viewer reports through a pipe."""
    os.mkfifo(tmp_path / "report")
    viewer = tmp_path / "xdg-open"
    viewer.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/report\n')
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    process = start_clipcore("similar", album / "panda.png", "--open", *options, cwd=tmp_path, env=_env())
    assert Path((tmp_path / "report").read_text()).name == opened
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert ("Sheet: found.png" in err) == bool(options)


def _env():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cat", "--tpo", "3"], 2, "No such option: --tpo"),
        (["cat", "-x"], 2, "No such option: -x"),
        (["cat", "-top", "3"], 2, "Write --top for the option"),
        (["cat", "-dog", "red"], 2, "in quotes"),
        ([], 2, "Say what to look for"),
        (["-dog"], 1, "Say what to look for"),
        (["https://example.org/cat.png"], 1, "not fetched"),
        (["./nothing.png"], 1, "There is no image"),
        (["cat", "--in", "/nowhere"], 1, "There is no folder '/nowhere'"),
        (["cat", "--sheet", "x.gif"], 1, "must end in .png or .jpg"),
        (["cat", "--json", "--paths"], 1, "either --json or --paths"),
        (["cat", "--top", "0"], 2, "--top"),
        (["panda", "-panda"], 1, "cancel each other out"),
    ],
)
def test_every_mistake_is_one_line_that_says_what_to_do(arguments, code, words):
    ended = clipcore("search", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert words in ended.err


def test_similar_to_nothing_is_one_line():
    ended = clipcore("similar", "nothing.png")
    assert (ended.code, ended.err) == (
        1,
        "There is no image 'nothing.png'; check the path, or use `clipcore search` for words.\n",
    )
    assert "use `clipcore search` for words" in clipcore("similar", "a cat").err
    ended = clipcore("similar", "https://example.org/a.png")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "not fetched from the web" in ended.err


def test_people_see_a_table_that_fits_80_columns(album):
    files = tuple(StoredFile(os.fsencode(album / name), 1, b"", 1, 1) for name in ("a[b].png", "copy.png"))
    weak = StoredFile(b"/elsewhere/" + b"x" * 100 + b".png", 1, b"", 1, 1)
    answer = SearchResult((Match(0.91234, files, weak=False), Match(0.1, (weak,), weak=True)), 0.3, 2, 0)
    out = StringIO()
    terms = parse_query(["a sofa"], ["2:[red]"], ["man"])
    Console(file=out, width=80, force_terminal=True, color_system="standard").print(table(answer, terms))
    title, *lines = out.getvalue().splitlines()
    assert re.sub(r"\x1b\[\d*m", "", title).strip() == "a sofa + 2 × [red] − man"
    assert "\x1b[2m" in lines[2] and "\x1b[2m" not in lines[1]
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in lines]
    assert "0.912" in lines[1] and "a[b].png  (and 1 more with the same content)" in lines[1]
    assert max(map(len, lines)) <= 80


def test_a_pipe_gets_the_bytes_of_a_name(tmp_path):
    """In a process of its own, for a stdout that is strict about UTF-8."""
    name = b"caf\xe9\n.png"
    index = tmp_path / "own.sqlite3"
    paint(tmp_path / "album" / os.fsdecode(name))
    assert clipcore("index", tmp_path / "album", "--index-file", index).code == 0
    query = paint(tmp_path / "q.png", "red")
    arguments = ("search", query, "--in", tmp_path / "album", "--index-file", index)
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    process = start_clipcore(*arguments, "-0", text=False, env=strict)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, os.fsencode(tmp_path.resolve() / "album") + b"/" + name + b"\0")
    assert clipcore(*arguments, "--json").json()["matches"][0]["path"].endswith("caf\N{REPLACEMENT CHARACTER}\n.png")


def test_an_indexed_image_is_searched_for_without_torch(album):
    """The difference between a fraction of a second and several."""
    code = (
        "import sys; from clipcore.cli.app import run; run(sys.argv[1:]); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "similar", str(album / "panda.png"), "-f"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=True,
    )
    assert done.stderr.strip().splitlines()[-1] == "False"


def test_an_index_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "x").write_bytes(b"no database" * 100)
    ended = clipcore("search", "cat", "--index-file", tmp_path / "x")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "is broken; delete it" in ended.err


def test_files_that_are_gone_are_counted_on_stderr(album, tmp_path, monkeypatch):
    folder = tmp_path / "album"
    shutil.copytree(album, folder)
    index = tmp_path / "own.sqlite3"
    shutil.copy(album.parent / "index.sqlite3", index)
    with closing(sqlite3.connect(index)) as connection, connection:
        old, new = os.fsencode(album.resolve()), os.fsencode(folder.resolve())
        for file, path in connection.execute("SELECT id, path FROM files").fetchall():
            connection.execute("UPDATE files SET path = ? WHERE id = ?", (path.replace(old, new), file))
    (folder / "panda.png").unlink()
    ended = clipcore("search", "panda", "--in", folder, "--index-file", index, "-t1", "--no-index")
    assert "1 better matches whose files are gone" in ended.err
    assert names(ended) and names(ended) != ["panda"]
