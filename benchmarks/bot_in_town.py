"""The real bot in the town: everything as in production, with a stopwatch at its stages."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from benchmarks.million import CARD, GUILD, TAGS, database_of, hash_of
from benchmarks.stages import Stages, watched
from benchmarks.town import Town
from benchmarks.town_server import Post
from bot.app import create_bot, create_engine, log_in, stay_connected
from bot.discord_io.client import MagpieBot, use_endpoint
from bot.settings import Settings
from clipcore.engine.engine import ClipEngine
from clipcore.types import Vectors

PATIENCE_S = 120.0
_NEAR = 0.2
"""How far a planted image's vector is from the question's: a cosine of about 0.98, where random ones reach 0.3."""


@dataclass(frozen=True, slots=True)
class BotInTown:
    town: Town
    bot: MagpieBot
    engine: ClipEngine
    stages: Stages

    async def ask(self, number: int) -> float:
        """One question, other than those before. Gives the asker's seconds."""
        seen = await self.town.ask(question(number))
        if not seen.images:
            raise RuntimeError("an answer without images measures nothing")
        return seen.seconds


def question(number: int) -> str:
    return f"a red bicycle in front of house number {number}"


@asynccontextmanager
async def bot_in(
    town: Town,
    directory: Path,
    model: Path,
    *,
    images: int,
    channels: int,
    planted: Sequence[Post],
    device: str,
    downloads: int = 4,
) -> AsyncIterator[BotInTown]:
    """images: random ones in the database beside those planted near the question. downloads: as many at once."""
    settings = Settings(
        discord_token=SecretStr(town.facts.token),
        discord_api_base=town.facts.api,
        discord_gateway=town.facts.gateway,
        cdn_hosts=("127.0.0.1",),
        database_url=str(directory / "magpie.sqlite3"),
        clip_model=str(model),
        clip_device=device,
        download_concurrency=downloads,
    )
    engine = create_engine(settings, settings.clip_model)
    await engine.start()
    database = Path(settings.database_url)
    await asyncio.to_thread(shutil.copyfile, database_of(images, channels=channels), database)
    plant(database, engine.card.key, planted, await engine.encode_query(question(0)))
    use_endpoint(settings.discord_api_base, settings.discord_gateway, settings.discord_cdn)
    stages = Stages()
    async with create_bot(settings, engine) as bot:
        await log_in(bot, settings)
        with watched(bot, engine, stages):
            connection = asyncio.create_task(stay_connected(bot, engine))
            try:
                await asyncio.wait_for(bot.wait_until_ready(), PATIENCE_S)
                await asyncio.wait_for(bot.services.catch_up.finished(), PATIENCE_S)
                gc.collect()  # as the bot itself does once it is ready
                gc.freeze()
                yield BotInTown(town, bot, engine, stages)
            finally:
                connection.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await connection


def plant(database: Path, model_key: str, posts: Sequence[Post], near: Vectors) -> None:
    """Rows for these posts, with vectors close to `near`; and what is there already is made the given model's."""
    noise = np.random.default_rng(1).standard_normal((len(posts), len(near)), dtype=np.float32)
    vectors = near + _NEAR * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE models SET key = ? WHERE key = ?", (model_key, CARD.key))
        [[last]] = connection.execute("SELECT coalesce(max(id), 0) FROM images")
        for id_, (post, vector) in enumerate(zip(posts, vectors, strict=True), last + 1):
            connection.execute(
                "INSERT INTO images (id, guild_id, channel_id, message_id, attachment_id, source, author_id, state,"
                " content_hash, width, height) VALUES (?, ?, ?, ?, ?, 'attachment', ?, 'ready', ?, 640, 480)",
                (id_, GUILD, post.channel_id, post.message_id, post.attachment_id, post.author_id, hash_of(id_)),
            )
            connection.execute(
                "INSERT INTO embeddings (image_id, model_id, frame, guild_id, channel_id, embedding)"
                " VALUES (?, 1, 0, ?, ?, ?)",
                (id_, GUILD, post.channel_id, vector.astype("<f2").tobytes()),
            )
            connection.executemany(
                "INSERT INTO tags (image_id, rank, channel_id, key, label, probability) VALUES (?, ?, ?, ?, ?, 0.5)",
                [(id_, rank, post.channel_id, f"label {rank}", f"label {rank}") for rank in range(TAGS)],
            )
