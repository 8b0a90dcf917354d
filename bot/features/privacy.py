"""/privacy: what is kept and why; and a member's own data: to export, to delete, to opt out of all of it."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, answer_with_file, sentence_view
from bot.discord_io.components import ActionButton, Press, View
from bot.discord_io.permissions import guild_id_of
from bot.errors import ExportTooLarge, StoreError
from bot.i18n import Texts, texts_for
from bot.models import Image, utc_now
from bot.store.members import Kept

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

PAGE = 1_000
_FILE = "my-pictures"


class PrivacyCog(commands.Cog, name="privacy"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        self._bot.actions.add(
            privacy=self._show_again,
            privacy_export=self._export,
            privacy_delete=self._ask_delete,
            privacy_leave=self._ask_opt_out,
            forget=self._delete,
            opt_out=self._opt_out,
            opt_in=self._opt_in,
        )

    @app_commands.command(name="privacy", description="What Magpie keeps of you; export or delete it, or opt out")
    @app_commands.guild_only()
    async def privacy(self, interaction: Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        await interaction.edit_original_response(view=await self._view(interaction))

    async def _show_again(self, press: Press) -> None:
        await press.interaction.response.defer()
        await press.interaction.edit_original_response(view=await self._view(press.interaction))

    async def _view(self, interaction: Interaction) -> View:
        kept = None
        with suppress(StoreError):  # whoever wants to be forgotten need not wait for the database
            kept = await self._bot.services.members.kept(guild_id_of(interaction), interaction.user.id)
        return privacy_view(kept, interaction.user.id, texts_for(interaction.locale))

    async def _export(self, press: Press) -> None:
        """Answers with a file, and leaves the explanation where it is."""
        interaction = press.interaction
        await interaction.response.defer(ephemeral=True, thinking=True)
        described: list[dict[str, Any]] = []
        after = 0
        while page := await self._bot.services.members.images_of(interaction.user.id, after=after, limit=PAGE):
            ids = [image.id for image in page]
            texts = await self._bot.services.image_texts.of_images(ids)
            removed = await self._bot.services.tags.removed_from(ids)
            described += [describe(image, texts.get(image.id), removed.get(image.id, [])) for image in page]
            after = page[-1].id
        about = {"member": str(interaction.user.id), "made": utc_now().isoformat(), "pictures": described}
        file = await asyncio.to_thread(_file_of, about, interaction.filesize_limit)
        sentence = texts_for(interaction.locale).privacy.exported.format(len(described))
        await answer_with_file(interaction, sentence, file)

    async def _ask_delete(self, press: Press) -> None:
        texts = texts_for(press.interaction.locale).privacy
        await self._ask(press.interaction, texts.delete_ask, "forget", texts.delete)

    async def _ask_opt_out(self, press: Press) -> None:
        texts = texts_for(press.interaction.locale).privacy
        await self._ask(press.interaction, texts.opt_out_ask, "opt_out", texts.opt_out)

    async def _ask(self, interaction: Interaction, question: str, action: str, label: str) -> None:
        owner, back = interaction.user.id, texts_for(interaction.locale).privacy.back
        view = sentence_view(question)
        view.add_item(
            discord.ui.ActionRow(
                ActionButton(action, owner=owner, label=label, style=discord.ButtonStyle.danger),
                ActionButton("privacy", owner=owner, label=back),
            )
        )
        await interaction.response.edit_message(view=view)

    async def _delete(self, press: Press) -> None:
        interaction, texts = press.interaction, texts_for(press.interaction.locale).privacy
        await interaction.response.defer()
        # "Up to now" by Discord's clock, which made the interaction's id: this machine's clock may be wrong.
        forgotten = await self._bot.services.registry.forget_author(
            guild_id_of(interaction), interaction.user.id, up_to_message=interaction.id
        )
        sentence = texts.waits if forgotten is None else texts.deleted.format(len(forgotten))
        await interaction.edit_original_response(view=sentence_view(sentence))

    async def _opt_out(self, press: Press) -> None:
        interaction, texts = press.interaction, texts_for(press.interaction.locale).privacy
        await interaction.response.defer()
        forgotten = await self._bot.services.registry.opt_out(interaction.user.id)
        sentence = texts.waits if forgotten is None else texts.opted_out_now.format(len(forgotten))
        await interaction.edit_original_response(view=sentence_view(sentence))

    async def _opt_in(self, press: Press) -> None:
        interaction = press.interaction
        await interaction.response.defer()
        await self._bot.services.registry.opt_in(interaction.user.id, until=interaction.id)
        await interaction.edit_original_response(view=sentence_view(texts_for(interaction.locale).privacy.opted_in_now))


def privacy_view(kept: Kept | None, member_id: int, texts: Texts) -> View:
    """kept: None where the database does not tell."""
    wording = texts.privacy
    view = sentence_view(wording.explained)
    buttons = [ActionButton("privacy_export", owner=member_id, label=wording.export)]
    if kept is not None and kept.opted_out:
        view.add_item(discord.ui.TextDisplay(wording.opted_out))
        buttons.append(ActionButton("opt_in", owner=member_id, label=wording.opt_in))
    else:
        if kept is not None:
            here, everywhere = wording.kept_here.format(kept.here), wording.kept_everywhere.format(kept.everywhere)
            view.add_item(discord.ui.TextDisplay(f"{here} {everywhere}"))
        danger = discord.ButtonStyle.danger
        buttons.append(ActionButton("privacy_delete", owner=member_id, label=wording.delete, style=danger))
        buttons.append(ActionButton("privacy_leave", owner=member_id, label=wording.opt_out, style=danger))
    view.add_item(discord.ui.ActionRow(*buttons))
    return view


def describe(image: Image, text: str | None, removed_tags: Sequence[str]) -> dict[str, Any]:
    """All that is kept of an image but the embedding, which means nothing without the model. Ids are text, as they are
    in Discord's own exports: as numbers, many programs would round them. text: the words that were recognized in it.
    removed_tags: labels that members removed from it.
    """
    ref, channel = image.ref, image.ref.channel
    return {
        "server": str(channel.guild_id),
        "channel": str(channel.channel_id),
        "thread_of": None if channel.parent_id is None else str(channel.parent_id),
        "message": str(ref.message_id),
        "link": ref.message_url,
        "file": str(ref.attachment_id),
        "carried_as": ref.source.value,
        "posted": ref.created_at.isoformat(),
        "spoiler": ref.spoiler,
        "state": image.state.value,
        "reason": image.reason,
        "width": image.width,
        "height": image.height,
        "file_hash": image.content_hash,
        "words": text,
        "picture_hash": image.perceptual_hash,
        "reposts_allowed": image.reposts_allowed,
        "tags": [
            {"label": tag.label, "probability": tag.probability, "confirmed": tag.confirmed} for tag in image.tags
        ],
        "removed_tags": list(removed_tags),
    }


def _file_of(about: dict[str, Any], max_bytes: int) -> discord.File:
    """As JSON; compressed where that is too large to send. Raises ExportTooLarge."""
    data, name = json.dumps(about, ensure_ascii=False, indent=1).encode(), f"{_FILE}.json"
    if len(data) > max_bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
        data, name = packed.getvalue(), f"{_FILE}.zip"
    if len(data) > max_bytes:
        raise ExportTooLarge
    return discord.File(io.BytesIO(data), name)
