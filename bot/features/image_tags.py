"""Show tags: a picture's tags with their scores, which its poster may remove, and moderators confirm and add, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.answers import Interaction, answered, sentence_view
from bot.discord_io.components import ActionButton, ActionMenu, Press, View
from bot.discord_io.permissions import audience_of, may_moderate
from bot.errors import MessageNotFound
from bot.features.formatting import TagFormatter, for_reader, plain, visible
from bot.features.labels import refused
from bot.i18n import CHINESE, Texts, texts_for
from bot.indexing.label_edits import own_label
from bot.indexing.tag_scores import tag_score
from bot.label_names import MAX_LABEL_CHARACTERS, label_key
from bot.models import Image, RemoteImage, TagDecision

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MAX_SHOWN = 25  # Discord's limit on a menu: tags, of which members may add more, or pictures of a message
_MODAL_S = 600.0


@dataclass(frozen=True, slots=True)
class TagRights:
    """What a member may do with the tags of one picture."""

    remove: bool = False
    add: bool = False


@dataclass(frozen=True, slots=True)
class TagsShown:
    """siblings: ids of all searchable images of the message, in order. threshold: the model's."""

    image: Image
    remote: RemoteImage
    siblings: tuple[int, ...]
    rights: TagRights
    threshold: float


class ImageTagsCog(commands.Cog, name="image tags"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        self._menu = app_commands.ContextMenu(name="Show tags", callback=self._show_of_message)
        app_commands.guild_only(self._menu)

    async def cog_load(self) -> None:
        self._bot.tree.add_command(self._menu)
        self._bot.actions.add(
            tags_turn=self._turn,
            tags_remove=partial(self._decide, kept=False),
            tags_confirm=partial(self._decide, kept=True),
            tags_add=self._ask,
        )

    async def cog_unload(self) -> None:
        self._bot.tree.remove_command(self._menu.name, type=self._menu.type)

    async def _show_of_message(self, interaction: Interaction, message: discord.Message) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        stored = [image.id for image in await self._bot.services.images.by_message(message.id)]
        known = sorted(await self._bot.services.images.searchable(stored))
        if not known:
            texts = texts_for(interaction.locale).image_tags
            await interaction.edit_original_response(view=sentence_view(texts.not_indexed))
            return
        await interaction.edit_original_response(view=await self._view(interaction, known[0]))

    async def _turn(self, press: Press) -> None:
        """To another picture of the message."""
        await press.interaction.response.defer()
        view = await self._view(press.interaction, int(press.values[0]))
        await press.interaction.edit_original_response(view=view)

    async def _decide(self, press: Press, *, kept: bool) -> None:
        await press.interaction.response.defer()
        await self._apply(press.interaction, int(press.arguments[0]), press.values, kept=kept)

    async def _ask(self, press: Press) -> None:
        modal = AddTag(self, int(press.arguments[0]), texts_for(press.interaction.locale))
        await press.interaction.response.send_modal(modal)

    async def add(self, interaction: Interaction, image_id: int, text: str) -> None:
        """A tag by any name that its label has."""
        await interaction.response.defer()
        async with refused(interaction):
            written = own_label(text).name
            image = await self._visible(interaction, image_id)
            in_force = await self._bot.services.tagger.labels_in(image.ref.channel)
            own = next((one for one in in_force if label_key(one.name) == label_key(written)), None)
            name = own.name if own is not None else self._bot.services.tag_formatter.label_of(written)
            await self._apply(interaction, image_id, [name], kept=True, language=own.language if own else None)

    async def _apply(
        self, interaction: Interaction, image_id: int, names: Sequence[str], *, kept: bool, language: str | None = None
    ) -> None:
        """Rights are checked afresh: a member may have lost them since the menu was made."""
        services = self._bot.services
        image = await self._visible(interaction, image_id)
        rights = rights_of(interaction, image)
        if not (rights.add if kept else rights.remove):
            raise app_commands.MissingPermissions(["manage_messages"])
        languages = {label_key(tag.label): tag.language for tag in image.tags}
        decisions = [TagDecision(name, kept, language or languages.get(label_key(name))) for name in names]
        if await services.tags.decide(image_id, decisions) is None:
            raise MessageNotFound
        services.announcer.correct(image)
        await interaction.edit_original_response(view=await self._view(interaction, image_id))

    async def _visible(self, interaction: Interaction, image_id: int) -> Image:
        services = self._bot.services
        image = await services.search.visible_image(audience_of(interaction), image_id)
        if image is None or image_id not in await services.images.searchable([image_id]):
            raise MessageNotFound
        return image

    async def _view(self, interaction: Interaction, image_id: int) -> View:
        services = self._bot.services
        image = await self._visible(interaction, image_id)
        carried = await services.messages.look_up(image.ref)
        remote = next((one for one in carried if one.key == image.ref.key), None)
        if remote is None:
            raise MessageNotFound
        stored = [one.id for one in await services.images.by_message(image.ref.message_id)]
        shown = TagsShown(
            image,
            remote,
            tuple(sorted(await services.images.searchable(stored))),
            rights_of(interaction, image),
            services.engine.calibration.tag_threshold,
        )
        return tags_view(shown, services.tag_formatter, texts_for(interaction.locale), owner=interaction.user.id)


class AddTag(discord.ui.Modal):
    def __init__(self, cog: ImageTagsCog, image_id: int, texts: Texts) -> None:
        super().__init__(title=texts.image_tags.add, timeout=_MODAL_S)
        self._cog = cog
        self._image_id = image_id
        self._name: discord.ui.TextInput[Any] = discord.ui.TextInput(max_length=MAX_LABEL_CHARACTERS)
        asked = texts.image_tags.name
        self.add_item(discord.ui.Label(text=asked, description=texts.image_tags.name_hint, component=self._name))

    async def on_submit(self, interaction: discord.Interaction[Any]) -> None:
        await answered(interaction, self._cog.add(interaction, self._image_id, self._name.value))


def rights_of(interaction: Interaction, image: Image) -> TagRights:
    """Of whoever uses this interaction: moderators of the picture's channel, and its poster."""
    if not isinstance(interaction.user, discord.Member):
        return TagRights()
    moderates = may_moderate(interaction.user, image.ref.channel)
    return TagRights(remove=moderates or image.ref.author_id == interaction.user.id, add=moderates)


def tags_view(shown: TagsShown, names: TagFormatter, texts: Texts, *, owner: int) -> View:
    wording, image, chinese = texts.image_tags, shown.image, texts is CHINESE
    number, count = shown.siblings.index(image.id) + 1 if image.id in shown.siblings else 1, len(shown.siblings)
    heading = wording.heading if count < 2 else wording.heading_of.format(number=number, count=count)
    tags = for_reader(image.tags, chinese=chinese)[:_MAX_SHOWN]
    lines = []
    for tag in tags:
        line = names.line([tag], chinese=chinese)
        score = wording.confirmed if tag.confirmed else str(tag_score(tag.probability, shown.threshold))
        lines.append(f"- {line or plain(tag.label)} · {score}")
    told = "\n".join(lines) or wording.none
    covered = shown.remote.spoiler
    alt = texts.search.image_alt_spoiler if covered else visible(shown.remote.description or "") or wording.alt
    picture: discord.ui.Thumbnail[View] = discord.ui.Thumbnail(
        shown.remote.url, description=alt[:1024], spoiler=covered
    )
    view = View(timeout=None)
    view.add_item(discord.ui.Section(f"{heading}\n{f'||{told}||' if covered else told}", accessory=picture))
    if any(not tag.confirmed for tag in tags):
        view.add_item(discord.ui.TextDisplay(f"-# {wording.scale}"))
    options = [
        discord.SelectOption(label=visible(names.name(tag.label, chinese=chinese))[:100] or "…", value=tag.label)
        for tag in tags
    ]
    open_ones = [option for option, tag in zip(options, tags, strict=True) if not tag.confirmed]
    for action, allowed, its, placeholder in (
        ("tags_remove", shown.rights.remove, options, wording.remove),
        ("tags_confirm", shown.rights.add, open_ones, wording.confirm),
    ):
        if allowed and its:
            menu = ActionMenu(action, image.id, options=its, owner=owner, placeholder=placeholder, max_values=len(its))
            view.add_item(discord.ui.ActionRow(menu))
    if shown.rights.add:
        add = ActionButton("tags_add", image.id, owner=owner, label=wording.add, emoji="➕")
        view.add_item(discord.ui.ActionRow(add))
    if count > 1:
        pictures = [
            discord.SelectOption(
                label=wording.picture.format(number=at, count=count), value=str(id_), default=at == number
            )
            for at, id_ in enumerate(shown.siblings[:_MAX_SHOWN], 1)
        ]
        view.add_item(discord.ui.ActionRow(ActionMenu("tags_turn", options=pictures, owner=owner)))
    return view
