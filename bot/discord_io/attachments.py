"""Discord's objects -> Magpie's records. The only way in."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
import discord

from bot.errors import ImageGone, ImageTooLarge, ImageUnreachable
from bot.indexing.protocols import MakeRoom
from bot.models import ChannelRef, ImageRef, RemoteImage, Source, ThreadKind
from bot.settings import LOOPBACK_HOSTS

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".apng", ".webp", ".gif", ".avif", ".bmp", ".dib", ".tif", ".tiff"}
)

# What the channel option of a command may name: wherever images are posted.
ImageChannel = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel | discord.Thread

# Signed addresses change with every look; what they name does not.
_SIGNED_HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
_63_BITS = (1 << 63) - 1


def sightings(message: discord.Message, hosts: frozenset[str]) -> list[RemoteImage]:
    """The images of this message that may be downloaded. hosts: where from."""
    return [sighting for sighting in carried(message) if urlsplit(sighting.url).hostname in hosts]


def carried(message: discord.Message) -> list[RemoteImage]:
    """Every image that this message carries, wherever its bytes are: what is missing here has been removed."""
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


def images_in(
    message: discord.Message, hosts: frozenset[str], *, own_id: int, other_bots: bool = False
) -> list[ImageRef]:
    """The images to remember of this message. Magpie's own messages never count, nor those outside servers."""
    place = place_of(message.channel)
    if place is None or not _counts(message, own_id, other_bots):
        return []
    return [ref_of(sighting, place, message) for sighting in sightings(message, hosts)]


def ref_of(sighting: RemoteImage, place: ChannelRef, message: discord.Message) -> ImageRef:
    return ImageRef(place, message.id, sighting.attachment_id, sighting.source, message.author.id)


def place_of(channel: object) -> ChannelRef | None:
    """Where a channel stands; None for what is no channel of a server, or not known well enough to judge later."""
    if isinstance(channel, discord.Thread):
        kind = ThreadKind.PRIVATE if channel.is_private() else ThreadKind.PUBLIC
        return ChannelRef(channel.guild.id, channel.id, channel.parent_id, kind)
    if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.StageChannel):
        return ChannelRef(channel.guild.id, channel.id)
    return None


def _counts(message: discord.Message, own_id: int, other_bots: bool) -> bool:
    if message.author.id == own_id:
        return False
    return other_bots or not (message.author.bot or message.webhook_id is not None)


def _attached(source: Source, attachments: Sequence[discord.Attachment]) -> Iterator[RemoteImage]:
    for attachment in attachments:
        if _looks_like_image(attachment.content_type, attachment.filename):
            yield RemoteImage(
                source,
                attachment.id,
                attachment.url,
                attachment.size,
                attachment.description,
                attachment.is_spoiler(),
            )


def _looks_like_image(content_type: str | None, filename: str) -> bool:
    """A hint that spares downloads. Either word suffices: both come from the sender, and the bytes decide later."""
    if content_type is not None and content_type.lower().startswith("image/"):
        return not content_type.lower().startswith("image/svg")
    return PurePosixPath(filename.lower()).suffix in IMAGE_SUFFIXES


def _forwarded(message_id: int, snapshot: discord.MessageSnapshot) -> Iterator[RemoteImage]:
    yield from _attached(Source.FORWARD, snapshot.attachments)
    yield from _previews(message_id, snapshot.embeds)


def _previews(message_id: int, embeds: Sequence[discord.Embed]) -> Iterator[RemoteImage]:
    """The image of each link preview, by Discord's proxy: the linked host never hears of us."""
    for embed in embeds:
        media = embed.image if embed.image.proxy_url else embed.thumbnail
        if media.proxy_url and media.url:
            yield RemoteImage(Source.PREVIEW, preview_id(message_id, media.url), media.proxy_url)


