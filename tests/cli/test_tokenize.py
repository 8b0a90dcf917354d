from __future__ import annotations

import io
import sys

import pytest

from tests.cli.run import clipcore


def test_texts_become_lines_of_tokens():
    ended = clipcore("tokenize", "a diagram", "a dog")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "49406 320 22697 49407\n49406 320 1929 49407\n"


def test_json_names_each_text():
    told = clipcore("tokenize", "a cat", "--json").json()
    assert told == {"context_length": 77, "texts": [{"text": "a cat", "tokens": [49406, 320, 2368, 49407]}]}


def test_an_end_mark_in_the_text_does_not_end_it():
    assert clipcore("tokenize", "a <|endoftext|> cat").out == "49406 320 49407 2368 49407\n"


def test_a_text_that_is_too_long_is_refused_or_cut():
    refused = clipcore("tokenize", "a cat", "a cat on a sofa", "--context-length", "5")
    assert refused.code == 1
    assert refused.err.startswith("Text 2 ('a cat on a sofa') has 7 tokens and the context holds 5")
    assert clipcore("tokenize", "a cat on a sofa", "--context-length", "5", "--truncate").out.split()[-1] == "49407"


def test_tokens_decode_to_text():
    tokens = clipcore("tokenize", "A cat, 你好!").out
    assert clipcore("tokenize", "--decode", tokens).out == "a cat , 你好 !\n"
    assert clipcore("tokenize", "--decode", "--json", "320,2368").json() == {"text": "a cat"}


@pytest.mark.parametrize(("given", "said"), [("a cat", "Tokens are numbers"), ("50000", "from 0 to 49407")])
def test_what_are_no_tokens_is_refused(given, said):
    ended = clipcore("tokenize", "--decode", given)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err


def test_texts_come_from_a_file_or_stdin_one_a_line(tmp_path, monkeypatch):
    (tmp_path / "texts.txt").write_text("a diagram\n\na dog\n")
    assert clipcore("tokenize", "--texts", tmp_path / "texts.txt").out == clipcore("tokenize", "a diagram", "a dog").out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"320 2368\n")))
    assert clipcore("tokenize", "--decode", "--texts", "-").out == "a cat\n"


def test_nothing_to_tokenize_is_wrong_use():
    ended = clipcore("tokenize")
    assert (ended.code, ended.out, "--texts" in ended.err) == (2, "", True)
