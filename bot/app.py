"""The composition root: starts everything, what fails cheaply first, and closes it in reverse order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NoReturn

import discord
import platformdirs

import clipcore
from bot.discord_io.client import MagpieBot, use_endpoint
from bot.discord_io.messages import NETWORK_ERRORS
from bot.errors import StartupError, StoreError
from bot.features.cogs import add_cogs
from bot.logging import get_logger
from bot.model_choice import want_model, wanted_model
from bot.monitoring.health import GatewayMonitor, Status
from bot.monitoring.http import serve_status
from bot.services import CLOSING, Services, closed, decode_limits
from bot.settings import Settings
from bot.store.database import Database
from bot.store.models import ModelStore
from clipcore.engine.engine import ClipEngine
from clipcore.errors import ModelUnavailable
from clipcore.models.known_models import DEFAULT_MODEL
from clipcore.runtime.cores import usable_cores
from clipcore.types import Encoder, ModelCard

log = get_logger(__name__)

# How often a running bot looks whether another model is asked for.
WISH_EVERY_S = 10.0

# Docker kills a container ten seconds after the signal.
SHUTDOWN_S = 7.0

_LOGIN_REFUSED = (
    "Discord refused DISCORD_TOKEN: copy the token again from the Bot page of the developer portal, "
    "or reset it there, and put it into .env."
)
_NO_MESSAGE_CONTENT = (
    "Discord does not let this bot read messages: switch on MESSAGE CONTENT INTENT in the developer portal "
    "(Applications, your application, Bot, Privileged Gateway Intents) and start again."
)
_AUTHENTICATION_FAILED = 4004


async def run(settings: Settings) -> None:
    """Runs the bot until SIGTERM or SIGINT, which close everything in order; a second one ends the process at once.

    What does not end within SHUTDOWN_S, such as a hung device, is abandoned: pending images are safe in the store.
    Raises StartupError.
    """
    main, loop = asyncio.ensure_future(_run(settings)), asyncio.get_running_loop()
    signals = 0

    def stop(signal_number: signal.Signals) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            log.warning("stopped at once by a second signal")
            _exit(128 + signal_number)
        deadline = threading.Timer(SHUTDOWN_S, _abandon, (loop, 128 + signal_number))  # also of a loop that is blocked
        deadline.daemon = True
        deadline.start()
        main.cancel()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop, signal_number)
    try:
        await main
    except asyncio.CancelledError:
        log.info("stopped")


def _abandon(loop: asyncio.AbstractEventLoop, code: int) -> None:
    names = sorted(task.get_name() for task in asyncio.all_tasks(loop))
    unfinished = [name.removeprefix(CLOSING) for name in names if name.startswith(CLOSING)]
    log.error("stopped before everything had ended; nothing is lost", unfinished=", ".join(unfinished))
    _exit(code)


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    os._exit(code)


async def _run(settings: Settings) -> None:
    use_endpoint(settings.discord_api_base, settings.discord_gateway, settings.discord_cdn)
    engine = create_engine(settings, wanted_model(settings))
    async with create_bot(settings, engine) as bot:
        await log_in(bot, settings)
        # The objects that exist now, half a million and most of them libraries', live as long as the process; a full
        # garbage collection that visits them stops the event loop for 200 ms.
        gc.collect()
        gc.freeze()
        await stay_connected(bot, engine)


def create_engine(settings: Settings, model: str) -> ClipEngine:
    """model: as for CLIP_MODEL."""

    def load() -> Encoder:
        # Imports torch, which takes seconds: only now, on the inference thread, after what fails faster.
        from clipcore.runtime.torch import limit_threads

        limit_threads(usable_cores())
        return load_model(settings, model)

    limits, work_limits = decode_limits(settings)
    return ClipEngine(
        load,
        limits=limits,
        work_limits=work_limits,
        decode_workers=settings.decode_workers,
        max_queue=settings.max_queue,
        prompt_folder=platformdirs.user_cache_path("magpie"),
        close_seconds=3.0,
    )


def load_model(settings: Settings, model: str) -> clipcore.ClipModel:
    """Raises ModelUnavailable."""
    return clipcore.ClipModel.load(
        model, device=settings.clip_device, precision=settings.clip_precision, backend=settings.clip_backend
    )


def ask_for_model(settings: Settings, model: str) -> str:
    """Has this model take over, once it has been loaded here, and returns sentences about it. Raises StartupError."""
    try:
        card = load_model(settings, model).card
    except ModelUnavailable as error:
        raise StartupError(str(error)) from error
    _require_text(card)
    want_model(settings, model)
    return (
        f"{card.key} takes over: a running bot begins within {WISH_EVERY_S:.0f} seconds, a stopped one at its next "
        "start. The present model answers until every picture is encoded; the log tells how far that is. This holds "
        "until CLIP_MODEL is changed."
    )


@asynccontextmanager
async def create_bot(settings: Settings, engine: ClipEngine) -> AsyncIterator[MagpieBot]:
    """A bot that starts its services when it logs in. Closes the engine in the end. Raises StartupError."""
    async with AsyncExitStack() as stack:
        status: Status | None = None
        if settings.status_port is not None:  # served first and longest: startup and shutdown can be watched
            status = Status()
            await stack.enter_async_context(serve_status(settings.status_host, settings.status_port, status))
        stack.push_async_callback(closed, engine)
        database = await Database.open(settings.database_url, exclusive=True)
        stack.push_async_callback(closed, database)
        bot = await stack.enter_async_context(MagpieBot(partial(_set_up, settings, engine, database, status)))
        stack.push_async_callback(closed, bot)
        if status is not None:
            stack.callback(status.health.close)
        yield bot


async def log_in(bot: MagpieBot, settings: Settings) -> None:
    """Logs in, then sets up the bot: a wrong token should not cost the download of a model. Raises StartupError."""
    try:
        await bot.login(settings.discord_token.get_secret_value())
    except discord.LoginFailure:
        raise StartupError(_LOGIN_REFUSED) from None
    except NETWORK_ERRORS as error:
        if bot.application is not None:  # known before the set-up, so it is not the login that failed
            raise
        raise StartupError(
            f"Discord cannot be reached at {settings.discord_api_base} ({type(error).__name__}): "
            "check the network and DISCORD_API_BASE, then start again."
        ) from None


async def stay_connected(bot: MagpieBot, engine: ClipEngine) -> None:
    """Until it is cancelled. Raises StartupError for what the operator must change or know."""
    connecting = asyncio.create_task(_connect(bot), name="gateway")
    crash = asyncio.create_task(engine.executor.crashed(), name="watch the engine")
    try:
        await asyncio.wait({connecting, crash}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        connecting.cancel()
        crash.cancel()
        await asyncio.gather(connecting, crash, return_exceptions=True)
    if not crash.cancelled():
        raise StartupError(f"{crash.result()} Start the bot again; nothing is lost, and the log has the details.")
    connecting.result()


async def _connect(bot: MagpieBot) -> None:
    try:
        await bot.connect()
    except discord.PrivilegedIntentsRequired:
        raise StartupError(_NO_MESSAGE_CONTENT) from None
    except discord.ConnectionClosed as error:
        if error.code == _AUTHENTICATION_FAILED:
            raise StartupError(_LOGIN_REFUSED) from None
        raise StartupError(
            f"Discord closed the connection with code {error.code} and refuses new ones; "
            "see Gateway Close Event Codes in its developer documentation."
        ) from None
    except discord.GatewayNotFound:
        raise StartupError("Discord did not say how to connect to its gateway: start again in a moment.") from None


async def _set_up(
    settings: Settings, engine: ClipEngine, database: Database, status: Status | None, bot: MagpieBot
) -> None:
    """The bot's set-up hook: after the login, before the first connection."""
    wanted = await _load_model(engine)
    engines = await bot.exit_stack.enter_async_context(AsyncExitStack())  # closed after what uses them
    try:
        await database.prove_writable()  # loading the model took its time; another process may hold the database by now
        models = ModelStore(database)
        answering = await _answering_engine(settings, engine, models)
        if answering is engine:
            await models.answer_with(wanted)
        else:
            engines.push_async_callback(closed, answering)
        bot.services = services = Services(settings, answering, database, bot)
        bot.exit_stack.push_async_callback(services.close)
        await services.start(successor=None if answering is engine else engine)
    except StoreError as error:
        raise StartupError(str(error)) from error
    wishes = asyncio.create_task(_follow_wishes(settings, services, engines), name="follow wishes for another model")
    bot.exit_stack.push_async_callback(_cancel, wishes)
    database.look_for_damage()
    await add_cogs(bot)
    if status is not None:
        monitor = GatewayMonitor(bot)
        await bot.add_cog(monitor)
        status.watch(services.engine, monitor, database.prove_writable, services.images.count_pending)
        services.on_succeeded = status.watch_engine
    # Next to the database. Without this file the commands are registered once more.
    await bot.sync_commands(database.path.with_name(database.path.name + ".commands"))