def preview_id(message_id: int, url: str) -> int:
    """A stable stand-in for the id that previews lack: 63 bits of a digest, so that the address itself is not kept."""
    parts = urlsplit(url)
    if parts.hostname in _SIGNED_HOSTS:
        parts = parts._replace(query="")
    digest = hashlib.blake2b(f"{message_id} {urlunsplit(parts)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) & _63_BITS


# The images of a message as they are now; raises ImageGone, ImageForbidden or ImageUnreachable.
Look = Callable[[ImageRef], Awaitable[list[RemoteImage]]]

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    hosts: frozenset[str]
    max_bytes: int
    timeout_seconds: float


class Fetcher:
    """The bot's `Fetch`. One aiohttp session of its own: the library's would bring no limits."""

    def __init__(self, session: aiohttp.ClientSession, look: Look, limits: DownloadLimits) -> None:
        self._session = session
        self._look = look
        self._limits = limits
        self._addresses: OrderedDict[tuple[Source, int], RemoteImage] = OrderedDict()

    @property
    def max_bytes(self) -> int:
        return self._limits.max_bytes

    def remember(self, seen: list[RemoteImage]) -> None:
        """Keeps the addresses of a message just seen, so that its images need no second look at the message."""
        for sighting in seen:
            self._addresses[sighting.key] = sighting
            self._addresses.move_to_end(sighting.key)
        while len(self._addresses) > _REMEMBERED:
            self._addresses.popitem(last=False)

    async def __call__(self, ref: ImageRef, make_room: MakeRoom) -> bytes:
        """Raises ImageGone, ImageForbidden, ImageUnreachable or ImageTooLarge."""
        sighting = self._addresses.pop(ref.key, None)
        if sighting is not None:
            try:
                return await self._download_with(sighting, make_room)
            except ImageUnreachable:
                pass  # the address may have expired or its message be gone: ask for the message
        return await self._download_with(await self._seen_now(ref), make_room)

    async def _download_with(self, sighting: RemoteImage, make_room: MakeRoom) -> bytes:
        """Discord tells an attachment's size, but not a preview's."""
        self._refuse_too_large(sighting)
        await make_room(self._limits.max_bytes if sighting.size is None else sighting.size)
        return await self.download(sighting)

    async def _seen_now(self, ref: ImageRef) -> RemoteImage:
        for sighting in await self._look(ref):
            if sighting.key == ref.key:
                return sighting
        raise ImageGone("the message no longer carries this image")

    async def download(self, sighting: RemoteImage) -> bytes:
        """The bytes of an image whose address is at hand. Raises ImageUnreachable or ImageTooLarge."""
        self._refuse_too_large(sighting)
        url = sighting.url
        timeout = aiohttp.ClientTimeout(total=self._limits.timeout_seconds)
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                self._check_host(url)
                async with self._session.get(url, allow_redirects=False, timeout=timeout) as response:
                    if response.status not in _REDIRECTS:
                        return await self._body(response)
                    url = urljoin(url, response.headers.get("Location", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ImageUnreachable(f"the download failed: {type(error).__name__}") from error
        raise ImageUnreachable("the download was sent from place to place")

    def _refuse_too_large(self, sighting: RemoteImage) -> None:
        if sighting.size is not None and sighting.size > self._limits.max_bytes:
            raise ImageTooLarge(f"the file has {sighting.size} bytes, more than {self._limits.max_bytes}")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise ImageUnreachable(f"the image's host answered {response.status}")
        if (response.content_length or 0) > self._limits.max_bytes:
            raise ImageTooLarge(f"the host announces {response.content_length} bytes")
        body = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            body += chunk
            if len(body) > self._limits.max_bytes:
                raise ImageTooLarge(f"the file has more than {self._limits.max_bytes} bytes")
        return bytes(body)

    def _check_host(self, url: str) -> None:
        """Exactly the listed hosts, encrypted unless the host is this machine: no message leads us elsewhere."""
        parts = urlsplit(url)
        if parts.hostname not in self._limits.hosts:
            raise ImageUnreachable("the image's host is not on the list in CDN_HOSTS")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
            raise ImageUnreachable("the image's address is not https")
