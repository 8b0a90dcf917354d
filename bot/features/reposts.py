"""/reposts chooses where reposts are told of; and the notices of new pictures that were posted before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.utils import format_dt

from bot.discord_io.answers import DeferringCog, Interaction, answer
from bot.discord_io.components import ActionButton, Press, View
from bot.discord_io.messages import REPOST_EMOJI, ImageChannel, Messages, channel_ref
from bot.discord_io.permissions import ChannelAudience, may_moderate, may_view, needs_manage_guild
from bot.discord_io.replies import PublicReplies
from bot.errors import MessageNotFound
from bot.features.announcements import Announcements
from bot.i18n import ENGLISH, Texts, texts_for
from bot.indexing.indexer import IndexedMessage
from bot.models import (
    REPOST_DAYS,
    ChannelRef,
    Image,
    ImageFilter,
    ImageRef,
    RepostNotice,
    RepostRules,
    first_message_at,
)
from bot.search.reposts import Repost, counts, is_allowed, reposts_of
from bot.search.service import SearchService
from bot.store.images import ImageStore
from bot.store.reposts import RepostStore

if TYPE_CHECKING:
    from bot.discord_io.client import MagpieBot

_MAX_LISTED = 60  # channels, or roles; as many mentions as a message holds with their rules
_MODES = [app_commands.Choice(name=ENGLISH.reposts.modes[mode], value=mode.value) for mode in RepostNotice]


class RepostsCog(DeferringCog, name="reposts"):
    reposts = app_commands.Group(
        name="reposts",
        description="Where Magpie tells of pictures that were posted before",
        guild_only=True,
        default_permissions=discord.Permissions(manage_guild=True),
    )

    def __init__(self, bot: MagpieBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        self._bot.actions.add(repost_allow=self._allow)

    @reposts.command(name="list", description="What is set where, and whose reposts are not told of")
    @needs_manage_guild
    async def list(self, interaction: Interaction) -> None:
        if interaction.guild_id is None or not isinstance(interaction.user, discord.Member):
            raise app_commands.NoPrivateMessage
        store = self._bot.services.reposts
        chosen = await store.chosen(interaction.guild_id)
        seen = {place: rules for place, rules in chosen.items() if may_view(interaction.user, place)}
        exempt = await store.exempt_roles(interaction.guild_id)
        await answer(interaction, rules_set(seen, sorted(exempt), texts_for(interaction.locale)))

    @reposts.command(name="choose", description="Choose whether a channel is told of reposts")
    @app_commands.describe(
        notice="What happens when a picture is posted again",
        days="How many days ago the earlier post may lie; 30 by default",
        channel="The channel; by default, this one",
    )
    @app_commands.choices(notice=_MODES)
    @needs_manage_guild
    async def choose(
        self,
        interaction: Interaction,
        notice: app_commands.Choice[str],
        days: app_commands.Range[int, 1, 3650] = REPOST_DAYS,
        channel: ImageChannel | None = None,
    ) -> None:
        texts = texts_for(interaction.locale)
        channel_id = channel.id if channel is not None else interaction.channel_id or 0
        # A forum holds no messages itself, but its threads inherit its rules.
        place = channel_ref(channel or interaction.channel) or ChannelRef(interaction.guild_id or 0, channel_id)
        rules = RepostRules(RepostNotice(notice.value), days)
        await self._bot.services.reposts.set_rules(place, rules)
        await answer(interaction, _line(place, rules, texts))

    @reposts.command(name="exempt", description="Choose whose reposts are not told of")
    @app_commands.describe(role="Whoever has this role", exempt="Whether they are exempt; yes by default")
    @needs_manage_guild
    async def exempt(self, interaction: Interaction, role: discord.Role, exempt: bool = True) -> None:
        wording = texts_for(interaction.locale).reposts
        await self._bot.services.reposts.set_exempt(role.guild.id, role.id, exempt=exempt)
        sentence = wording.exempt if exempt else wording.not_exempt
        await answer(interaction, sentence.format(role=role.mention))

    async def _allow(self, press: Press) -> None:
        """The button below a notice: nothing more is said of these pictures."""
        interaction, services = press.interaction, self._bot.services
        await interaction.response.defer(ephemeral=True, thinking=True)
        if not isinstance(interaction.user, discord.Member) or interaction.message is None:
            raise app_commands.NoPrivateMessage
        place = channel_ref(interaction.channel)
        if place is None:
            raise MessageNotFound
        if not may_moderate(interaction.user, place):
            raise app_commands.MissingPermissions(["manage_messages"])
        await services.reposts.allow([int(id_) for id_ in press.arguments])
        await services.replies.withdraw(interaction.message.id)
        await answer(interaction, texts_for(interaction.locale).reposts.allowed)


def rules_set(chosen: Mapping[ChannelRef, RepostRules], exempt: Sequence[int], texts: Texts) -> str:
    """exempt: ids of roles."""
    wording = texts.reposts
    lines = [f"- {_line(place, rules, texts)}" for place, rules in [*chosen.items()][:_MAX_LISTED]]
    if len(chosen) > _MAX_LISTED:
        lines.append(texts.tagging.more_channels.format(len(chosen) - _MAX_LISTED))
    lines.append(wording.everywhere_else if chosen else wording.everywhere)
    if exempt:
        lines.append(wording.exempt_roles.format(roles=" ".join(f"<@&{id_}>" for id_ in exempt[:_MAX_LISTED])))
    return "\n".join(lines)


def _line(place: ChannelRef, rules: RepostRules, texts: Texts) -> str:
    wording = texts.reposts
    told = f"<#{place.channel_id}>: {wording.modes[rules.notice]}"
    return told if rules.notice is RepostNotice.OFF else told + wording.within.format(rules.days)


# -- the notices

_MAX_TOLD = 3  # pictures of one message
_MAX_COMPARED = 10
_ALIKE = 64
_LOOKED_UP = 3  # earlier posts of one picture, as long as they are gone


@dataclass(frozen=True, slots=True)
class _Told:
    """A new image, what it repeats, and its number among the pictures of its message; None where it is the only one."""

    image: Image
    repost: Repost
    number: int | None


class RepostNotices:
    """Tells channels that want it of new pictures that were posted before; see Announcements.

    A notice links only to what everyone who can read the channel may see, to no spoiler, and says nothing of a new one.
    It notifies nobody, and goes with any of its pictures.
    """

    def __init__(
        self,
        client: discord.Client,
        store: RepostStore,
        images: ImageStore,
        search: SearchService,
        messages: Messages,
        replies: PublicReplies,
    ) -> None:
        self._client = client
        self._store = store
        self._images = images
        self._search = search
        self._messages = messages
        self._replies = replies
        self._announcements = Announcements()

    async def close(self) -> None:
        """Stops. What waits, or comes later, is not told. Idempotent."""
        await self._announcements.close()

    async def settled(self) -> None:
        """Waits until no notice waits or is being made."""
        await self._announcements.settled()

    def tell(self, message: IndexedMessage) -> None:
        ids = [image.id for image in message.images]
        self._announcements.announce(message.images[0], partial(self._tell, message.images[0].ref, ids))

    async def _tell(self, ref: ImageRef, image_ids: Collection[int]) -> None:
        rules = await self._store.rules_of(ref.channel)
        guild = self._client.get_guild(ref.channel.guild_id)
        if rules.notice is RepostNotice.OFF or guild is None:
            return
        audience = ChannelAudience(guild, ref.channel, self._messages.refusals)
        new = [image for image in await self._images.by_message(ref.message_id) if image.id in image_ids]
        found = {image.id: await self._reposts(audience, image, rules.days) for image in new[:_MAX_COMPARED]}
        if not any(found.values()) or await self._is_exempt(guild, ref.author_id):
            return
        told = await self._confirmed(audience, new, found)
        if not told:
            return
        channel = self._client.get_partial_messageable(ref.channel.channel_id, guild_id=guild.id)
        message = channel.get_partial_message(ref.message_id)
        if rules.notice is RepostNotice.REACTION:
            await message.add_reaction(REPOST_EMOJI)
            return
        view = notice_view(told, texts_for(guild.preferred_locale))
        reply = await message.reply(view=view, mention_author=False, silent=True)
        await self._replies.remember(ref.channel, reply.id, _ids(told))

    async def _reposts(self, audience: ChannelAudience, image: Image, days: int) -> list[Repost]:
        """What it repeats, as the store knows. Where a moderator allowed that, so are reposts of this one."""
        if not counts(image):
            return []
        within = timedelta(days=days)
        since = ImageFilter(after=first_message_at(image.ref.created_at - within), before=image.ref.message_id)
        with self._search.by_one_model() as search:
            embedding, near_copy = await search.embedding_of(image), search.near_copy
            alike = [] if embedding is None else await search.alike(audience, embedding, since, _ALIKE)
        if is_allowed(image, alike, near_copy=near_copy):
            await self._store.allow([image.id])
            return []
        return reposts_of(image, alike, near_copy=near_copy, within=within)

    async def _is_exempt(self, guild: discord.Guild, author_id: int) -> bool:
        """Asks Discord, which needs no privileged intent. Where it does not know the author, nothing is told."""
        exempt = await self._store.exempt_roles(guild.id)
        if not exempt:
            return False
        member = await guild.fetch_member(author_id)
        return any(role.id in exempt for role in member.roles)

    async def _confirmed(
        self, audience: ChannelAudience, new: Sequence[Image], found: Mapping[int, Sequence[Repost]]
    ) -> list[_Told]:
        """Those of which both posts are there, and no spoilers, as Discord shows them now."""
        carried = await self._messages.look_up(new[0].ref)
        numbers = {remote.key: number for number, remote in enumerate(carried, 1) if not remote.spoiler}
        told: list[_Told] = []
        for image in new:
            if image.ref.key not in numbers or len(told) == _MAX_TOLD:
                continue
            for repost in found.get(image.id, ())[:_LOOKED_UP]:
                match = await self._search.still_there(audience, repost.earlier, repost.score)
                if match is not None and not match.remote.spoiler:
                    told.append(_Told(image, repost, numbers[image.ref.key] if len(carried) > 1 else None))
                    break
        return told


def notice_view(told: Sequence[_Told], texts: Texts) -> View:
    wording, lines = texts.reposts, []
    for one in told:
        ref = one.repost.earlier.ref
        line = wording.kinds[one.repost.kind].format(when=format_dt(ref.created_at, "R"), link=ref.message_url)
        lines.append(line if one.number is None else wording.numbered.format(number=one.number, sentence=line))
    view = View(timeout=None)
    view.add_item(discord.ui.TextDisplay("\n".join(f"{REPOST_EMOJI} {line}" for line in lines)))
    view.add_item(discord.ui.ActionRow(ActionButton("repost_allow", *_ids(told), label=wording.allow)))
    return view


def _ids(told: Sequence[_Told]) -> list[int]:
    return list(dict.fromkeys(image.id for one in told for image in (one.image, one.repost.earlier)))
