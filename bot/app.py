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
from bot.monitoring.health import GatewayMonitor, Status
from bot.monitoring.http import serve_status
from bot.services import CLOSING, Services, closed, decode_limits
from bot.settings import Settings
from bot.store.database import Database
from clipcore.engine.engine import ClipEngine
from clipcore.errors import ModelUnavailable
from clipcore.models.known_models import DEFAULT_MODEL
from clipcore.runtime.cores import usable_cores
from clipcore.types import Encoder

log = get_logger(__name__)

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
    engine = create_engine(settings)
    async with create_bot(settings, engine) as bot:
        await log_in(bot, settings)
        # The objects that exist now, half a million and most of them libraries', live as long as the process; a full
        # garbage collection that visits them stops the event loop for 200 ms.
        gc.collect()
        gc.freeze()
        await stay_connected(bot, engine)


def create_engine(settings: Settings) -> ClipEngine:
    def load() -> Encoder:
        # Imports torch, which takes seconds: only now, on the inference thread, after what fails faster.
        from clipcore.runtime.torch import limit_threads

        limit_threads(usable_cores())
        return clipcore.ClipModel.load(
            settings.clip_model,
            device=settings.clip_device,
            precision=settings.clip_precision,
            backend=settings.clip_backend,
        )

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
    await _load_model(engine)
    try:
        await database.prove_writable()  # loading the model took its time; another process may hold the database by now
        bot.services = services = Services(settings, engine, database, bot)
        bot.exit_stack.push_async_callback(services.close)
        await services.start()
    except StoreError as error:
        raise StartupError(str(error)) from error
    database.look_for_damage()
    await add_cogs(bot)
    if status is not None:
        monitor = GatewayMonitor(bot)
        await bot.add_cog(monitor)
        status.watch(engine, monitor, database.prove_writable, services.images.count_pending)
    # Next to the database. Without this file the commands are registered once more.
    await bot.sync_commands(database.path.with_name(database.path.name + ".commands"))


async def _load_model(engine: ClipEngine) -> None:
    try:
        card = await engine.start()
    except ModelUnavailable as error:
        raise StartupError(str(error)) from error
    if not card.reads_text:
        raise StartupError(
            f"The model {card.id!r} cannot read text, so /find could not work: set CLIP_MODEL to one that can, such as "
            f"{DEFAULT_MODEL}, or to bundled for a trial."
        )
    log.info("model loaded", model=card.key)
