"""Every setting, from the environment or a `.env` file. The one place that knows their names and defaults."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.errors import StartupError

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# Where attachments lie, and the proxies through which Discord shows what lies elsewhere.
DISCORD_CDN_HOSTS = (
    "cdn.discordapp.com",
    "media.discordapp.net",
    "images-ext-1.discordapp.net",
    "images-ext-2.discordapp.net",
)


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Settings(BaseSettings):
    """The bot's settings. A field in capitals is a name in the environment; its description is the README's."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    discord_token: SecretStr = Field(
        default=SecretStr(""),
        description="The bot's token, from the *Bot* page of the developer portal. Must be given.",
    )
    discord_api_base: str = Field(
        default="https://discord.com/api/v10",
        description="Where Discord's REST API is. Another address serves the sandbox, or a proxy in front of Discord.",
    )
    discord_gateway: str = Field(
        default="wss://gateway.discord.gg/",
        description="Where Discord's gateway is.",
    )
    cdn_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=DISCORD_CDN_HOSTS,
        min_length=1,
        description="The only hosts that images are downloaded from, separated by commas.",
    )
    database_path: Path = Field(
        default=Path("magpie.sqlite3"),
        description="The SQLite file that holds all Magpie remembers. Made at the first start.",
    )
    clip_model: str = Field(
        default="openai/clip-vit-base-patch32",
        min_length=1,
        description="The model that looks at images: a name on the hub, a directory, or `bundled` (trial only).",
    )
    clip_device: str = Field(
        default="auto",
        min_length=1,
        description="Where the model runs: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.",
    )
    clip_precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="`auto`, `fp32` or `bf16`. `auto` takes bf16 where the hardware is quick at it.",
    )
    clip_backend: Literal["auto", "torch", "openvino"] = Field(
        default="auto",
        description="What looks at images on a CPU: `torch` or `openvino`. `auto` takes openvino where installed.",
    )
    max_image_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        description="Larger files are left alone.",
    )
    max_image_pixels: int = Field(
        default=64_000_000,
        ge=1024,
        description="Images with more pixels (width × height) are left alone.",
    )
    max_image_frames: int = Field(
        default=2000,
        ge=1,
        description="Animations with more frames are left alone; of the others the first frame counts.",
    )
    download_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="How long one download may take before it is put off.",
    )
    # Downloads share the line within DOWNLOAD_TIMEOUT_SECONDS. The model's batches are no larger than what is in hand:
    # with few it sees two or three at a time, which takes a third longer.
    download_concurrency: int = Field(
        default=8,
        ge=1,
        le=64,
        description="How many images are downloaded at the same time. Up to three times as many are in memory, "
        "with at most 16 MiB for each download or one larger file alone.",
    )
    decode_workers: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="How many threads turn files into pixels. Empty: all cores but one beside a GPU, a few otherwise.",
    )
    max_queue: int = Field(
        default=1024,
        ge=1,
        description="How many images may wait for the model before the bot says that it is busy.",
    )
    index_memory_mib: int = Field(
        default=2048,
        ge=16,
        le=16 * 1024 * 1024,  # 16 TiB: more was not meant
        description="How much memory images' vectors may take: about 1 KiB each. Servers that nobody searches make "
        "room, and are read again when somebody does.",
    )
    index_device: str = Field(
        default="cpu",
        description="Where those vectors lie: `cpu`, or `cuda` for a GPU's memory, which very large servers may want.",
    )
    index_other_bots: bool = Field(
        default=False,
        description="Whether images posted by other bots and by webhooks are remembered too.",
    )
    results_per_answer: int = Field(
        default=5,
        ge=1,
        le=6,
        description="How many images an answer shows at most.",
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO,
        description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.TEXT,
        description="`text` for people, `json` for machines: one line an event, ids and never contents.",
    )

    status_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Where `/metrics` and `/healthz` are served, such as 9464. Empty: nowhere.",
    )
    status_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="The address that these are served at. Any other than this machine's own, such as `0.0.0.0` in a "
        "container, lets others read them: nothing there asks for a password.",
    )

    @field_validator("cdn_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(host.strip().lower() for host in value.split(",") if host.strip())

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("index_device")
    @classmethod
    def _vector_device(cls, value: str) -> str:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", value):
            raise ValueError("it must be cpu or cuda, or cuda:1 for the second of several GPUs")
        return value

    @field_validator("discord_api_base")
    @classmethod
    def _http_address(cls, value: str) -> str:
        return _address(value, secure="https", plain="http").rstrip("/")

    @field_validator("discord_gateway")
    @classmethod
    def _websocket_address(cls, value: str) -> str:
        return _address(value, secure="wss", plain="ws")


def _address(value: str, *, secure: str, plain: str) -> str:
    """The token travels to this address, so only a loopback address or a private proxy may go without TLS."""
    parts = urlsplit(value)
    if parts.scheme not in (secure, plain) or not parts.hostname:
        raise ValueError(f"it must be an address that begins with {secure}:// (or {plain}:// for a local one)")
    return value


def load_settings() -> Settings:
    """Reads and checks the settings. Raises StartupError with one sentence about the first that cannot be used."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise StartupError(_sentence(error.errors(include_url=False, include_input=False)[0])) from None
    if not settings.discord_token.get_secret_value().strip():
        raise StartupError(
            "DISCORD_TOKEN is not set: copy .env.example to .env and put the bot's token there, "
            'or try Magpie without a token by "make run".'
        )
    return settings


def _sentence(error: ErrorDetails) -> str:
    """Names the setting and the rule, never the value: it may be a secret in the wrong place."""
    name = str(error["loc"][0]).upper() if error["loc"] else "A setting"
    rule = error["msg"].removeprefix("Value error, ")
    return f"{name} cannot be used: {rule[:1].lower()}{rule[1:].rstrip('.')}; .env.example says what it takes."
