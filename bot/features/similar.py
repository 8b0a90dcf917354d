"""Look-alikes: /similar, the message menu, and the menu below an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, answer
from bot.discord_io.components import ActionMenu, Press, View
from bot.discord_io.permissions import MemberAudience, asker_of, audience_of
from bot.errors import MessageNotFound
from bot.features.paging import Asking
from bot.features.query_image import QueryImage
from bot.features.search import QUERY_LIMIT, private_cooldown
from bot.i18n import Texts, texts_for
from bot.models import RemoteImage

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MOST_CHOICES = 25  # Discord's limit on a menu
_GALLERY = 10  # and on a gallery


class SimilarCog(commands.Cog, name="similar"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        # A context menu cannot be declared in a class (discord.py raises TypeError), so it is added by hand.
        self._menu = app_commands.ContextMenu(name="Find similar pictures", callback=self._similar_menu)
        app_commands.guild_only(self._menu)

    async def cog_load(self) -> None:
        self._bot.tree.add_command(self._menu)
        self._bot.actions.add(like=self._more_like_this, similar_to=self._similar_to_chosen)

    async def cog_unload(self) -> None:
        self._bot.tree.remove_command(self._menu.name, type=self._menu.type)

    @app_commands.command(name="similar", description="Find pictures similar to one that you give")
    @app_commands.describe(image="The picture to compare with", message="A link to a message with a picture")
    @app_commands.guild_only()
    @private_cooldown
    async def similar(
        self,
        interaction: Interaction,
        image: discord.Attachment | None = None,
        message: app_commands.Range[str, 1, QUERY_LIMIT] | None = None,
    ) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        query_images, audience = self._bot.services.query_images, audience_of(interaction)
        if image is not None and message is None:
            query = await query_images.from_attachment(asker_of(interaction), image)
            await _answer(interaction, audience, query)
        elif message is not None and image is None:
            await self._about_message(interaction, audience, await query_images.linked(audience, message))
        else:
            await answer(interaction, texts_for(interaction.locale).query_image.exactly_one)

    @private_cooldown
    async def _similar_menu(self, interaction: Interaction, message: discord.Message) -> None:
        """Discord offers the menu only to those who see the message, and sends the message along."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        await self._about_message(interaction, audience_of(interaction), message)

    async def _about_message(
        self, interaction: Interaction, audience: MemberAudience, message: discord.Message
    ) -> None:
        """Where it has several pictures, the member chooses."""
        images = self._bot.services.query_images.images_of(message)
        if len(images) > 1:
            view = choice_view(images, message, interaction.user.id, texts_for(interaction.locale))
            await interaction.edit_original_response(view=view)
            return
        query = await self._bot.services.query_images.from_message(asker_of(interaction), message)
        await _answer(interaction, audience, query)

    async def _similar_to_chosen(self, press: Press) -> None:
        interaction, query_images = press.interaction, self._bot.services.query_images
        channel_id, message_id = map(int, press.arguments)
        await interaction.response.defer(ephemeral=True, thinking=True)
        audience = audience_of(interaction)
        message = await query_images.visible_message(audience, channel_id, message_id)
        chosen = next((one for one in query_images.images_of(message) if _choice(one) in press.values), None)
        if chosen is None:
            raise MessageNotFound
        query = await query_images.from_message(asker_of(interaction), message, chosen)
        await _answer(interaction, audience, query)

    async def _more_like_this(self, press: Press) -> None:
        """Images similar to one indexed image, which the member who presses it needs to see themselves."""
        [image_id] = press.values or press.arguments  # of the menu, or of a button of an earlier version
        await press.interaction.response.defer(ephemeral=True, thinking=True)
        audience = audience_of(press.interaction)
        query = await self._bot.services.query_images.from_image_id(audience, int(image_id))
        await _answer(press.interaction, audience, query)


def choice_view(images: Sequence[RemoteImage], message: discord.Message, owner: int, texts: Texts) -> View:
    """Asks which of a message's pictures is meant."""
    images = images[:_MOST_CHOICES]
    names = [texts.search.picture_number.format(number=number) for number in range(1, len(images) + 1)]
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay(texts.query_image.which_one))
    items = [
        discord.MediaGalleryItem(one.url, description=name, spoiler=one.spoiler)
        for one, name in zip(images, names, strict=True)
    ]
    for start in range(0, len(items), _GALLERY):
        view.add_item(discord.ui.MediaGallery(*items[start : start + _GALLERY]))
    options = [discord.SelectOption(label=name, value=_choice(one)) for one, name in zip(images, names, strict=True)]
    menu = ActionMenu(
        "similar_to", message.channel.id, message.id, owner=owner, options=options, placeholder=texts.query_image.choose
    )
    view.add_item(discord.ui.ActionRow(menu))
    return view


def _choice(image: RemoteImage) -> str:
    return f"{image.source}-{image.attachment_id}"


async def _answer(interaction: Interaction, audience: MemberAudience, query: QueryImage) -> None:
    """Answers a deferred interaction."""
    services, texts = interaction.client.services, texts_for(interaction.locale)
    result = await services.search.ask(audience, query.question)
    guild_id, member_id = asker_of(interaction)
    asking = Asking(interaction.id, guild_id, member_id, query.question, f"**{texts.search.similar}**", texts)
    await interaction.edit_original_response(view=services.pages.first_page(asking, result))
