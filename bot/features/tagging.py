"""/tagging chooses how channels announce tags; and the announcements of new images' tags."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.discord_io.answers import DeferringCog, Interaction, answer
from bot.discord_io.messages import LABEL_EMOJI, REPOST_EMOJI, ImageChannel, channel_ref
from bot.discord_io.permissions import may_view, needs_manage_guild
from bot.discord_io.replies import PublicReplies
from bot.features.announcements import Announcements
from bot.features.formatting import TagFormatter
from bot.i18n import CHINESE, ENGLISH, Texts, texts_for
from bot.indexing.comparison import LookUp
from bot.indexing.indexer import IndexedMessage
from bot.models import ChannelRef, Image, ImageKey, ImageRef, Tag, TaggingMode

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MAX_LISTED_CHARACTERS = 3500  # of the 4000 that a message may have

_MODES = [app_commands.Choice(name=ENGLISH.tagging.modes[mode], value=mode.value) for mode in TaggingMode]


class TagsCog(DeferringCog, name="tags"):
    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    @app_commands.command(name="tagging", description="See or choose how channels' new pictures are tagged")
    @app_commands.describe(
        mode="What happens when a picture is posted; without it, you see what is set where",
        channel="The channel; by default, this one",
    )
    @app_commands.choices(mode=_MODES)
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    @needs_manage_guild
    async def tagging(
        self,
        interaction: Interaction,
        mode: app_commands.Choice[str] | None = None,
        channel: ImageChannel | None = None,
    ) -> None:
        texts, services = texts_for(interaction.locale), self._bot.services
        if interaction.guild_id is None or not isinstance(interaction.user, discord.Member):
            raise app_commands.NoPrivateMessage
        channel_id = channel.id if channel is not None else interaction.channel_id or 0
        # A forum holds no messages itself, but its threads inherit its mode.
        ref = channel_ref(channel or interaction.channel) or ChannelRef(interaction.guild_id, channel_id)
        if mode is None and channel is None:
            modes = await services.channels.tagging_modes(interaction.guild_id)
            seen = {place: mode for place, mode in modes.items() if may_view(interaction.user, place)}
            await answer(interaction, modes_set(seen, texts))
            return
        if mode is None:
            chosen = await services.channels.tagging_mode(ref)
        else:
            chosen = TaggingMode(mode.value)
            await services.channels.set_tagging_mode(ref, chosen)
            await services.retagger.labels_changed(interaction.guild_id)
        sentence = texts.tagging.mode_set.format(channel=f"<#{channel_id}>", mode=texts.tagging.modes[chosen])
        await answer(interaction, sentence)


def modes_set(
    modes: Mapping[ChannelRef, TaggingMode], texts: Texts, *, max_characters: int = _MAX_LISTED_CHARACTERS
) -> str:
    """Which mode is set where, a line for each mode; as many channels as have room."""
    wording, left_out = texts.tagging, 0
    lines = [wording.set_where] if modes else []
    length = 0
    for mode in TaggingMode:
        mentions: list[str] = []
        for place, its_mode in modes.items():
            if its_mode is mode:
                mention = f"<#{place.channel_id}>"
                length += len(mention) + 1
                if length > max_characters:
                    left_out += 1
                else:
                    mentions.append(mention)
        if mentions:
            lines.append(f"- {wording.modes[mode]}\n{' '.join(mentions)}")
    if left_out:
        lines.append(wording.more_channels.format(left_out))
    rest = wording.everywhere_else if modes else wording.everywhere
    lines.append(rest.format(mode=wording.modes[TaggingMode.SILENT]))
    return "\n".join(lines)


# -- announcements of new images' tags

MAX_REACTIONS = 3
_MAX_REPLY_CHARACTERS = 1900  # of the 2000 that Discord accepts


class TagAnnouncer:
    """Announces the tags of new images, corrects what it has said when a member changes the tags, and takes back those
    of what has become a spoiler; see Announcements.

    The message is looked up once more: tags of what is a spoiler there are not shown openly, those of what is gone not
    at all; nor those of what is to be forgotten. Nobody is notified. hides: see ImageRegistry. stored: the images of a
    message as they are now; members may have changed their tags.
    """

    def __init__(
        self,
        client: discord.Client,
        tag_formatter: TagFormatter,
        replies: PublicReplies,
        look_up: LookUp,
        hides: Callable[[ImageRef], bool],
        stored: Callable[[int], Awaitable[Sequence[Image]]],
    ) -> None:
        self._client = client
        self._tag_formatter = tag_formatter
        self._replies = replies
        self._look_up = look_up
        self._hides = hides
        self._stored = stored
        self._announcements = Announcements()

    async def close(self) -> None:
        """Stops. What waits, or comes later, is not announced. Idempotent."""
        await self._announcements.close()

    async def settled(self) -> None:
        """Waits until no announcement waits or is being made."""
        await self._announcements.settled()

    def announce(self, message: IndexedMessage) -> None:
        if message.mode not in (TaggingMode.OFF, TaggingMode.SILENT):
            self._announcements.announce(message.images[0], partial(self._announce, message.images, message.mode))

    async def cover(self, images: Sequence[Image]) -> None:
        """These images have become spoilers: takes back what was said openly about them, also by answers."""
        await self._replies.cover([image.id for image in images])
        for _, (image, *_) in groupby(images, key=lambda image: image.ref.message_id):
            self._announcements.correct(image, partial(self._remove_reactions, image.ref))

    def correct(self, image: Image) -> None:
        """A member has changed this image's tags."""
        self._announcements.correct(image, partial(self._correct, image.ref))

    async def _announce(self, images: Sequence[Image], mode: TaggingMode) -> None:
        """images: all of one message."""
        if not _all_tags(images):
            return
        ref, ids = images[0].ref, {image.id for image in images}
        now = [image for image in await self._stored(ref.message_id) if image.id in ids]
        said = self._to_say(now, await self._spoilers(ref))
        message = self._message(ref)
        if mode is TaggingMode.REACTION:
            for emoji in self._tag_formatter.emoji(said.open_tags)[:MAX_REACTIONS]:
                await message.add_reaction(emoji)
            return
        if not said.line:
            return
        reply = await message.reply(said.line, mention_author=False, silent=True)
        await self._replies.remember(ref.channel, reply.id, said.image_ids, said.covered_ids)

    async def _spoilers(self, ref: ImageRef) -> dict[ImageKey, bool]:
        """The images that the message carries now, and which of them it covers."""
        return {carried.key: carried.spoiler for carried in await self._look_up(ref)}

    def _to_say(self, images: Sequence[Image], spoilers: Mapping[ImageKey, bool]) -> _Said:
        """About these images of one message. spoilers: those that it carries now."""
        images = [image for image in images if not self._hides(image.ref)]
        tags = _all_tags([image for image in images if spoilers.get(image.ref.key) is False])
        covered = _all_tags([image for image in images if spoilers.get(image.ref.key) is True])
        guild = self._client.get_guild(images[0].ref.channel.guild_id) if images else None
        chinese = texts_for(guild.preferred_locale if guild is not None else None) is CHINESE
        shown, hidden = (
            self._tag_formatter.line(some, chinese=chinese, max_characters=_MAX_REPLY_CHARACTERS // 2)
            for some in (tags, covered)
        )
        line = " · ".join(filter(None, (shown, hidden and f"||{hidden}||")))
        return _Said(
            f"{LABEL_EMOJI} {line}" if line else "",
            tuple(tags),
            [image.id for image in images],
            [image.id for image in images if spoilers.get(image.ref.key)],
        )

    async def _correct(self, ref: ImageRef) -> None:
        """Takes back reactions of what is no tag any more, and writes the reply with tags anew."""
        images, spoilers = await self._stored(ref.message_id), await self._spoilers(ref)
        emoji = self._tag_formatter.emoji(self._to_say(images, spoilers).open_tags)
        await self._remove_reactions(ref, but=[*emoji, REPOST_EMOJI])
        for reply_id, described in (await self._replies.about([image.id for image in images])).items():
            said = self._to_say([image for image in images if image.id in described], spoilers)
            await self._rewrite(ref, reply_id, said.line)

    async def _rewrite(self, ref: ImageRef, reply_id: int, line: str) -> None:
        """line: empty where nothing is left to say."""
        try:
            reply = await self._message(ref, reply_id).fetch()
        except discord.NotFound:  # somebody has deleted it
            return
        to = reply.reference.message_id if reply.reference is not None else None
        if to != ref.message_id or not reply.content.startswith(LABEL_EMOJI):
            return  # an answer to a question
        if not line:
            await self._replies.withdraw(reply_id)
        elif line != reply.content:
            await reply.edit(content=line)

    async def _remove_reactions(self, ref: ImageRef, but: Collection[str] = ()) -> None:
        """Those that the bot has put on this message. but: those that stay."""
        message = self._message(ref)
        for reaction in (await message.fetch()).reactions:
            if reaction.me and str(reaction.emoji) not in but and self._client.user is not None:
                await message.remove_reaction(reaction, self._client.user)

    def _message(self, ref: ImageRef, message_id: int | None = None) -> discord.PartialMessage:
        """The image's message, or another one in its channel."""
        channel = self._client.get_partial_messageable(ref.channel.channel_id, guild_id=ref.channel.guild_id)
        return channel.get_partial_message(message_id or ref.message_id)


@dataclass(frozen=True, slots=True)
class _Said:
    """line: of a reply; empty where there is nothing to say. open_tags: those of no spoiler."""

    line: str
    open_tags: tuple[Tag, ...]
    image_ids: list[int]
    covered_ids: list[int]


def _all_tags(images: Sequence[Image]) -> list[Tag]:
    """The tags of all these images, each label once, most probable first."""
    best: dict[str, Tag] = {}
    tags = (tag for image in images for tag in image.tags)
    for tag in sorted(tags, key=lambda tag: (not tag.confirmed, -tag.probability)):
        best.setdefault(tag.label, tag)
    return list(best.values())
