"""Which module may import which, read from the source; and what importing a package loads."""

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
PLAIN = {
    "bot.models",
    "bot.errors",
    "bot.keyed_lock",
    "bot.label_names",
    "bot.image_texts",
    "bot.logging",
    "bot.monitoring.metrics",
}
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
ALLOWED: dict[str, set[str]] = {
    "clipcore": {"clipcore", "numpy", "PIL"},
    "clipcore.images": {"clipcore", "numpy", "PIL", "pillow_heif", "pillow_jxl"},
    "clipcore.recognition": {"clipcore", "numpy", "PIL", "rapidocr"},
    "clipcore.model": TORCH_SIDE | {"rich"},
    "clipcore.models": TORCH_SIDE | {"ftfy"},
    "clipcore.models.checkpoint": {"clipcore", "huggingface_hub"},
    "clipcore.runtime": TORCH_SIDE | {"openvino"},
    "clipcore.openai_api": TORCH_SIDE,
    "clipcore.index": {"clipcore", "numpy"},
    "clipcore.training": TORCH_SIDE | {"matplotlib"},
    "clipcore.linear_probe": {"clipcore", "numpy", "sklearn"},
    "clipcore.files": {"clipcore", "numpy", "safetensors"},
    "clipcore.folder_search": {"clipcore", "numpy", "PIL", "platformdirs"},
    "clipcore.encoding": {"clipcore", "numpy", "pyarrow"},
    "clipcore.evaluation": {"clipcore", "numpy", "matplotlib", "sklearn"},
    "clipcore.cli": {"clipcore", "numpy", "PIL", "typer", "rich"},
    "bot.models": set(),
    "bot.protocols": {"clipcore", "numpy"},
    "bot.errors": set(),
    "bot.keyed_lock": set(),
    "bot.charts": {"matplotlib"},
    "bot.label_names": set(),
    "bot.image_texts": set(),
    "bot.logging": {"bot.errors", "structlog"},
    "bot.i18n": {"bot.i18n", "bot.models", "discord", "babel"},
    "bot.monitoring.metrics": {"bot.models", "clipcore", "prometheus_client"},
    "bot.store": PLAIN | {"bot.store", "sqlalchemy", "alembic", "numpy", "migrations"},
    "bot.store.sqlite": PLAIN | {"sqlalchemy", "aiosqlite", "filelock"},
    "bot.indexing": PLAIN
    | {"bot.indexing", "bot.protocols", "bot.store", "clipcore", "numpy", "cachetools", "pydantic", "tenacity"},
    "bot.search.map_image": {"bot.search", "clipcore", "numpy", "PIL"},
    "bot.search": PLAIN | {"bot.search", "bot.indexing", "bot.protocols", "bot.store", "clipcore", "numpy"},
    "bot": DISCORD_SIDE,
    "bot.app": DISCORD_SIDE | {"platformdirs"},
    "bot.features.dates": {"babel", "dateparser"},
    "bot.features": DISCORD_SIDE | {"babel"},
    "bot.monitoring": DISCORD_SIDE | {"prometheus_client"},
    "sandbox": {"sandbox", "aiohttp"},
    "migrations": {"migrations", "alembic", "sqlalchemy", "bot.store", "bot.label_names"},
    # A benchmark puts a part of the product beside whatever else does the same.
    "benchmarks": TORCH_SIDE
    | DISCORD_SIDE
    | {"benchmarks", "tools", "sandbox", "sqlalchemy", "rich", "typer", "matplotlib", "psutil"}
    | {"openvino", "onnxruntime", "faiss", "sentence_transformers"},
    "tools.commands_page": {"bot", "discord"},
    "tools": {"tools", "clipcore", "numpy", "PIL", "torch", "transformers", "tokenizers", "safetensors"},
}
KNOWN_TO_FEW = "bot.app"

# Within a package, from top to bottom: a part imports parts of its own line and of those below.
ORDER: dict[str, tuple[tuple[str, ...], ...]] = {
    "clipcore": (
        ("cli",),
        ("training",),
        ("evaluation", "folder_search"),
        ("datasets",),
        ("encoding",),
        ("openai_api",),
        ("model", "engine", "linear_probe"),
        ("zero_shot", "index", "runtime", "recognition"),
        ("models", "batching"),
        ("images",),
        ("relevance",),
        ("types", "prompts", "files", "errors", "fair_places"),
    ),
    "bot": (
        ("__main__",),
        ("app",),
        ("features", "services"),
        ("discord_io",),
        ("search",),
        ("indexing", "model_choice"),
        ("store",),
        ("monitoring", "i18n"),
        ("settings", "logging", "models", "errors", "protocols", "keyed_lock", "label_names", "image_texts", "charts"),
    ),
}


def modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(name: str, path: Path) -> Iterator[str]:
    """Every module that this one names in an import, at whatever depth it stands, type-checking blocks included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from imports_of(tree, name, is_package=path.name == "__init__.py")


def imports_of(tree: ast.Module, name: str, *, is_package: bool) -> Iterator[str]:
    for node in ast.walk(tree):
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


def internal_imports() -> dict[str, set[str]]:
    """Which modules of ours each module imports when it is run: not those for type checkers alone."""
    known = dict(modules())
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
            if ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = [ast.Pass()]
        named = set(imports_of(tree, name, is_package=path.name == "__init__.py"))
        # A module that imports a sibling through their package needs nothing of the package itself.
        found[name] = {
            module for each in named if (module := within(each, set(known))) and not f"{name}.".startswith(f"{module}.")
        }
    return found


def test_imports_point_downwards() -> None:
    upwards = []
    for name, imported in internal_imports().items():
        package, _, rest = name.partition(".")
        ranks = {part: rank for rank, line in enumerate(ORDER.get(package, ())) for part in line}
        for other in (each for each in imported if rest and each.startswith(f"{package}.") and ranks):
            if ranks[other.split(".")[1]] < ranks[rest.split(".")[0]]:
                upwards.append(f"{name} imports {other}")
    assert not upwards, "\n".join(upwards)


def test_there_is_no_import_cycle() -> None:
    remaining = internal_imports()
    while leaves := {name for name, imported in remaining.items() if not imported & remaining.keys()}:
        remaining = {name: imported for name, imported in remaining.items() if name not in leaves}
    assert not remaining, f"these modules, or those they import, form a cycle: {sorted(remaining)}"


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
    "clipcore.models.known_models",
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
