"""MagpieBot: discord.py as Magpie configures it, and the one place where errors become sentences for members."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import discord
import yarl
from discord import app_commands
from discord.ext import commands
from discord.gateway import DiscordWebSocket
from discord.http import Route
from structlog.contextvars import bind_contextvars

from bot.discord_io.messages import NETWORK_ERRORS
from bot.errors import (
    ImageForbidden,
    ImageGone,
    ImageTooLarge,
    ImageUnreachable,
    InvalidMessageLink,
    MessageNotFound,
    MessageWithoutImage,
    NotAReply,
    StoreError,
    TookTooLong,
)
from bot.i18n import Texts, command_text, texts_for
from bot.logging import get_logger, outline
from bot.monitoring.metrics import COMMAND_SECONDS, COMMANDS_FAILED
from clipcore.errors import EncodingFailed, EngineClosed, ImageRejected, QueueFull, RejectReason

if TYPE_CHECKING:
    from bot.services import Services

log = get_logger(__name__)

T = TypeVar("T")
Interaction = discord.Interaction["MagpieBot"]

# Discord asks for a heartbeat every 41.25 s. discord.py reconnects at the second one in a row that goes unanswered.
HEARTBEAT_TIMEOUT_S = 75.0

# Discord accepts an answer for fifteen minutes, and nobody waits that long. EXCUSE_S: for the sentence that says so.
LONGEST_ANSWER_S, EXCUSE_S = 50.0, 10.0
# Discord gives suggestions three seconds.
LONGEST_SUGGESTION_S = 2.0

_BEGAN = "magpie_began"

# Magpie has no voice features; discord.py need not warn that their libraries are missing.
discord.VoiceClient.warn_nacl = False
discord.VoiceClient.warn_dave = False


def use_endpoint(api_base: str, gateway: str) -> None:
    """Points discord.py at this REST base and gateway, for the whole process: call it before creating a bot."""
    Route.BASE = api_base.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)


def intents() -> discord.Intents:
    """Guilds with their channels and threads, and messages with their content. Nothing about members or presence."""
    chosen = discord.Intents.none()
    chosen.guilds = chosen.guild_messages = chosen.message_content = True
    return chosen


class MagpieBot(commands.AutoShardedBot):
    """discord.py's cache keeps channels and roles, but no messages.

    set_up: runs after the login and before the first connection; it sets `services`, whose shutdown it puts on
    `exit_stack`, and adds the cogs.
    """

    services: Services

    def __init__(self, set_up: Callable[[MagpieBot], Awaitable[None]]) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            intents=intents(),
            help_command=None,
            max_messages=None,
            allowed_mentions=discord.AllowedMentions.none(),
            chunk_guilds_at_startup=False,
            # discord.py waits two seconds after the last guild before it is ready; nothing here needs all of them.
            guild_ready_timeout=0.5,
            heartbeat_timeout=HEARTBEAT_TIMEOUT_S,
            tree_cls=MagpieTree,
        )
        self._set_up = set_up
        self.exit_stack = AsyncExitStack()

    @property
    def own_id(self) -> int:
        """The bot's user id, known after the login."""
        if self.user is None:
            raise RuntimeError("the bot has not logged in yet")
        return self.user.id

    async def setup_hook(self) -> None:
        await self._set_up(self)

    async def launch_shard(self, gateway: yarl.URL, shard_id: int, *, initial: bool = False) -> None:
        """Connects to DISCORD_GATEWAY, also where GET /gateway/bot names another one."""
        await super().launch_shard(DiscordWebSocket.DEFAULT_GATEWAY, shard_id, initial=initial)

    async def close(self) -> None:
        """Stops receiving events, then the services, then discord.py: the services may use it until they stop."""
        for name in tuple(self.cogs):
            await self.remove_cog(name)
        await asyncio.gather(*(shard.disconnect() for shard in self.shards.values()), return_exceptions=True)
        try:
            await self.exit_stack.aclose()
        finally:
            await super().close()

    async def on_app_command_completion(
        self, interaction: Interaction, command: app_commands.Command[Any, ..., Any] | app_commands.ContextMenu
    ) -> None:
        _observe_duration(interaction)

    async def on_message(self, message: discord.Message, /) -> None:
        """Overrides discord.py's handler for text commands, which Magpie does not have."""

    async def on_error(self, event_method: str, /, *args: object, **kwargs: object) -> None:
        error = sys.exception()
        log.error("event handler failed", event_method=event_method, error=error and outline(error))

    async def sync_commands(self, fingerprint_file: Path) -> bool:
        """Registers the commands if they differ from those registered last, and returns whether it did.

        Discord limits registrations a day, and each makes clients reload. The file holds a hash of the last ones.
        """
        translator = CommandTranslator()
        await self.tree.set_translator(translator)
        fingerprint = (await self._commands_fingerprint(translator)).encode()
        with suppress(OSError):  # the commands are registered once more
            if await asyncio.to_thread(fingerprint_file.read_bytes) == fingerprint:
                return False
        try:
            await self.tree.sync()
        except NETWORK_ERRORS as error:
            # The commands of the last start still work; search and indexing need not wait for the next attempt.
            status = f" {error.status} {error.code}" if isinstance(error, discord.HTTPException) else ""
            log.error("commands could not be registered", error=f"{type(error).__name__}{status}")
            return False
        log.info("commands registered")
        try:
            await asyncio.to_thread(_write_private, fingerprint_file, fingerprint)
        except OSError as error:
            log.warning("the commands are registered at every start: their file is unusable", error=str(error))
        return True

    async def _commands_fingerprint(self, translator: CommandTranslator) -> str:
        payloads = [
            await command.get_translated_payload(self.tree, translator)
            for command in sorted(self.tree.get_commands(), key=lambda command: command.name)
        ]
        subject = [Route.BASE, self.application_id, payloads]
        return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()


