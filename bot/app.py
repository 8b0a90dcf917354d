"""The composition root: builds everything once, cheap failures first, and closes it in reverse."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import discord

import clipcore
from bot.discord_io.attachments import DownloadLimits, Fetcher
from bot.discord_io.client import MagpieBot, use_endpoint
from bot.discord_io.messages import History, Messages
from bot.errors import StartupError
from bot.features.indexing import IndexingCog
from bot.features.privacy import PrivacyCog
from bot.features.query_image import Questions
from bot.features.search import SearchCog
from bot.features.search_views import TagWords
from bot.features.tagging import Announcements, ReplyCleaner, TagsCog
from bot.indexing.catch_up import CatchUp
from bot.indexing.indexer import Indexer
from bot.indexing.labels import LabelBook, default_labels
from bot.indexing.protocols import Fetch, MakeRoom
from bot.indexing.reconcile import ChannelReconciler
from bot.indexing.tagger import Tagger
from bot.models import ImageRef
from bot.monitoring.live import Watched
from bot.monitoring.status import Status
from bot.search.service import SearchService
from bot.search.vector_cache import VectorCache
from bot.settings import Settings
from bot.store.database import Database
from bot.store.errors import StoreError
from bot.store.guilds import ChannelStore, LabelStore, ReplyStore
from bot.store.images import ImageStore
from clipcore.engine.engine import ClipEngine
from clipcore.errors import ModelUnavailable
from clipcore.images.decode import ImageLimits
from clipcore.index.scan import KERNEL
from clipcore.models.catalogue import DEFAULT_MODEL
from clipcore.runtime.cores import usable_cores
from clipcore.types import Encoder

log = logging.getLogger(__name__)

_LOGIN_REFUSED = (
    "Discord refused DISCORD_TOKEN: copy the token again from the Bot page of the developer portal, "
    "or reset it there, and put it into .env."
)
_NO_MESSAGE_CONTENT = (
    "Discord does not let this bot read messages: switch on MESSAGE CONTENT INTENT in the developer portal "
    "(Applications, your application, Bot, Privileged Gateway Intents) and start again."
)
_AUTHENTICATION_FAILED = 4004


@dataclass(frozen=True, slots=True)
class App:
    """A bot that is logged in, complete, and not yet connected to the gateway."""

    bot: MagpieBot
    store: ImageStore
    indexer: Indexer
    catch_up: CatchUp
    engine: ClipEngine

    async def serve(self) -> None:
        """Stays connected until cancelled. Raises StartupError for what the bot's owner must change or know."""
        connecting = asyncio.create_task(self._connect(), name="gateway")
        ended = asyncio.create_task(self.engine.crashed(), name="watch the model")
        try:
            await asyncio.wait({connecting, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connecting.cancel()
            ended.cancel()
            await asyncio.gather(connecting, ended, return_exceptions=True)
        if not ended.cancelled():
            raise StartupError(f"{ended.result()} Start the bot again; nothing is lost, and the log has the details.")
        connecting.result()

    async def _connect(self) -> None:
        try:
            await self.bot.connect()
        except discord.PrivilegedIntentsRequired:
            raise StartupError(_NO_MESSAGE_CONTENT) from None
        except discord.ConnectionClosed as error:
            if error.code == _AUTHENTICATION_FAILED:
                raise StartupError(_LOGIN_REFUSED) from None
            raise StartupError(
                f"Discord closed the connection for good with code {error.code}; "
                "its developer documentation lists what that means under Gateway Close Event Codes."
            ) from None


async def run(settings: Settings) -> None:
    """The bot from start to end. SIGTERM and SIGINT end it in order. Raises StartupError."""
    main = asyncio.ensure_future(_serve(settings))
    loop = asyncio.get_running_loop()
    end = _Ending(main)
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, end, ending)
    try:
        await main
    except asyncio.CancelledError:
        log.info("ended")


async def _serve(settings: Settings) -> None:
    use_endpoint(settings.discord_api_base, settings.discord_gateway)
    async with build(settings, engine_for(settings)) as app:
        leave_out_of_collections()
        await app.serve()


def leave_out_of_collections() -> None:
    """What stands by now stays for good: half a million objects, most of them of libraries. A full garbage collection
    that looks them all through stops the event loop for a fifth of a second.
    """
    gc.collect()
    gc.freeze()


class _Ending:
    """The first signal closes in order. The next one does not wait for that: what is pending is safe in the store."""

    def __init__(self, main: asyncio.Future[None]) -> None:
        self._main = main
        self._asked = False

    def __call__(self, ending: signal.Signals) -> None:
        if self._asked:
            log.warning("ended at once by a second signal")
            logging.shutdown()
            os._exit(128 + ending)
        self._asked = True
        self._main.cancel()


def engine_for(settings: Settings) -> ClipEngine:
    def load() -> Encoder:
        # torch is imported only now and on the model's thread: other failures are told at once.
        from clipcore.runtime.torch import limit_threads

        limit_threads(usable_cores())
        return clipcore.ClipModel.load(
            settings.clip_model,
            device=settings.clip_device,
            precision=settings.clip_precision,
            backend=settings.clip_backend,
        )

    limits = ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_frames=settings.max_image_frames,
    )
    return ClipEngine(load, limits=limits, decode_workers=settings.decode_workers, max_queue=settings.max_queue)