async def _load_model(engine: ClipEngine) -> ModelCard:
    try:
        card = await engine.start()
    except ModelUnavailable as error:
        raise StartupError(str(error)) from error
    _require_text(card)
    log.info("model loaded", model=card.key)
    return card


async def _answering_engine(settings: Settings, wanted: ClipEngine, models: ModelStore) -> ClipEngine:
    """The engine of the model whose embeddings answer, which may be the wanted one; that one also where the former
    cannot be loaded any more.
    """
    stored = await models.answering()
    if stored is None or stored.key == wanted.card.key:
        return wanted
    engine = create_engine(settings, stored.id)
    try:
        card = await engine.start()
        if card.key == stored.key:
            return engine
        reason = f"it is {card.key} now"
    except ModelUnavailable as error:
        reason = str(error)
    await closed(engine)
    log.warning(
        "the former model is not there any more: until all images are encoded again, answers lack some",
        model=stored.key,
        reason=reason,
    )
    return wanted


async def _follow_wishes(settings: Settings, services: Services, engines: AsyncExitStack) -> NoReturn:
    """Has a model take over when `python -m bot reindex` asks for it. engines: closes what is loaded here."""
    wanted = wanted_model(settings)
    while True:
        await asyncio.sleep(WISH_EVERY_S)
        try:
            asked = await asyncio.to_thread(wanted_model, settings)
            if asked == wanted or services.succession.progress is not None:
                continue
            wanted, engine = asked, create_engine(settings, asked)
            engines.push_async_callback(closed, engine)
            card = await _load_model(engine)
        except StartupError as error:
            log.error("another model that was asked for cannot be used", reason=str(error))
            continue
        if card.key == services.engine.card.key:
            await closed(engine)
        else:
            services.succeed(engine)


async def _cancel(task: asyncio.Task[NoReturn]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _require_text(card: ModelCard) -> None:
    if not card.reads_text:
        raise StartupError(
            f"The model {card.id!r} cannot read text, so /find could not work: set CLIP_MODEL to one that can, such as "
            f"{DEFAULT_MODEL}, or to bundled for a trial."
        )
