"""The page's source files: nothing external, no data as markup, every text in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.files import PAGE

FILES = sorted(path for path in PAGE.iterdir() if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
NAMES_NOT_ADDRESSES = ("http://www.w3.org/2000/svg", "https://discord.com/channels/")
"""An XML namespace, and links to messages, which the page handles itself."""

TEXT = re.compile(r'^  (\w+): \[\s*"((?:[^"\\]|\\.)+)",\s*"((?:[^"\\]|\\.)+)",?\s*\],$', re.MULTILINE)


def texts() -> dict[str, tuple[str, str]]:
    return {key: (en, zh) for key, en, zh in TEXT.findall((PAGE / "texts.js").read_text("utf-8"))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_contains_an_external_url(path: Path) -> None:
    text = path.read_text("utf-8")
    for name in NAMES_NOT_ADDRESSES:
        text = text.replace(name, "")
    assert re.findall(r"https?://[\w.-]+\.\w+", text) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_turns_data_into_markup_or_code(path: Path) -> None:
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"(?:style|on)"
    assert re.findall(risky, path.read_text("utf-8")) == []


def test_the_pages_policy_allows_only_its_own_files() -> None:
    html = (PAGE / "index.html").read_text("utf-8")
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert re.findall(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", html) == []


def test_every_file_that_is_referred_to_exists() -> None:
    html = (PAGE / "index.html").read_text("utf-8")
    wanted = set(re.findall(r'(?:src|href)="([^"]+)"', html))
    for script in SCRIPTS:
        wanted |= set(re.findall(r'from "\./([^"]+)"', script.read_text("utf-8")))
    assert wanted
    assert {name for name in wanted if not (PAGE / name).is_file()} == set()


def test_no_file_outgrows_one_subject() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > 350} == {}


def test_every_text_exists_in_both_languages() -> None:
    entries = re.findall(r"^  \w+: ", (PAGE / "texts.js").read_text("utf-8"), re.MULTILINE)
    known = texts()
    assert len(known) == len(entries) > 80
    for key, (english, chinese) in known.items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), key
        assert re.search(r"[\u4e00-\u9fff\uff0c]", chinese), key


def test_every_text_that_is_used_exists_and_every_text_is_used() -> None:
    known = set(texts())
    everything = "".join(path.read_text("utf-8") for path in FILES if path.name != "texts.js")
    asked = set(re.findall(r'\bt\("(\w+)"', everything)) | set(re.findall(r'data-(?:text|label)="(\w+)"', everything))
    assert asked - known == set()
    idle = {key for key in known - asked if f'"{key}"' not in everything}
    assert idle == set()
