from __future__ import annotations

import subprocess
import sys

import pytest

from clipcore.errors import BadInput
from tests.cli.run import ROOT, clipcore


def test_the_version_is_said():
    ended = clipcore("--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.strip()[0].isdigit()


@pytest.mark.parametrize("wrong", [["--bogus"], ["no-such-command"]])
def test_wrong_use_is_one_line_and_code_2(wrong):
    ended = clipcore(*wrong)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "--help" in ended.err


def test_the_command_alone_shows_its_help():
    ended = clipcore()
    assert (ended.code, ended.err) == (2, "")
    assert "Usage" in ended.out


def test_help_tells_the_exit_codes():
    assert "Exit codes" in clipcore("--help").out


def test_the_command_starts_without_torch():
    code = "import sys, clipcore.cli; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_bad_input_is_its_own_sentence():
    assert str(BadInput("There is no file 'x'.")) == "There is no file 'x'."
