"""Every test that docs/guarantees.md and docs/security.md name exists, and so does every promise's test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("guarantees.md", "security.md")


def named(page: str) -> set[tuple[str, str]]:
    """The files and tests that the page names; an empty name for a whole file."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text))


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page: str) -> None:
    missing = {f"{file}::{name}" for file, name in named(page) if not _exists(ROOT / file, name)}
    assert named(page)
    assert missing == set()


def _exists(file: Path, name: str) -> bool:
    if not file.is_file():
        return False
    tree = ast.walk(ast.parse(file.read_text("utf-8")))
    tests = [one.name for one in tree if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    tests += re.findall(r"^((?:Test|test_)\w+) =", file.read_text("utf-8"), re.MULTILINE)  # of a state machine
    return name in tests if name else any(one.startswith(("test_", "Test")) for one in tests)


def test_every_promise_names_its_tests() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text("utf-8").split("## What they rest on")[0]
    rows = [row for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE) if not row.startswith(("promise |", "---"))]
    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row.split(" | ")[1]] == []
