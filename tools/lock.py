"""Renews requirements/: every package that any extra needs, pinned, with the hashes of its files for every platform.

`make lock` runs it, with options for uv such as LOCK=--upgrade. uv resolves once, for all extras, platforms and Pythons
together. Each of the files then holds what those before it in the chain do not, so that a package is written once.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

FOLDER = Path("requirements")
# By file: the extra, and the files that are installed before it. "" is Magpie itself, with what builds it.
CHAIN: dict[str, tuple[str, tuple[str, ...]]] = {
    "run": ("", ()),
    "openvino": ("openvino", ("run",)),
    "test": ("test", ("run",)),
    "bench": ("bench", ("run", "test", "openvino")),
    "audit": ("audit", ("run", "test")),
    "fuzz": ("fuzz", ("run", "test")),
}
# Torch's CUDA build needs these, its CPU build none of them. Which of the two is installed, no marker can tell.
_CUDA = re.compile(r"(nvidia|cuda)-.+|triton")
_NAME = re.compile(r"[a-z0-9-]+")


def main(options: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "everything.txt"
        # uv keeps the versions, and with them the hashes, that it finds in the file that it writes.
        old = [FOLDER / f"{file}.txt" for file in ("cuda", *CHAIN)]
        everything.write_text("".join(file.read_text() for file in old if file.is_file()))
        _compile(everything, "--all-extras", "--generate-hashes", *options)
        blocks = _blocks(everything)
        needed = {
            file: _blocks(_compile(Path(folder) / file, *_extra(extra), "--constraint", str(everything))).keys()
            for file, (extra, _) in CHAIN.items()
        }
    cuda = {name for name in blocks if _CUDA.fullmatch(name)}
    _write("cuda", {name: blocks[name] for name in sorted(cuda)})
    for file, (_, before) in CHAIN.items():
        there = cuda.union(*(needed[each] for each in before))
        _write(file, {name: blocks[name] for name in sorted(needed[file] - there)})


def _compile(output: Path, *options: str) -> Path:
    build = tomllib.loads(Path("pyproject.toml").read_text())["build-system"]["requires"]
    fixed = (
        "--universal",
        "--python-version=3.11",
        "--fork-strategy=fewest",
        "--no-header",
        "--no-annotate",
        "--quiet",
    )
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "-", *fixed, "-o", str(output), *options]
    subprocess.run(command, input="\n".join(build), text=True, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return output


def _extra(extra: str) -> list[str]:
    return ["--extra", extra] if extra else []


def _blocks(file: Path) -> dict[str, str]:
    """By a package's name: its lines, one of them for each Python or platform that has a version of its own."""
    blocks: dict[str, str] = {}
    name = ""
    for line in file.read_text().splitlines(keepends=True):
        if found := _NAME.match(line):
            name = found[0]
        blocks[name] = blocks.get(name, "") + line
    return blocks


def _write(file: str, blocks: dict[str, str]) -> None:
    heading = "# Written by `make lock`.\n"
    (FOLDER / f"{file}.txt").write_text(heading + "".join(blocks.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
