"""requirements/: what is installed is pinned by the hashes of its files, and is what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.lock import CHAIN

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def entries(file: Path) -> list[tuple[Requirement, list[str]]]:
    """Each requirement with its hashes."""
    lines = [line for line in file.read_text().replace("\\\n", " ").splitlines() if not line.startswith("#")]
    return [(Requirement(line.split(" --hash")[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]


def wanted(extra: str) -> list[Requirement]:
    """What an extra asks for, with what it takes over from others."""
    if not extra:
        return [Requirement(line) for line in PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]]
    found = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"][extra]]
    own = [each for each in found if each.name != "magpie"]
    return own + [
        each for nested in found if nested.name == "magpie" for name in nested.extras for each in wanted(name)
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_one_version_with_the_hashes_of_its_files(lock):
    assert entries(lock)
    for requirement, hashes in entries(lock):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), f"{requirement} names no single version"
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)


@pytest.mark.parametrize("file", CHAIN)
def test_the_locks_hold_all_that_pyproject_asks_for(file):
    extra, before = CHAIN[file]
    installed = {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for each in (*before, file)
        for requirement, _ in entries(ROOT / "requirements" / f"{each}.txt")
    }
    for requirement in wanted(extra):
        version = installed.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is in no lock: run make lock"
        assert version in requirement.specifier, f"{requirement} is locked at {version}: run make lock"


def test_torchs_cpu_build_is_of_the_release_that_is_locked():
    [(cpu, _)] = entries(ROOT / "requirements" / "torch-cpu.txt")
    [torch] = [each for each, _ in entries(ROOT / "requirements" / "run.txt") if each.name == "torch"]
    assert str(cpu.specifier) == f"{torch.specifier}+cpu"
