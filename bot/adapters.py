"""Discord's objects -> Magpie's records. The only way in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit, urlunsplit

import discord

from bot.records import PictureRef, Place, Source, ThreadKind

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".apng", ".webp", ".gif", ".avif", ".bmp", ".dib", ".tif", ".tiff"}
)

# What the channel option of a command may name: wherever pictures are posted.
PictureChannel = (
    discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel | discord.Thread
)

# Signed addresses change with every look; what they name does not.
_SIGNED_HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
_63_BITS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Sighting:
    """One picture as a message shows it now. url: where its bytes are at this moment, never to be stored."""

    source: Source
    attachment_id: int
    url: str
    size: int | None = None
    description: str | None = None
    spoiler: bool = False

    @property
    def key(self) -> tuple[Source, int]:
        return (self.source, self.attachment_id)


def sightings(message: discord.Message, hosts: frozenset[str]) -> list[Sighting]:
    """The pictures of this message that may be downloaded. hosts: where from."""
    return [sighting for sighting in carried(message) if urlsplit(sighting.url).hostname in hosts]


def carried(message: discord.Message) -> list[Sighting]:
    """Every picture that this message carries, wherever its bytes are: what is missing here has been removed."""
    found = [
        *_attached(Source.ATTACHMENT, message.attachments),
        *_previews(message.id, message.embeds),
        *(sighting for snapshot in message.message_snapshots for sighting in _forwarded(message.id, snapshot)),
    ]
    return list({sighting.key: sighting for sighting in found}.values())


def withheld(message: discord.Message) -> bool:
    """Whether Discord keeps back what is in this message, as it does while the bot's Message Content switch is off.

    Discord takes no message from a person that holds nothing at all. A bot's can lose its only part: hidden previews.
    """
    if any((message.content, message.attachments, message.embeds, message.stickers, message.components, message.poll)):
        return False
    if any(_holds_something(snapshot) for snapshot in message.message_snapshots):
        return False
    by_person = not message.author.bot and message.webhook_id is None
    return by_person or not message.flags.suppress_embeds


def _holds_something(snapshot: discord.MessageSnapshot) -> bool:
    return any((snapshot.content, snapshot.attachments, snapshot.embeds, snapshot.stickers, snapshot.components))


def pictures_in(
    message: discord.Message, hosts: frozenset[str], *, own_id: int, other_bots: bool = False
) -> list[PictureRef]:
    """The pictures to remember of this message. Magpie's own messages never count, nor those outside servers."""
    place = place_of(message.channel)
    if place is None or not _counts(message, own_id, other_bots):
        return []
    return [ref_of(sighting, place, message) for sighting in sightings(message, hosts)]


def ref_of(sighting: Sighting, place: Place, message: discord.Message) -> PictureRef:
    return PictureRef(place, message.id, sighting.attachment_id, sighting.source, message.author.id)


def place_of(channel: object) -> Place | None:
    """Where a channel stands; None for what is no channel of a server, or not known well enough to judge later."""
    if isinstance(channel, discord.Thread):
        kind = ThreadKind.PRIVATE if channel.is_private() else ThreadKind.PUBLIC
        return Place(channel.guild.id, channel.id, channel.parent_id, kind)
    if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.StageChannel):
        return Place(channel.guild.id, channel.id)
    return None


def _counts(message: discord.Message, own_id: int, other_bots: bool) -> bool:
    if message.author.id == own_id:
        return False
    return other_bots or not (message.author.bot or message.webhook_id is not None)


def _attached(source: Source, attachments: Sequence[discord.Attachment]) -> Iterator[Sighting]:
    for attachment in attachments:
        if _looks_like_picture(attachment.content_type, attachment.filename):
            yield Sighting(
                source,
                attachment.id,
                attachment.url,
                attachment.size,
                attachment.description,
                attachment.is_spoiler(),
            )


def _looks_like_picture(content_type: str | None, filename: str) -> bool:
    """A hint that spares downloads. Either word suffices: both come from the sender, and the bytes decide later."""
    if content_type is not None and content_type.lower().startswith("image/"):
        return not content_type.lower().startswith("image/svg")
    return PurePosixPath(filename.lower()).suffix in PICTURE_SUFFIXES


def _forwarded(message_id: int, snapshot: discord.MessageSnapshot) -> Iterator[Sighting]:
    yield from _attached(Source.FORWARD, snapshot.attachments)
    yield from _previews(message_id, snapshot.embeds)


def _previews(message_id: int, embeds: Sequence[discord.Embed]) -> Iterator[Sighting]:
    """The picture of each link preview, by Discord's proxy: the linked host never hears of us."""
    for embed in embeds:
        media = embed.image if embed.image.proxy_url else embed.thumbnail
        if media.proxy_url and media.url:
            yield Sighting(Source.PREVIEW, preview_id(message_id, media.url), media.proxy_url)


def preview_id(message_id: int, url: str) -> int:
    """A stable stand-in for the id that previews lack: 63 bits of a digest, so that the address itself is not kept."""
    parts = urlsplit(url)
    if parts.hostname in _SIGNED_HOSTS:
        parts = parts._replace(query="")
    digest = hashlib.blake2b(f"{message_id} {urlunsplit(parts)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) & _63_BITS
