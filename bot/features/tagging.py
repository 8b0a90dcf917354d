"""Tags: what a channel sees of them (/tagging), and which words there are (/labels)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_io.attachments import ImageChannel, place_of
from bot.features.search_views import plain, sentence_view
from bot.i18n import CHINESE, Texts, texts_for
from bot.models import ChannelRef, TaggingMode

if TYPE_CHECKING:
    from bot.discord_io.client import Interaction
    from bot.indexing.labels import NamedLabel
    from bot.store.guilds import ChannelStore, LabelStore
import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import aiohttp

from bot.discord_io.messages import means_deleted
from bot.features.search_views import TagWords
from bot.indexing.indexer import Waker
from bot.indexing.protocols import Sleep
from bot.models import Image, ImageState, Tag
from bot.store.guilds import ChannelStore, Reply, ReplyStore
from bot.store.images import INTERRUPTED, ImageStore

LABEL_LIMIT = 60
MOST_LABELS = 1000
_CHOICES = 25  # Discord's limit on autocomplete answers
_LISTED_CHARACTERS = 3500  # of the 4000 that a message's texts may have in all


def may_manage(interaction: Interaction) -> bool:
    """Manage Server, checked here too: server settings can open a command to anybody."""
    if not interaction.permissions.manage_guild:
        raise app_commands.MissingPermissions(["manage_guild"])
    return True


class TagsCog(commands.Cog, name="tags"):
    labels = app_commands.Group(
        name="labels",
        description="The words that this server's pictures are tagged with",
        guild_only=True,
        default_permissions=discord.Permissions(manage_guild=True),
    )

    def __init__(
        self,
        channels: ChannelStore,
        labels_store: LabelStore,
        defaults: tuple[NamedLabel, ...],
    ) -> None:
        self._channels = channels
        self._labels = labels_store
        self._defaults = defaults

    @app_commands.command(name="tagging", description="Choose what a channel sees of a new picture's tags")
    @app_commands.describe(mode="What happens when a picture is posted", channel="The channel; this one if left out")
    @app_commands.choices(
        mode=[
            app_commands.Choice(name="off: no tags", value="off"),
            app_commands.Choice(name="silent: tags in search results only", value="silent"),
            app_commands.Choice(name="reaction: the tags' emoji under the picture", value="reaction"),
            app_commands.Choice(name="reply: the tags as a reply", value="reply"),
        ]
    )
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    @app_commands.check(may_manage)
    async def tagging(
        self, interaction: Interaction, mode: app_commands.Choice[str], channel: ImageChannel | None = None
    ) -> None:
        texts = texts_for(interaction.locale)
        if interaction.guild_id is None or interaction.channel_id is None:
            raise app_commands.NoPrivateMessage
        channel_id = channel.id if channel is not None else interaction.channel_id
        chosen = TaggingMode(mode.value)
        # A forum is no place of messages itself, but its threads follow its setting.
        place = place_of(channel or interaction.channel) or ChannelRef(interaction.guild_id, channel_id)
        await self._channels.set_tagging_mode(place, chosen)
        await _answer(
            interaction, texts.tagging_set.format(channel=f"<#{channel_id}>", mode=_mode_words(chosen, texts))
        )

    @labels.command(name="list", description="Show the labels")
    @app_commands.check(may_manage)
    async def list_labels(self, interaction: Interaction) -> None:
        texts = texts_for(interaction.locale)
        own = await self._labels.labels(_guild_id(interaction))
        sentence = texts.labels_default if own is None else texts.labels_own
        names = [label.zh if texts is CHINESE else label.en for label in self._defaults] if own is None else own
        await _answer(interaction, sentence.format(count=len(names), labels=_shortened(names)))

    @labels.command(name="add", description="Add a label")
    @app_commands.describe(label="One or a few words")
    @app_commands.check(may_manage)
    async def add_label(self, interaction: Interaction, label: str) -> None:
        texts, guild_id = texts_for(interaction.locale), _guild_id(interaction)
        name = " ".join(label.split())
        now = await self._in_force(guild_id)
        if not 1 <= len(name) <= LABEL_LIMIT or any(comma in name for comma in ",，、"):
            sentence = texts.label_bad.format(most=LABEL_LIMIT)
        elif name.casefold() in (known.casefold() for known in now):
            sentence = texts.label_known.format(label=plain(name))
        elif len(now) >= MOST_LABELS:
            sentence = texts.labels_full.format(most=MOST_LABELS)
        else:
            await self._labels.add(guild_id, name, defaults=self._default_names)
            sentence = texts.label_added.format(label=plain(name))
        await _answer(interaction, sentence)

    @labels.command(name="remove", description="Remove a label")
    @app_commands.describe(label="One or a few words")
    @app_commands.check(may_manage)
    async def remove_label(self, interaction: Interaction, label: str) -> None:
        texts, guild_id = texts_for(interaction.locale), _guild_id(interaction)
        name = " ".join(label.split())
        known = next((one for one in await self._in_force(guild_id) if one.casefold() == name.casefold()), None)
        if known is None:
            await _answer(interaction, texts.label_unknown.format(label=plain(name)))
            return
        await self._labels.remove(guild_id, known, defaults=self._default_names)
        await _answer(interaction, texts.label_removed.format(label=plain(known)))

    @remove_label.autocomplete("label")
    async def _complete_label(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        if interaction.guild_id is None or not interaction.permissions.manage_guild:
            return []
        wanted = typed.casefold().strip()
        matching = [name for name in await self._in_force(interaction.guild_id) if wanted in name.casefold()]
        matching.sort(key=lambda name: not name.casefold().startswith(wanted))
        return [app_commands.Choice(name=name, value=name) for name in matching[:_CHOICES]]

    @labels.command(name="reset", description="Go back to the labels that Magpie came with")
    @app_commands.check(may_manage)
    async def reset_labels(self, interaction: Interaction) -> None:
        await self._labels.reset(_guild_id(interaction))
        await _answer(interaction, texts_for(interaction.locale).labels_reset)

    async def _in_force(self, guild_id: int) -> list[str]:
        own = await self._labels.labels(guild_id)
        return self._default_names if own is None else own

    @property
    def _default_names(self) -> list[str]:
        return [label.en for label in self._defaults]


def _guild_id(interaction: Interaction) -> int:
    if interaction.guild_id is None:
        raise app_commands.NoPrivateMessage
    return interaction.guild_id


def _mode_words(mode: TaggingMode, texts: Texts) -> str:
    return {
        TaggingMode.OFF: texts.mode_off,
        TaggingMode.SILENT: texts.mode_silent,
        TaggingMode.REACTION: texts.mode_reaction,
        TaggingMode.REPLY: texts.mode_reply,
    }[mode]


def _shortened(names: list[str]) -> str:
    line = ", ".join(plain(name) for name in names)
    return line if len(line) <= _LISTED_CHARACTERS else line[:_LISTED_CHARACTERS].rsplit(", ", 1)[0] + " …"


async def _answer(interaction: Interaction, sentence: str) -> None:
    await interaction.response.send_message(view=sentence_view(sentence), ephemeral=True)


log = logging.getLogger(__name__)

PAGE = 100
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0


class ReplyCleaner:
    """Owns one task, which deletes one message at a time: discord.py waits out Discord's limits by itself.

    What is to be deleted is in the store, so a restart loses nothing of it. What Discord refuses for now is tried
    again after growing pauses.
    """

    def __init__(self, client: discord.Client, store: ReplyStore, *, sleep: Sleep = asyncio.sleep) -> None:
        self._client = client
        self._store = store
        self._waker = Waker(sleep)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins with what an earlier run left over. The client has logged in."""
        self._task = asyncio.create_task(self._run(), name="reply cleaner")

    async def remember(self, place: ChannelRef, message_id: int, image_ids: Sequence[int]) -> None:
        """This message, just sent by the bot, describes these images. One may have been forgotten meanwhile."""
        await self._store.remember(place, message_id, image_ids)
        self.wake()

    def wake(self) -> None:
        """Images were forgotten: there may be something to delete."""
        self._waker.wake()

    async def close(self) -> None:
        """Stops. What is left waits for the next start. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._waker.reset()
            if await self._sweep():
                pause = FIRST_PAUSE_S
                await self._waker.nap(LONGEST_PAUSE_S)
            else:
                await self._waker.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _sweep(self) -> bool:
        """Looks at every orphan once. False where something is left to try again."""
        try:
            return await self._delete_all()
        except Exception:  # the store may be locked; the orphans are safe in it
            log.exception("replies about forgotten images could not be looked through")
            return False

    async def _delete_all(self) -> bool:
        complete, after = True, 0
        while orphans := await self._store.orphans(PAGE, after):
            for reply in orphans:
                if await self._is_gone(reply):
                    await self._store.drop(reply.message_id)
                else:
                    complete = False
            after = orphans[-1].message_id
        return complete

    async def _is_gone(self, reply: Reply) -> bool:
        """Deletes the message. True when it is gone, or out of the bot's reach; False when to try again."""
        message = self._client.get_partial_messageable(reply.channel_id).get_partial_message(reply.message_id)
        ids = {"channel_id": reply.channel_id, "message_id": reply.message_id}
        try:
            await message.delete()
        except discord.NotFound as error:
            return means_deleted(error)
        except discord.Forbidden:
            log.warning("a reply about a forgotten image is out of reach and stays", extra=ids)
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("a reply about a forgotten image waits for another try: %s", type(error).__name__, extra=ids)
            return False
        return True


