"""Answers to interactions, and the one place where errors become sentences for members."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import discord
from discord import app_commands
from discord.ext import commands
from structlog.contextvars import bind_contextvars

from bot.discord_io.messages import NETWORK_ERRORS
from bot.errors import (
    ChannelNotFound,
    ExportTooLarge,
    ImageForbidden,
    ImageGone,
    ImageTooLarge,
    ImageUnreachable,
    InvalidMessageLink,
    MayNotShare,
    MessageNotFound,
    MessageWithoutImage,
    NotAReply,
    NotYours,
    StoreError,
    TookTooLong,
    TooManyTags,
    UnreadableDate,
)
from bot.i18n import Texts, texts_for
from bot.logging import get_logger, outline
from bot.monitoring.metrics import COMMANDS_FAILED
from clipcore.errors import EncodingFailed, EngineClosed, ImageRejected, QueueFull, RejectReason

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

log = get_logger(__name__)

T = TypeVar("T")
Interaction: TypeAlias = discord.Interaction["MagpieBot"]

# Discord accepts an answer for fifteen minutes, and nobody waits that long. EXCUSE_S: for the sentence that says so.
LONGEST_ANSWER_S, EXCUSE_S = 50.0, 10.0


class DeferringCog(commands.Cog):
    """Its commands answer the member alone. Each is acknowledged before it runs: a locked store takes longer than the
    three seconds that Discord waits.
    """

    async def interaction_check(self, interaction: Interaction) -> bool:  # type: ignore[override]
        await interaction.response.defer(ephemeral=True, thinking=True)
        return True


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
    return sentence or texts.errors.failed.format(id=request_id)


def refusal(error: Exception, texts: Texts) -> str | None:
    """What the member can do about this error, in one sentence. None: it is a failure of the bot."""
    match error:
        case app_commands.MissingPermissions(missing_permissions=missing):
            return texts.errors.needs_permission.format(permission=permission_names(missing, texts))
        case ExportTooLarge():
            return texts.privacy.export_too_large
        case TooManyTags():
            return texts.image_tags.too_many
        case NotYours():
            return texts.errors.not_yours
        case MayNotShare():
            return texts.search.may_not_share
        case UnreadableDate(typed=typed):
            return texts.search.unreadable_date.format(typed=typed)
        case app_commands.NoPrivateMessage():
            return texts.errors.only_in_servers
        case app_commands.CommandOnCooldown(retry_after=seconds):
            return texts.errors.on_cooldown.format(seconds=max(1, round(seconds)))
        case ChannelNotFound() | app_commands.TransformerError(type=discord.AppCommandOptionType.channel):
            return texts.errors.unknown_channel
        case app_commands.TransformerError():
            return texts.errors.invalid_option
        case QueueFull() | EngineClosed():
            return texts.errors.busy
        case StoreError():
            return texts.errors.store_failed
        case TookTooLong():
            return texts.errors.took_too_long
        case InvalidMessageLink():
            return texts.query_image.not_a_message_link
        case NotAReply():
            return texts.query_image.reply_to_an_image
        case MessageWithoutImage():
            return texts.query_image.message_without_image
        case MessageNotFound() | ImageGone() | ImageForbidden():
            return texts.query_image.message_not_found
        case ImageUnreachable():
            return texts.query_image.unreachable
        case ImageTooLarge(max_bytes=max_bytes):
            return texts.query_image.too_large.format(megabytes=max(1, max_bytes >> 20))
        case ImageRejected(reason=RejectReason.TOO_MANY_PIXELS, limit=int(pixels)):
            return texts.query_image.too_many_pixels.format(pixels=f"{pixels:,}")
        case ImageRejected() | EncodingFailed():
            return texts.query_image.unusable
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


async def answer_with_file(interaction: Interaction, words: str, file: discord.File) -> None:
    """Answers a deferred interaction."""
    view = sentence_view(words)
    view.add_item(discord.ui.File(file))
    await interaction.edit_original_response(view=view, attachments=[file])


def sentence_view(sentence: str) -> discord.ui.LayoutView:
    """One sentence in the layout of search results: a message cannot change between the two kinds of layout."""
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(sentence))
    return view


def permission_names(names: Sequence[str], texts: Texts) -> str:
    """As Discord calls them in this language."""
    return ", ".join(texts.errors.permissions.get(name, name) for name in names)
