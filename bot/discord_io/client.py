"""MagpieBot: discord.py as Magpie configures it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import discord
import yarl
from discord import app_commands
from discord.ext import commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.discord_io.answers import Interaction, answer_error, answered, in_time, refusal
from bot.discord_io.components import ActionButton, ActionChannels, ActionMenu, Actions
from bot.discord_io.messages import NETWORK_ERRORS
from bot.errors import TookTooLong
from bot.i18n import command_text, texts_for
from bot.logging import get_logger, outline
from bot.monitoring.metrics import COMMAND_SECONDS

if TYPE_CHECKING:
    from bot.services import Services

log = get_logger(__name__)


# Discord asks for a heartbeat every 41.25 s. discord.py reconnects at the second one in a row that goes unanswered.
HEARTBEAT_TIMEOUT_S = 75.0

# Discord gives suggestions three seconds.
LONGEST_SUGGESTION_S = 2.0

_BEGAN = "magpie_began"

# Magpie has no voice features; discord.py need not warn that their libraries are missing.
discord.VoiceClient.warn_nacl = False
discord.VoiceClient.warn_dave = False


def use_endpoint(api_base: str, gateway: str, cdn: str) -> None:
    """Points discord.py at this REST base, gateway and CDN, for the whole process: call it before creating a bot.

    discord.py makes the URLs of stickers and custom emojis itself, on the CDN; attachments come with their URLs.
    """
    Route.BASE = api_base.rstrip("/")
    discord.Asset.BASE = cdn.rstrip("/")
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
        self.actions = Actions()
        self.add_dynamic_items(ActionButton, ActionMenu, ActionChannels)
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


def _write_private(path: Path, data: bytes) -> None:
    """Private also where an earlier version created the file."""
    path.touch(0o600)
    path.chmod(0o600)
    path.write_bytes(data)
