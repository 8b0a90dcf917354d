from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.__main__ import is_readable_by_others
from bot.errors import StartupError
from bot.settings import DISCORD_CDN_HOSTS, Settings, load_settings
from clipcore.models.known_models import DEFAULT_MODEL

ROOT = Path(__file__).parents[2]
NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield


def shown_default(name: str) -> str:
    default = Settings.model_fields[name.lower()].default
    if name == "DISCORD_TOKEN" or default is None:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return str(default)


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    found = dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"(# )?[A-Z_]+=", line))
    assert found == {name: shown_default(name) for name in NAMES}


def test_the_readmes_table_lists_every_setting_with_its_default_and_meaning() -> None:
    chapter = (ROOT / "README.md").read_text("utf-8").split("## Settings")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \|(.*?)\| (.*) \|$", chapter, re.MULTILINE)
    table = {name: (default.strip().strip("`"), meaning) for name, default, meaning in rows}
    assert table == {name: (shown_default(name), description(name)) for name in NAMES}


def description(name: str) -> str:
    """The docstring of this setting, on one line."""
    return " ".join((Settings.model_fields[name.lower()].description or "").split())


def test_the_defaults_are_for_discord_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    settings = load_settings()
    assert settings.cdn_hosts == DISCORD_CDN_HOSTS
    assert settings.clip_model == DEFAULT_MODEL
    assert settings.index_other_bots is False


def test_settings_come_from_the_env_file_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "DISCORD_TOKEN=from-file\nCLIP_MODEL=bundled\nLOG_LEVEL=debug\nCDN_HOSTS=A.example, b.example\n"
    )
    monkeypatch.setenv("CLIP_MODEL", "from-environment")
    settings = load_settings()
    assert settings.discord_token.get_secret_value() == "from-file"
    assert settings.clip_model == "from-environment"
    assert settings.log_level == "DEBUG"
    assert settings.cdn_hosts == ("a.example", "b.example")


def test_a_missing_token_is_refused_with_what_to_do() -> None:
    with pytest.raises(StartupError, match=r"DISCORD_TOKEN is not set.*\.env\.example"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_IMAGE_BYTES", "many"),
        ("RESULTS_PER_ANSWER", "11"),
        ("CLIP_PRECISION", "fp8"),
        ("CLIP_BACKEND", "onnx"),
        ("DISCORD_API_BASE", "ftp://example.org"),
        ("DISCORD_GATEWAY", "https://example.org"),
        ("DISCORD_CDN", "example.org"),
        ("LOG_FORMAT", "xml"),
        ("CDN_HOSTS", " , "),
        ("STATUS_PORT", "70000"),
        ("INDEX_MEMORY_MIB", "99999999999"),
    ],
)
def test_an_invalid_value_is_refused_in_one_sentence_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as told:
        load_settings()
    assert str(told.value).startswith(f"{name} is invalid: ")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("source", ["environment", "file"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "CDN_HOSTS"])
def test_blanks_around_a_value_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, source: str
) -> None:
    value = {"DISCORD_TOKEN": "t", "STATUS_PORT": "9464", "DECODE_WORKERS": "2"}.get(name) or shown_default(name)

    def loaded(text: str) -> Settings:
        if source == "file":
            (tmp_path / ".env").write_text(
                "".join(f"{key}='{given}'\n" for key, given in {**token, name: text}.items())
            )
        else:
            monkeypatch.setenv(name, text)
        return load_settings()

    token = {"DISCORD_TOKEN": "t"}
    monkeypatch.setenv("DISCORD_TOKEN", "t") if source == "environment" else None
    assert loaded(f" \t{value} ") == loaded(value)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "DISCORD_TOKEN"])
def test_a_value_of_blanks_alone_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    defaults = load_settings()
    monkeypatch.setenv(name, "  ")
    assert load_settings() == defaults


def test_a_token_of_blanks_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "  ")
    with pytest.raises(StartupError, match="DISCORD_TOKEN is not set"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("CLIP_DEVICE", ["auto", "cpu", "cuda", "mps"]),
        ("CLIP_PRECISION", ["auto", "fp32", "bf16"]),
        ("CLIP_BACKEND", ["auto", "torch", "openvino"]),
        ("LOG_LEVEL", ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("LOG_FORMAT", ["text", "json"]),
    ],
)
def test_an_unknown_choice_is_refused_by_naming_the_choices(
    monkeypatch: pytest.MonkeyPatch, name: str, choices: list[str]
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    monkeypatch.setenv(name, "nonsense")
    with pytest.raises(StartupError) as refused:
        load_settings()
    assert all(choice in str(refused.value) for choice in choices)
    assert "nonsense" not in str(refused.value)


@pytest.mark.parametrize("what", ["BYTES", "PIXELS", "FRAMES"])
def test_the_former_names_of_the_image_limits_still_work_and_the_new_ones_win(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    monkeypatch.setenv(f"MAX_PICTURE_{what}", "2048")
    assert getattr(load_settings(), f"max_image_{what.lower()}") == 2048
    monkeypatch.setenv(f"MAX_IMAGE_{what}", "4096")
    assert getattr(load_settings(), f"max_image_{what.lower()}") == 4096


def test_the_former_name_of_the_database_still_works_and_the_new_one_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    monkeypatch.setenv("DATABASE_PATH", "/var/lib/magpie.db")
    assert load_settings().database_url == "/var/lib/magpie.db"
    monkeypatch.setenv("DATABASE_URL", "sqlite+aiosqlite:///other.db")
    assert load_settings().database_url == "sqlite+aiosqlite:///other.db"


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")
def test_a_file_that_other_users_can_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert not is_readable_by_others(file)
    file.touch(0o600)
    assert not is_readable_by_others(file)
    for mode in (0o640, 0o604):
        file.chmod(mode)
        assert is_readable_by_others(file)


def test_the_token_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "very-secret")
    settings = load_settings()
    assert "very-secret" not in repr(settings) + str(settings) + settings.model_dump_json()
