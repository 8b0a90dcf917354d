"""/magpie forget: what moderators have forgotten, for good: a channel, a member, the server, one message or picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import discord

from bot.discord_io.answers import Interaction, answer, sentence_view
from bot.discord_io.components import ActionButton, ActionMenu, Press, View
from bot.discord_io.messages import ImageChannel
from bot.discord_io.permissions import knows_channel, managed_guild
from bot.errors import ChannelNotFound, InvalidMessageLink, MessageNotFound, MessageWithoutImage
from bot.features.formatting import visible
from bot.features.query_image import linked_message
from bot.i18n import CHINESE, Texts, texts_for
from bot.models import ChannelRef, Image, ImageKey, MemberWish, Source, ThreadKind

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MAX_OPTIONS = 25  # Discord's limit on a menu
_MAX_LABEL = 100


class ForgettingCommands:
    """Each asks first and says how many pictures are meant; the button belongs to who asked, and rights are checked
    again when it is pressed. What was posted up to the press, by Discord's clock, is forgotten.
    """

    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot
        bot.actions.add(
            forget_channel_ask=self._ask_channel_again,
            forget_channel=self._forget_channel,
            forget_member=self._forget_member,
            forget_server=self._forget_server,
            forget_message=self._forget_message,
            forget_picture=self._forget_picture,
        )

    async def ask_channel(self, interaction: Interaction, channel: ImageChannel) -> None:
        await self._ask_channel(interaction, managed_guild(interaction), channel.id)

    async def _ask_channel(self, interaction: Interaction, guild: discord.Guild, channel_id: int) -> None:
        texts = texts_for(interaction.locale).forgetting
        if not knows_channel(interaction.user, _ref_of(guild, channel_id)):
            raise ChannelNotFound
        count = await self._bot.services.statistics.up_to(guild.id, [channel_id])
        question = texts.channel_ask.format(count, channel=f"<#{channel_id}>")
        await _ask(interaction, question, texts.forget.format(count), "forget_channel", channel_id)

    async def _ask_channel_again(self, press: Press) -> None:
        """From the settings of a channel that is switched off."""
        guild, channel_id = managed_guild(press.interaction), int(press.arguments[0])
        await press.interaction.response.defer()
        await self._ask_channel(press.interaction, guild, channel_id)

    async def ask_server(self, interaction: Interaction) -> None:
        guild, texts = managed_guild(interaction), texts_for(interaction.locale).forgetting
        count = await self._bot.services.statistics.up_to(guild.id)
        await _ask(interaction, texts.server_ask.format(count), texts.forget.format(count), "forget_server")

    async def ask_member(
        self, interaction: Interaction, member: discord.Member | discord.User, wish: MemberWish
    ) -> None:
        guild, texts = managed_guild(interaction), texts_for(interaction.locale).forgetting
        mention = f"<@{member.id}>"
        if wish is MemberWish.LET_IN:
            known = await self._bot.services.rules.readmit_member(guild.id, member.id)
            await answer(interaction, (texts.member_let_in if known else texts.member_not_out).format(member=mention))
            return
        count = await self._bot.services.statistics.of_author(guild.id, member.id)
        question = texts.leave_out_ask if wish is MemberWish.LEAVE_OUT else texts.member_ask
        label = texts.leave_out if wish is MemberWish.LEAVE_OUT else texts.forget.format(count)
        await _ask(interaction, question.format(count, member=mention), label, "forget_member", member.id, wish.value)

    async def ask_message(self, interaction: Interaction, link: str) -> None:
        guild, texts = managed_guild(interaction), texts_for(interaction.locale)
        found = linked_message(link)
        if found is None or found[0] != guild.id:
            raise InvalidMessageLink
        _, channel_id, message_id = found
        images = await self._images_of(interaction, channel_id, message_id)
        count = len(images)
        question = texts.forgetting.message_ask.format(count, link=_link(guild.id, channel_id, message_id))
        view = _question(
            interaction, question, texts.forgetting.forget.format(count), "forget_message", channel_id, message_id
        )
        if count > 1:
            options = [self._option(image, at, texts) for at, image in enumerate(images[:_MAX_OPTIONS])]
            menu = ActionMenu(
                *("forget_picture", channel_id, message_id),
                options=options,
                owner=interaction.user.id,
                placeholder=texts.forgetting.only_one,
            )
            view.add_item(discord.ui.ActionRow(menu))
        await interaction.edit_original_response(view=view)

    def _option(self, image: Image, at: int, texts: Texts) -> discord.SelectOption:
        tags = self._bot.services.tag_formatter.names(image.tags, chinese=texts is CHINESE)
        label = texts.forgetting.picture.format(number=at + 1, tags=visible(tags) or texts.search.no_tags)
        return discord.SelectOption(
            label=label[:_MAX_LABEL], value=f"{image.ref.source.value}-{image.ref.attachment_id}"
        )

    async def _images_of(self, interaction: Interaction, channel_id: int, message_id: int) -> list[Image]:
        """What is stored of a message that the member may see; else it looks as if it did not exist."""
        services, guild = self._bot.services, managed_guild(interaction)
        images = await services.images.by_message(message_id)
        ref = images[0].ref.channel if images else await services.messages.channel(guild.id, channel_id)
        if ref is None or ref.channel_id != channel_id:
            raise MessageNotFound
        if not knows_channel(interaction.user, ref):
            raise MessageNotFound
        if not images:
            raise MessageWithoutImage
        return images

    async def _forget_channel(self, press: Press) -> None:
        guild, channel_id = managed_guild(press.interaction), int(press.arguments[0])
        await press.interaction.response.defer()
        if not knows_channel(press.interaction.user, await self._known_ref(guild, channel_id)):
            raise ChannelNotFound
        registry, now = self._bot.services.registry, press.interaction.id
        await _told(press, await registry.forget_up_to(guild.id, [channel_id], now, for_good=True))

    async def _forget_server(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        registry, now = self._bot.services.registry, press.interaction.id
        await _told(press, await registry.forget_up_to(guild.id, [], now, for_good=True))

    async def _forget_member(self, press: Press) -> None:
        guild, services = managed_guild(press.interaction), self._bot.services
        await press.interaction.response.defer()
        member_id, wish = int(press.arguments[0]), MemberWish(press.arguments[1])
        if wish is MemberWish.LEAVE_OUT:
            await services.rules.exclude_member(guild.id, member_id)
        await _told(press, await services.registry.forget_author(guild.id, member_id, press.interaction.id))

    async def _forget_message(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        channel_id, message_id = map(int, press.arguments)
        await self._images_of(press.interaction, channel_id, message_id)
        await _told(press, await self._bot.services.registry.exclude_images(guild.id, message_id))

    async def _forget_picture(self, press: Press) -> None:
        guild = managed_guild(press.interaction)
        await press.interaction.response.defer()
        channel_id, message_id = map(int, press.arguments)
        images = await self._images_of(press.interaction, channel_id, message_id)
        keys = [key for value in press.values if (key := _key(value)) in {image.ref.key for image in images}]
        if not keys:
            raise MessageWithoutImage
        await _told(press, await self._bot.services.registry.exclude_images(guild.id, message_id, keys))

    async def _known_ref(self, guild: discord.Guild, channel_id: int) -> ChannelRef:
        ref = await self._bot.services.messages.channel(guild.id, channel_id)
        return ref or ChannelRef(guild.id, channel_id)


def _ref_of(guild: discord.Guild, channel_id: int) -> ChannelRef:
    thread = guild.get_thread(channel_id)
    if thread is None:
        return ChannelRef(guild.id, channel_id)
    kind = ThreadKind.PRIVATE if thread.is_private() else ThreadKind.PUBLIC
    return ChannelRef(guild.id, thread.id, thread.parent_id, kind)


def _question(interaction: Interaction, question: str, label: str, action: str, *arguments: object) -> View:
    view = sentence_view(question)
    owner, danger = interaction.user.id, discord.ButtonStyle.danger
    view.add_item(discord.ui.ActionRow(ActionButton(action, *arguments, owner=owner, label=label, style=danger)))
    return view


async def _ask(interaction: Interaction, question: str, label: str, action: str, *arguments: object) -> None:
    await interaction.edit_original_response(view=_question(interaction, question, label, action, *arguments))


async def _told(press: Press, forgotten: Sequence[int] | None) -> None:
    texts = texts_for(press.interaction.locale).forgetting
    sentence = texts.waits if forgotten is None else texts.done.format(len(forgotten))
    await press.interaction.edit_original_response(view=sentence_view(sentence))


def _key(value: str) -> ImageKey | None:
    source, _, id_ = value.partition("-")
    return (Source(source), int(id_)) if source in [*Source] and id_.isdigit() else None


def _link(guild_id: int, channel_id: int, message_id: int) -> str:
    return f"https://discord.com/channels/{guild_id}/{channel_id}/{message_id}"
