"""Every setting, from the environment or a `.env` file: the only place with their names and defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.errors import StartupError
from bot.logging import LogFormat

ENV_FILE = Path(".env")

# Discord serves attachments from the first two, and images of other hosts (link previews) through the other two.
DISCORD_CDN_HOSTS = (
    "cdn.discordapp.com",
    "media.discordapp.net",
    "images-ext-1.discordapp.net",
    "images-ext-2.discordapp.net",
)


class Settings(BaseSettings):
    """The bot's settings. A field's name in capitals is the environment variable; its docstring is in the README."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    discord_token: SecretStr = SecretStr("")
    """The bot's token, from the *Bot* page of the developer portal. Required."""
    discord_api_base: str = "https://discord.com/api/v10"
    """Base URL of Discord's REST API. Change it for the sandbox, or for a proxy in front of Discord."""
    discord_gateway: str = "wss://gateway.discord.gg/"
    """URL of Discord's gateway."""
    discord_cdn: str = "https://cdn.discordapp.com"
    """Base URL of Discord's CDN, where stickers and custom emojis are: their messages name no URL."""
    cdn_hosts: Annotated[tuple[str, ...], NoDecode] = Field(default=DISCORD_CDN_HOSTS, min_length=1)
    """The only hosts that images are downloaded from, separated by commas."""
    database_url: str = Field(
        default="sqlite+aiosqlite:///magpie.sqlite3",
        min_length=1,
        validation_alias=AliasChoices("database_url", "database_path"),
    )
    """The SQLite database: a URL, or the path of the file. Created at the first start."""
    clip_model: str = Field(default="google/siglip2-base-patch32-256", min_length=1)
    """The CLIP model: a name on the Hugging Face hub, a directory, or `bundled` (trial only)."""
    clip_device: str = "auto"
    """The device that the model runs on: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    clip_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`, `fp32` or `bf16`. `auto` chooses bf16 where the hardware supports it natively."""
    clip_backend: Literal["auto", "torch", "openvino"] = "auto"
    """Inference backend on a CPU: `torch` or `openvino`. `auto` chooses openvino where it is installed."""
    max_image_bytes: int = Field(
        default=32 * 1024 * 1024, ge=1024, validation_alias=AliasChoices("max_image_bytes", "max_picture_bytes")
    )
    """Larger files are skipped."""
    max_image_pixels: int = Field(
        default=64_000_000, ge=1024, validation_alias=AliasChoices("max_image_pixels", "max_picture_pixels")
    )
    """Images with more pixels (width × height) are skipped."""
    max_image_frames: int = Field(
        default=2000, ge=1, validation_alias=AliasChoices("max_image_frames", "max_picture_frames")
    )
    """Animations with more frames are skipped; of others, up to eight frames are indexed."""
    download_timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    """Time limit of one download; the image is retried later."""
    # Concurrent downloads share the bandwidth within DOWNLOAD_TIMEOUT_SECONDS. Too few leave the model with batches of
    # two or three images, which takes a third longer.
    download_concurrency: int = Field(default=8, ge=1, le=64)
    """How many images of one author are downloaded at the same time; for others there is half as much room again. Three
    times as many are in memory, of at most 8 MiB each, and four larger files."""
    decode_workers: int | None = Field(default=None, ge=1, le=64)
    """How many processes decode uploads; one more decodes images that members search with. Empty: all cores but one
    with a GPU, a few otherwise."""
    decode_seconds: float = Field(default=2.0, gt=0, le=60)
    """Images that take more processor time to decode are skipped."""
    decode_memory_mib: int = Field(default=512, ge=16)
    """Images that take more memory to decode are skipped. Four at a time may use as much, others a quarter of it."""
    max_queue: int = Field(default=1024, ge=1)
    """Maximum length of the inference queue; beyond it, commands answer "busy"."""
    index_memory_mib: int = Field(default=2048, ge=16, le=16 * 1024 * 1024)  # 16 TiB: anything above is a typing error
    """Memory limit of the vector index, in MiB; an image takes about 1 KiB. The least recently searched servers are
    evicted, and reloaded on demand."""
    index_other_bots: bool = False
    """Whether to index images posted by other bots and by webhooks."""
    results_per_answer: int = Field(default=5, ge=1, le=10)
    """How many images a page of an answer shows, unless a member asks for another number."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)] = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    log_format: LogFormat = "text"
    """`text` for people, `json` for machines: one line an event, with ids and without contents."""
    status_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of `/metrics` and `/healthz`, such as 9464. Empty: they are not served."""
    status_host: str = Field(default="127.0.0.1", min_length=1)
    """Address of `/metrics` and `/healthz`, which are unauthenticated: any but loopback, such as `0.0.0.0` in a
    container, lets other machines read them."""

    @model_validator(mode="before")
    @classmethod
    def _strip_blanks(cls, values: dict[str, object]) -> dict[str, object]:
        """A value of blanks alone counts as unset. Environment files and shells keep blanks that nobody sees."""
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in stripped.items() if value != ""}

    @field_validator("cdn_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(host.strip().lower() for host in value.split(",") if host.strip())

    @field_validator("clip_device")
    @classmethod
    def _model_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            raise ValueError("it must be auto, cpu, mps or cuda, or cuda:1 for the second of several GPUs")
        return value

    @field_validator("discord_api_base", "discord_gateway", "discord_cdn")
    @classmethod
    def _url_of_protocol(cls, value: str, field: ValidationInfo) -> str:
        plain = "ws" if field.field_name == "discord_gateway" else "http"
        parts = urlsplit(value)
        if parts.scheme not in (plain, f"{plain}s") or not parts.hostname:
            raise ValueError(f"it must be a URL that begins with {plain}s:// (or {plain}:// for a local one)")
        return value


def load_settings(*, needs_token: bool = True) -> Settings:
    """Reads and validates the settings. Raises StartupError with one sentence about the first invalid one."""
    try:
        settings = Settings()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = str(problem["loc"][0]).upper() if problem["loc"] else "A setting"
        rule = problem["msg"].removeprefix("Value error, ").rstrip(".")
        # Never the value: it may be a secret in the wrong place.
        raise StartupError(f"{name} is invalid: {rule[:1].lower()}{rule[1:]}; see .env.example.") from None
    if needs_token and not settings.discord_token.get_secret_value():
        raise StartupError(
            "DISCORD_TOKEN is not set: copy .env.example to .env and put the bot's token there, "
            'or try Magpie without a token with "make run".'
        )
    return settings