@asynccontextmanager
async def build(settings: Settings, engine: ClipEngine) -> AsyncIterator[App]:
    """Everything, ready to connect. Takes the engine over and closes it. Raises StartupError."""
    async with _status(settings) as status, AsyncExitStack() as closing:
        closing.push_async_callback(engine.close)
        database = await Database.open(settings.database_url, exclusive=True)
        closing.push_async_callback(database.close)
        bot = MagpieBot()
        closing.push_async_callback(bot.close)
        await _log_in(bot, settings)
        await _load_model(engine)
        session = await closing.enter_async_context(aiohttp.ClientSession(auto_decompress=True))
        try:
            await database.prove_writable()  # loading the model took its time, and others may hold the database by now
            app = await _assemble(bot, database, engine, session, settings, closing, status)
        except StoreError as error:
            raise StartupError(str(error)) from error
        yield app


def _status(settings: Settings) -> AbstractAsyncContextManager[Status | None]:
    """Answers before anything that takes its time begins, and until all of it has ended."""
    if settings.status_port is None:
        return nullcontext()
    return Status.served(settings.status_host, settings.status_port)


async def _log_in(bot: MagpieBot, settings: Settings) -> None:
    """Before the model is loaded: a wrong token should not cost a download to find out."""
    try:
        await bot.login(settings.discord_token.get_secret_value())
    except discord.LoginFailure:
        raise StartupError(_LOGIN_REFUSED) from None
    except (discord.HTTPException, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise StartupError(
            f"Discord cannot be reached at {settings.discord_api_base} ({type(error).__name__}): "
            "check the network and DISCORD_API_BASE, then start again."
        ) from None


async def _load_model(engine: ClipEngine) -> None:
    try:
        card = await engine.start()
    except ModelUnavailable as error:
        raise StartupError(str(error)) from error
    if not card.reads_text:
        raise StartupError(
            f"The model {card.id!r} sees images alone, and nothing could be found by words; set CLIP_MODEL to one "
            f"that reads text, such as {DEFAULT_MODEL}, or to bundled for a trial."
        )
    log.info("model %s is ready", card.key)


async def _assemble(
    bot: MagpieBot,
    database: Database,
    engine: ClipEngine,
    session: aiohttp.ClientSession,
    settings: Settings,
    closing: AsyncExitStack,
    status: Status | None,
) -> App:
    hosts = frozenset(settings.cdn_hosts)
    store, channels, labels_store = ImageStore(database), ChannelStore(database), LabelStore(database)
    defaults = default_labels(engine.card.id)
    tag_words = TagWords(LabelBook(defaults))
    messages = Messages(bot, hosts)
    limits = DownloadLimits(hosts, settings.max_image_bytes, settings.download_timeout_seconds)
    fetcher = Fetcher(session, messages.look, limits)

    replies = ReplyCleaner(bot, ReplyStore(database))
    closing.push_async_callback(replies.close)
    replies.start()
    log.info("vector search uses %s", KERNEL)
    vector_cache = VectorCache(
        store.embeddings,
        engine.card.key,
        engine.card.dimension,
        max_bytes=settings.index_memory_mib << 20,
    )
    closing.push_async_callback(vector_cache.close)
    indexer = Indexer(
        store,
        engine,
        Tagger(engine, labels_store, defaults),
        vector_cache,
        behind_questions(fetcher, engine.yield_to_queries),
        channels,
        on_finished=Announcements(bot, store, channels, tag_words, replies),
        on_forgotten=replies.wake,
        concurrency=settings.download_concurrency,
    )
    closing.push_async_callback(indexer.close)
    await indexer.start()
    history = History(messages, fetcher, hosts, own_id=bot.own_id, other_bots=settings.index_other_bots)
    catch_up = CatchUp(indexer.accept, channels, history)
    closing.push_async_callback(catch_up.close)
    catch_up.start()
    reconciler = ChannelReconciler(store.searchable_channels, messages.is_deleted, indexer.forget_channel)
    closing.push_async_callback(reconciler.close)

    search = SearchService(engine, store, vector_cache, indexer, messages.look, limit=settings.results_per_answer)
    questions = Questions(store, search, messages, fetcher)
    await bot.add_cog(
        IndexingCog(bot, indexer, catch_up, reconciler, store, fetcher, hosts, other_bots=settings.index_other_bots)
    )
    await bot.add_cog(SearchCog(bot, search, questions, tag_words, engine.card, engine.calibration, replies))
    await bot.add_cog(TagsCog(channels, labels_store, defaults))
    await bot.add_cog(PrivacyCog(bot, indexer))
    if status is not None:
        await status.watch(Watched(bot, engine, database, indexer, vector_cache))
    closing.push_async_callback(bot.disconnect)  # before the rest goes: no event may come meanwhile
    if status is not None:
        closing.callback(status.health.close)
    await bot.sync_commands(_commands_file(database.path))
    return App(bot, store, indexer, catch_up, engine)


def behind_questions(fetch: Fetch, yield_to_queries: Callable[[], Awaitable[None]]) -> Fetch:
    """A file that has come keeps its place among the downloads while indexing stands back: its hash, the question
    whether the store knows it, and the next download take the cores as decoding does.
    """

    async def fetched(ref: ImageRef, make_room: MakeRoom) -> bytes:
        data = await fetch(ref, make_room)
        await yield_to_queries()
        return data

    return fetched


def _commands_file(database: Path) -> Path:
    """Beside the database, and as easily thrown away: without it the commands are registered once more."""
    return database.with_name(database.name + ".commands")