class CommandTranslator(app_commands.Translator):
    async def translate(
        self, string: app_commands.locale_str, locale: discord.Locale, context: app_commands.TranslationContextTypes
    ) -> str | None:
        return command_text(string.message, locale)


class MagpieTree(app_commands.CommandTree["MagpieBot"]):
    async def _call(self, interaction: Interaction) -> None:
        """Everything that discord.py does with a command runs in here, in a task of its own."""
        interaction.extras[_BEGAN] = perf_counter()
        if interaction.type is not discord.InteractionType.autocomplete:
            await answered(interaction, super()._call(interaction))
            return
        try:
            await in_time(super()._call(interaction), LONGEST_SUGGESTION_S)
        except TookTooLong:
            with suppress(TookTooLong, *NETWORK_ERRORS):
                await in_time(interaction.response.autocomplete([]), LONGEST_SUGGESTION_S)

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError) -> None:
        cause = getattr(error, "original", error)
        await answer_error(interaction, cause)
        if cause is not error and refusal(cause, texts_for(interaction.locale)) is not None:
            _observe_duration(interaction)  # the command ended with a refusal, which is no failure


def _observe_duration(interaction: Interaction) -> None:
    if interaction.command is not None:
        duration = perf_counter() - interaction.extras[_BEGAN]
        COMMAND_SECONDS.labels(interaction.command.qualified_name).observe(duration)


async def answered(interaction: Interaction, work: Coroutine[Any, Any, object]) -> None:
    """Runs a command or a button's callback: whatever it raises or waits for, the member gets an answer."""
    bind_contextvars(interaction_id=interaction.id)
    try:
        await in_time(work, LONGEST_ANSWER_S)
    except Exception as error:
        with suppress(TookTooLong):  # Discord does not answer either
            await in_time(answer_error(interaction, error), EXCUSE_S)


_late: set[asyncio.Task[Any]] = set()


async def in_time(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Raises TookTooLong, and cancels the work. Its end is not waited for: a transaction of the store, for one, is not
    interrupted.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        log.error("an answer takes too long and is given up", seconds=seconds)
        raise TookTooLong
    finally:
        if not task.done():
            task.cancel()
            _late.add(task)
            task.add_done_callback(_end_late)


def _end_late(task: asyncio.Task[Any]) -> None:
    _late.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.info("what took too long has failed", error=type(error).__name__)


async def answer_error(interaction: Interaction, error: Exception) -> None:
    command = interaction.command.qualified_name if interaction.command is not None else None
    await answer(interaction, excuse(error, texts_for(interaction.locale), interaction.id, command))


def excuse(error: Exception, texts: Texts, request_id: int, command: str | None = None) -> str:
    """Tells why a command, button or mention failed. Logs and counts what is not the member's to mend."""
    sentence = refusal(error, texts)
    if sentence is None or isinstance(error, app_commands.TransformerError | StoreError | TookTooLong):
        log.error("command failed", request_id=request_id, error=outline(error))
        if command is not None:
            COMMANDS_FAILED.labels(command).inc()
    return sentence or texts.failed.format(id=request_id)


def refusal(error: Exception, texts: Texts) -> str | None:
    """What the member can do about this error, in one sentence. None: it is a failure of the bot."""
    match error:
        case app_commands.MissingPermissions():
            return texts.needs_manage_server
        case app_commands.NoPrivateMessage():
            return texts.only_in_servers
        case app_commands.CommandOnCooldown(retry_after=seconds):
            return texts.on_cooldown.format(seconds=max(1, round(seconds)))
        case app_commands.TransformerError(type=discord.AppCommandOptionType.channel):
            return texts.unknown_channel
        case app_commands.TransformerError():
            return texts.invalid_option
        case QueueFull() | EngineClosed():
            return texts.busy
        case StoreError():
            return texts.store_failed
        case TookTooLong():
            return texts.took_too_long
        case InvalidMessageLink():
            return texts.not_a_message_link
        case NotAReply():
            return texts.reply_to_an_image
        case MessageWithoutImage():
            return texts.message_without_image
        case MessageNotFound() | ImageGone() | ImageForbidden():
            return texts.message_not_found
        case ImageUnreachable():
            return texts.image_unreachable
        case ImageTooLarge(max_bytes=max_bytes):
            return texts.image_too_large.format(megabytes=max(1, max_bytes >> 20))
        case ImageRejected(reason=RejectReason.TOO_MANY_PIXELS, limit=int(pixels)):
            return texts.image_too_many_pixels.format(pixels=f"{pixels:,}")
        case ImageRejected() | EncodingFailed():
            return texts.image_unusable
    return None


async def answer(interaction: Interaction, sentence: str) -> None:
    """Shows one sentence to the member alone, whatever the state of the interaction. An expired one is only logged."""
    view = sentence_view(sentence)
    try:
        if interaction.response.type is discord.InteractionResponseType.deferred_channel_message:
            await interaction.edit_original_response(view=view)
        elif interaction.response.is_done():
            await interaction.followup.send(view=view, ephemeral=True)
        else:
            await interaction.response.send_message(view=view, ephemeral=True)
    except NETWORK_ERRORS as error:
        log.info("the answer did not arrive", error=type(error).__name__, status=getattr(error, "status", None))


def sentence_view(sentence: str) -> discord.ui.LayoutView:
    """One sentence in the layout of search results: a message cannot change between the two kinds of layout."""
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(sentence))
    return view


def _write_private(path: Path, data: bytes) -> None:
    """Private also where an earlier version created the file."""
    path.touch(0o600)
    path.chmod(0o600)
    path.write_bytes(data)