MOST_REACTIONS = 3
# What is found by catching up is not talked about any more: nobody is looking at it now.
STALE_AFTER = timedelta(minutes=10)
# How long the first finished image of a message waits for the others, so that one reply names them all.
_SIBLINGS_S = 5.0
_GLANCE_S = 0.1
_REMEMBERED = 1024
_LONGEST_REPLY = 1900  # of the 2000 characters that Discord takes


class Announcements:
    """The indexer's `on_finished`. One announcement a message, at most once."""

    def __init__(
        self,
        client: discord.Client,
        store: ImageStore,
        channels: ChannelStore,
        tag_words: TagWords,
        replies: ReplyCleaner,
    ) -> None:
        self._client = client
        self._store = store
        self._channels = channels
        self._tag_words = tag_words
        self._replies = replies
        self._done: OrderedDict[int, None] = OrderedDict()

    async def __call__(self, image: Image) -> None:
        ref = image.ref
        mode = await self._channels.tagging_mode(ref.channel)
        if mode in (TaggingMode.OFF, TaggingMode.SILENT) or datetime.now(UTC) - ref.created_at > STALE_AFTER:
            return
        if not self._first_of_message(ref.message_id):
            return
        described = await self._finished_siblings(ref.message_id)
        tags = _all_tags(described)
        if not tags:
            return
        try:
            await self._announce(described, tags, mode)
        except discord.HTTPException as error:
            # No right to speak or react there, or the message has gone: the tags are in the search results anyhow.
            log.info("tags are not announced: %s", error.status, extra={"image_id": image.id})

    def _first_of_message(self, message_id: int) -> bool:
        if message_id in self._done:
            return False
        self._done[message_id] = None
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        return True

    async def _finished_siblings(self, message_id: int) -> list[Image]:
        """The message's images, once none of them is still in its first attempt."""
        deadline = asyncio.get_running_loop().time() + _SIBLINGS_S
        while True:
            siblings = await self._store.by_message(message_id)
            if not any(_in_first_attempt(one) for one in siblings) or asyncio.get_running_loop().time() > deadline:
                return [one for one in siblings if one.state is ImageState.READY]
            await asyncio.sleep(_GLANCE_S)

    async def _announce(self, described: Sequence[Image], tags: Sequence[Tag], mode: TaggingMode) -> None:
        """described: the images of one message; a reply goes as soon as one of them does."""
        ref = described[0].ref
        place = ref.channel
        channel = self._client.get_partial_messageable(place.channel_id, guild_id=place.guild_id)
        message = channel.get_partial_message(ref.message_id)
        if mode is TaggingMode.REACTION:
            for emoji in self._tag_words.emoji(tags)[:MOST_REACTIONS]:
                await message.add_reaction(emoji)
            return
        guild = self._client.get_guild(place.guild_id)
        texts = texts_for(guild.preferred_locale if guild is not None else None)
        line = self._tag_words.line(tags, chinese=texts is CHINESE, most=_LONGEST_REPLY)
        sent = await message.reply(texts.announced_tags.format(tags=line), mention_author=False)
        await self._replies.remember(place, sent.id, [one.id for one in described])


def _in_first_attempt(image: Image) -> bool:
    """An attempt counts from when it begins; until it ends, its reason says that it was begun."""
    return image.state is ImageState.PENDING and image.attempts <= 1 and image.reason in (None, INTERRUPTED)


def _all_tags(images: Sequence[Image]) -> list[Tag]:
    """The tags of all these images, each label once, likeliest first."""
    best: dict[str, Tag] = {}
    for tag in (tag for image in images for tag in image.tags):
        if tag.label not in best or best[tag.label].probability < tag.probability:
            best[tag.label] = tag
    return sorted(best.values(), key=lambda tag: -tag.probability)
