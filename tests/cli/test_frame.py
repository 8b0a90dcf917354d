from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from clipcore.errors import BadInput
from tests.cli.run import ROOT, clipcore, clipcore_until_ctrl_c, start_clipcore


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


def test_help_is_laid_out_by_the_terminals_width_alone(monkeypatch):
    """Not by where a docstring's lines happen to end."""
    monkeypatch.setenv("COLUMNS", "300")
    assert "Images that cannot be read are named on stderr and have no row. The" in clipcore("encode", "--help").out


def test_the_command_starts_without_torch():
    code = "import sys, clipcore.cli.app; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("texts", [1, 2000], ids=["at the end", "while it writes"])
@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_closed_pipe_is_not_a_failure(texts, buffered):
    command = ["tokenize", *["a cat"] * texts]
    with start_clipcore(*command, env={**os.environ, "PYTHONUNBUFFERED": buffered}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_another_pipe_that_breaks_is_a_failure(monkeypatch):
    """Such as a worker's, whose end would otherwise look like success."""

    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("clipcore.cli.encode.token_ids", fail)
    with pytest.raises(SystemExit) as ended:
        clipcore("tokenize", "a cat")
    assert ended.value.code != 0


STOPPED_AT = """
import sys

class Stopping:
    def find_spec(self, name, *_):
        if name == "clipcore.encoding.batch":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stopping())
from clipcore.cli import main
main()
"""


def test_ctrl_c_among_the_imports_ends_quietly():
    done = subprocess.run([sys.executable, "-c", STOPPED_AT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_name_that_the_terminal_cannot_show_is_escaped():
    strict = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    with start_clipcore("tokenize", "--decode", "--json", "49406 47466 49407", env=strict) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["text"].isascii() is False


def test_bad_input_is_its_own_sentence():
    assert str(BadInput("There is no file 'x'.")) == "There is no file 'x'."


def test_what_keeps_nothing_does_not_promise_to_go_on(tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n", "utf-8")
    (tmp_path / "a.png").touch()
    stopped = clipcore_until_ctrl_c("labels.txt", "classify", tmp_path, "--labels-file", labels)
    assert (stopped.code, stopped.err) == (130, "Stopped.\n")
