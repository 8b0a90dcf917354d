"""Who may import whom, read from the source itself; what importing a room loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("clipcore", "bot", "sandbox", "migrations", "tools", "benchmarks")

# For each place, what it may import beside the standard library. The longest prefix of a module's name decides.
PLAIN = {"bot.models", "bot.errors", "bot.keyed_lock", "bot.logging", "bot.monitoring.metrics"}
DISCORD_SIDE = {
    "bot",
    "clipcore",
    "discord",
    "aiohttp",
    "yarl",
    "numpy",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "structlog",
    "cachetools",
}
TORCH_SIDE = {"clipcore", "numpy", "PIL", "torch", "transformers", "tokenizers", "safetensors"}
ENCODING_AND_BELOW = {
    f"clipcore.{name}"
    for name in ("encoding", "model", "zero_shot", "linear_probe", "prompts", "batching")
    + ("models", "runtime", "index", "images", "types", "errors", "files")
}
DATASETS_AND_BELOW = ENCODING_AND_BELOW | {"clipcore.datasets"}
ALLOWED: dict[str, set[str]] = {
    "clipcore": {"clipcore", "numpy", "PIL"},
    "clipcore.model": TORCH_SIDE | {"rich"},
    "clipcore.models": TORCH_SIDE | {"ftfy"},
    "clipcore.models.checkpoint": {"clipcore", "huggingface_hub"},
    "clipcore.runtime": TORCH_SIDE | {"openvino"},
    "clipcore.openai_api": TORCH_SIDE,
    "clipcore.index": {"clipcore", "numpy"},
    "clipcore.training": DATASETS_AND_BELOW
    | (TORCH_SIDE - {"clipcore"})
    | {"clipcore.training", "clipcore.evaluation", "matplotlib"},
    "clipcore.linear_probe": {"clipcore", "numpy", "sklearn"},
    "clipcore.files": {"clipcore", "numpy", "safetensors"},
    "clipcore.folder_search": {"clipcore", "numpy", "PIL", "platformdirs"},
    "clipcore.encoding": ENCODING_AND_BELOW | {"numpy", "pyarrow"},
    "clipcore.datasets": DATASETS_AND_BELOW | {"numpy", "PIL"},
    "clipcore.evaluation": DATASETS_AND_BELOW | {"clipcore.evaluation", "numpy", "matplotlib", "sklearn"},
    "clipcore.cli": {"clipcore", "numpy", "PIL", "typer", "rich"},
    "bot.models": set(),
    "bot.errors": set(),
    "bot.keyed_lock": set(),
    "bot.logging": {"structlog"},
    "bot.monitoring.metrics": {"bot.models", "clipcore", "prometheus_client"},
    "bot.store": PLAIN | {"bot.store", "sqlalchemy", "alembic", "numpy", "migrations"},
    "bot.store.backends": PLAIN | {"bot.store", "sqlalchemy", "aiosqlite", "filelock"},
    "bot.indexing": PLAIN | {"bot.indexing", "bot.search", "bot.store", "clipcore", "numpy", "cachetools", "tenacity"},
    "bot.search": PLAIN | {"bot.search", "bot.indexing", "bot.store", "clipcore", "numpy"},
    "bot": DISCORD_SIDE,
    "bot.monitoring": DISCORD_SIDE | {"prometheus_client"},
    "sandbox": {"sandbox", "aiohttp"},
    "migrations": {"migrations", "alembic", "sqlalchemy", "bot.store"},
    # A benchmark puts a part of the product beside whatever else does the same.
    "benchmarks": TORCH_SIDE
    | DISCORD_SIDE
    | {"benchmarks", "sandbox", "sqlalchemy", "rich", "typer", "matplotlib", "psutil"}
    | {"openvino", "onnxruntime", "faiss", "sentence_transformers"},
    "tools": {"tools", "clipcore", "numpy", "PIL", "torch", "transformers", "tokenizers", "safetensors"},
}
KNOWN_TO_FEW = "bot.app"


def modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(name: str, path: Path) -> Iterator[str]:
    """Every module that this one names in an import, at whatever depth it stands, type-checking blocks included."""
    is_package = path.name == "__init__.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: None if not node.level else len(name.split(".")) - node.level + is_package]
            base = ".".join([*above, *([node.module] if node.module else [])]) if node.level else node.module or ""
            yield from (f"{base}.{alias.name}" for alias in node.names)


def within(module: str, prefixes: set[str]) -> str | None:
    """The longest of these that is the module or one of its packages."""
    parts = module.split(".")
    return next((cut for end in range(len(parts), 0, -1) if (cut := ".".join(parts[:end])) in prefixes), None)


def breaches(name: str, path: Path) -> list[str]:
    place = within(name, set(ALLOWED))
    assert place is not None, f"{name} is in no known room"
    found = []
    for imported in imports(name, path):
        top = imported.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        # Benchmarks measure the bot whole, as it is composed.
        may_know_app = place == "benchmarks" or name in ("bot.__main__", "sandbox.__main__")
        if within(imported, {KNOWN_TO_FEW}) and not may_know_app:
            found.append(f"{name} imports {imported}: only the two __main__ modules and benchmarks may know app")
        elif within(imported, ALLOWED[place]) is None:
            found.append(f"{name} imports {imported}")
    return found


def test_every_room_imports_only_what_it_may() -> None:
    found = [breach for name, path in modules() for breach in breaches(name, path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("bot.store.images", "import discord"),
        ("bot.store.images", "def f():\n    from torch import nn"),
        ("bot.store.images", "from bot.indexing import indexer"),
        ("bot.monitoring.metrics", "from bot.indexing import indexer"),
        ("bot.indexing.indexer", "from bot.discord_io import attachments"),
        ("bot.indexing.indexer", "from ..discord_io import attachments"),
        ("bot.indexing.indexer", "import discord.abc"),
        ("clipcore.engine.engine", "import torch"),
        ("clipcore.cli.app", "import torch"),
        ("clipcore.encoding.batch", "from clipcore.datasets.pairs import Pairs"),
        ("clipcore.datasets.pairs", "from clipcore.folder_search import paths"),
        ("clipcore.evaluation.plots", "from clipcore.training import plan"),
        ("clipcore.model", "from bot.models import Tag"),
        ("bot.features.search", "from bot.app import App"),
        ("bot.features.search", "import sqlalchemy"),
        ("sandbox.server", "from bot import models"),
        ("sandbox.server", "import clipcore"),
    ],
)
def test_a_breach_of_the_rules_is_seen(tmp_path: Path, name: str, source: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert breaches(name, path)


LIGHT = (
    "clipcore",
    "clipcore.engine.engine",
    "clipcore.images.decode",
    "clipcore.index",
    "clipcore.models.catalogue",
    "clipcore.models.checkpoint",
    "clipcore.zero_shot",
    "bot.store",
    "bot.store.images",
    "bot.indexing",
    "bot.indexing.indexer",
    "bot.indexing.catch_up",
    "bot.settings",
    "bot.__main__",
)


def test_light_modules_load_neither_torch_nor_discord() -> None:
    """In one process of its own, module by module, so that the output names the first that loads something heavy."""
    program = f"""
import importlib, sys
for name in {LIGHT}:
    importlib.import_module(name)
    heavy = [each for each in ("torch", "transformers", "huggingface_hub", "discord") if each in sys.modules]
    if heavy:
        sys.exit(f"{{name}} loads {{heavy}}")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
