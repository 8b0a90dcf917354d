"""MagpieBot: discord.py set up for what Magpie does, and the seam that points it at another Discord."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
from pathlib import Path

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.ext import commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.i18n import command_text, texts_for
from bot.logging import outline

log = logging.getLogger(__name__)

Interaction = discord.Interaction["MagpieBot"]

# Magpie has no voice; the library need not miss its voice packages in the log.
discord.VoiceClient.warn_nacl = False
discord.VoiceClient.warn_dave = False


def use_endpoint(api_base: str, gateway: str) -> None:
    """Points discord.py at this REST base and gateway. It keeps both per process: call it before a bot."""
    Route.BASE = api_base
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)


def intents() -> discord.Intents:
    """Servers with their channels and threads, messages, and what is in messages. Nothing about members or presence."""
    chosen = discord.Intents.none()
    chosen.guilds = True
    chosen.guild_messages = True
    chosen.message_content = True
    return chosen


class CommandTranslator(app_commands.Translator):
    """Names and descriptions of commands in the languages that Magpie speaks besides English."""

    async def translate(
        self, string: app_commands.locale_str, locale: discord.Locale, context: app_commands.TranslationContextTypes
    ) -> str | None:
        return command_text(string.message, locale)


class MagpieTree(app_commands.CommandTree["MagpieBot"]):
    """Answers a failed command with one sentence, and logs the failure by the interaction's id."""

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError) -> None:
        texts = texts_for(interaction.locale)
        if isinstance(error, app_commands.MissingPermissions):
            await apologise(interaction, texts.needs_manage_server)
            return
        if isinstance(error, app_commands.NoPrivateMessage):
            await apologise(interaction, texts.only_in_servers)
            return
        if isinstance(error, app_commands.CommandOnCooldown):
            await apologise(interaction, texts.too_fast.format(seconds=max(1, round(error.retry_after))))
            return
        cause = getattr(error, "original", error)
        log.error("a command failed: %s", outline(cause), extra={"interaction_id": interaction.id})
        interaction.client.dispatch("app_command_failed", interaction)
        if isinstance(error, app_commands.TransformerError):
            of_channel = error.type is discord.AppCommandOptionType.channel
            await apologise(interaction, texts.unknown_channel if of_channel else texts.unknown_option)
            return
        await apologise(interaction, texts.went_wrong.format(id=interaction.id))


async def apologise(interaction: Interaction, sentence: str) -> None:
    """Says one sentence to the person who asked, whatever the interaction's state. Too late is too late."""
    try:
        if interaction.response.is_done():
            await interaction.followup.send(sentence, ephemeral=True)
        else:
            await interaction.response.send_message(sentence, ephemeral=True)
    except discord.HTTPException as error:
        log.info("an answer came too late: %s", error.status, extra={"interaction_id": interaction.id})


class MagpieBot(commands.Bot):
    """The bot. It remembers ids, not objects; discord.py's cache keeps channels and roles, and no messages."""

    def __init__(self) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            intents=intents(),
            help_command=None,
            max_messages=None,
            allowed_mentions=discord.AllowedMentions.none(),
            chunk_guilds_at_startup=False,
            # discord.py would be ready two seconds after the last server came; nothing here needs them all by then.
            guild_ready_timeout=0.5,
            heartbeat_timeout=120.0,
            tree_cls=MagpieTree,
        )

    @property
    def own_id(self) -> int:
        """The bot's user id. Known from the login on."""
        if self.user is None:
            raise RuntimeError("the bot has not logged in yet")
        return self.user.id

    async def on_message(self, message: discord.Message, /) -> None:
        """Text commands are not our way; a mention is read by the search cog."""

    async def on_error(self, event_method: str, /, *args: object, **kwargs: object) -> None:
        """Events must survive one another. A button's press is an event too, and its presser is told."""
        pressed = next((one for one in args if isinstance(one, discord.Interaction)), None)
        ids = {"interaction_id": pressed.id} if pressed is not None else {}
        failure = sys.exception()
        log.error("handling an event failed: %s: %s", event_method, failure and outline(failure), extra=ids)
        if pressed is not None:
            await apologise(pressed, texts_for(pressed.locale).went_wrong.format(id=pressed.id))

    async def disconnect(self) -> None:
        """No event is told to anybody from here on. What is under way may go on asking Discord until `close`."""
        for name in tuple(self.cogs):
            await self.remove_cog(name)
        if self.ws is not None and self.ws.open:
            await self.ws.close(code=1000)

    async def sync_commands(self, remembered: Path) -> bool:
        """Registers the commands if they differ from those registered last. remembered: a file with their hash.

        Discord allows few registrations a day, and a needless one makes clients reload. Gives whether it registered.
        """
        await self.tree.set_translator(CommandTranslator())
        fingerprint = await self._commands_fingerprint()
        if await asyncio.to_thread(_read_text, remembered) == fingerprint:
            return False
        try:
            await self.tree.sync()
            await asyncio.to_thread(_write_private, remembered, fingerprint)
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
            # The commands of the last start still stand; finding and remembering need not wait for the next one.
            refusal = f" {error.status} {error.code}" if isinstance(error, discord.HTTPException) else ""
            log.error("commands could not be registered: %s%s", type(error).__name__, refusal)
            return False
        log.info("commands registered")
        return True

    async def _commands_fingerprint(self) -> str:
        translator = self.tree.translator
        if translator is None:
            raise RuntimeError("set the translator first")
        commands_now = [
            await command.get_translated_payload(self.tree, translator)
            for command in sorted(self.tree.get_commands(), key=lambda command: command.name)
        ]
        subject = [Route.BASE, self.application_id, commands_now]
        return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)  # also where an earlier version made it for all to read
    path.write_text(text, "utf-8")


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
