"""Each example in docs/clipcore.md is run, in the order in which it stands, in the folder that the page describes."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tests.cli.run import ROOT, clipcore
from tests.clipcore.originals import drawn, vit_weights, write_state_dict

PAGE = ROOT / "docs" / "clipcore.md"
SAMPLES = BUNDLED_DIRECTORY / "samples"
CLASSES = ("rocket", "panda", "umbrella", "sunflower")


@dataclass(frozen=True, slots=True)
class Example:
    line: int
    language: str
    text: str


def examples() -> list[Example]:
    """Fenced blocks; `console` blocks show what a person types into a shell that is set up, and are not run."""
    page = PAGE.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = [Example(page[: fence.start()].count("\n") + 1, fence[1], fence[2]) for fence in fences]
    return [example for example in found if example.language != "console"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page says that there is."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(SAMPLES, folder / "photos", ignore=shutil.ignore_patterns("*.json"))
    for name in CLASSES:
        for copy in range(3):
            (folder / "classes" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(SAMPLES / f"{name}.png", folder / "classes" / name / f"{copy}.png")
    told = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    images = [{"id": number, "file_name": f"photos/{one['file']}"} for number, one in enumerate(told)]
    captions = [{"id": number, "image_id": number, "caption": one["en"]} for number, one in enumerate(told)]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}), "utf-8")
    weights = vit_weights() | drawn({"positional_embedding": (77, 64)}, 1)
    write_state_dict(folder / "ViT-B-32.pt", weights)
    return folder


def test_every_example_of_the_page_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLIPCORE_MODEL", "bundled")
    monkeypatch.setenv("CLIPCORE_INDEX", str(folder / "index.sqlite3"))
    monkeypatch.setenv("COLUMNS", "80")
    answer = ""
    for example in examples():
        match example.language:
            case "python":
                answer = run_python(example)
            case "sh":
                answer = "".join(run_command(line, example.line) for line in example.text.splitlines())
            case "text":
                assert plain(answer) == plain(example.text), f"line {example.line} shows another answer"
            case other:
                pytest.fail(f"line {example.line}: nobody runs {other!r}")
    assert min((folder / name).stat().st_size for name in ("confusion.png", "found.png")) > 1000
    assert {path.name for path in (folder / "tuned").iterdir()} >= {"last", "best", "training.jsonl", "curve.png"}


def run_python(example: Example) -> str:
    """Each block stands alone, as a reader would copy it."""
    output = io.StringIO()
    code = compile(example.text, f"{PAGE.name}:{example.line}", "exec")
    with contextlib.redirect_stdout(output):
        exec(code, {"__name__": "__main__"})
    return output.getvalue()


def run_command(line: str, number: int) -> str:
    program, *arguments = shlex.split(line)
    assert program == "clipcore", f"line {number}: {line}"
    ended = clipcore(*arguments)
    assert ended.code == 0, f"line {number}: {line}\n{ended.err}"
    return ended.out


def plain(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_the_page_names_every_command():
    """So that a command added later is told of."""
    page = PAGE.read_text(encoding="utf-8")
    missing = [command for command in commands() if not re.search(rf"clipcore {command}\b", page)]
    assert missing == []


def commands() -> list[str]:
    from typer.main import get_command

    from clipcore.cli.app import build

    found = []
    for name, command in get_command(build()).commands.items():
        inner = getattr(command, "commands", {})
        found += [f"{name} {one}" for one in inner] or [name]
    return found
