"""From a Discord message to its images, and from an image to its bytes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
import discord

from bot.errors import ImageGone, ImageTooLarge, ImageUnreachable
from bot.indexing.downloads import Arrived
from bot.models import ImageKey, ImageRef, RemoteImage, Source
from clipcore.fair_places import FairPlaces
from clipcore.images.formats import SUFFIXES

IMAGE_SUFFIXES = SUFFIXES | {".apng"}

_VIDEO_SUFFIXES = {".mp4", ".webm", ".mov", ".m4v"}

_Part = discord.Message | discord.MessageSnapshot
_CDN = "https://cdn.discordapp.com"
_STICKER_PICTURES = (discord.StickerFormatType.png, discord.StickerFormatType.apng, discord.StickerFormatType.gif)
_CUSTOM_EMOJI = re.compile(r"<(?P<animated>a)?:(?P<name>\w{1,32}):(?P<id>\d{13,20})>", re.ASCII)
# Symbols and their modifiers, with the invisible characters that join them and ask for their coloured form.
_EMOJI_CATEGORIES = frozenset({"So", "Sk", "Cf", "Mn"})
_LARGE_EMOJIS = 30

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# The query of a URL on these hosts is a signature, which changes while the file stays the same.
_SIGNED_HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
_63_BITS = (1 << 63) - 1

SMALL_EDGE = 192
"""The shorter edge of a small copy, in pixels."""

LARGE_FILE_BYTES = 8 * 2**20
"""Of larger files only LARGE_FILES are in memory at a time, two of one author. So files take at most 8 MiB for each
image in progress, and 128 MiB for large ones.
"""
LARGE_FILES = 4
_LARGE_FILE_STALL_S = 3.0  # a large file from which nothing comes for so long is downloaded later

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3


def images_of(message: discord.Message) -> list[RemoteImage]:
    """Every image that the message carries, whatever its host. An image that is missing here has been removed."""
    found: dict[ImageKey, RemoteImage] = {}
    for part in _parts(message):
        shown = *_attached(part), *_stickers(part), *_large_emojis(part), *_previews(message.id, part)
        found |= {image.key: image for image in shown}
    return list(found.values())


def is_withheld(message: discord.Message) -> bool:
    """Whether Discord withholds the content of this message, as it does without the Message Content intent.

    Discord accepts no empty message from a person. A bot's can become empty: suppressed previews may be its only part.
    """
    if message.poll or any(_has_content(part) for part in _parts(message)):
        return False
    by_person = not message.author.bot and message.webhook_id is None
    return by_person or not message.flags.suppress_embeds


def host_of(url: str) -> str | None:
    """None also for what is no URL, such as `https://[x/`: people put anything into a link."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def preview_id(message_id: int, url: str) -> int:
    """A stable id for a link preview, which has none: 63 bits of a digest, so that the URL itself is not stored."""
    with suppress(ValueError):  # what is no URL is hashed as it is
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(query="") if parts.hostname in _SIGNED_HOSTS else parts)
    digest = hashlib.blake2b(f"{message_id} {url}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) & _63_BITS


def _parts(message: discord.Message) -> list[_Part]:
    """The message itself and those that it forwards."""
    return [message, *message.message_snapshots]


def _source(part: _Part, source: Source) -> Source:
    return source if isinstance(part, discord.Message) else Source.FORWARD


def _attached(part: _Part) -> Iterator[RemoteImage]:
    """Images, and of videos the picture that Discord's media proxy shows of them."""
    for file in part.attachments:
        spoiler = file.is_spoiler() or any(map(_covers, part.components))
        if _looks_like_image(file.content_type, file.filename):
            source, small = _source(part, Source.ATTACHMENT), _small_url(file)
            yield RemoteImage(source, file.id, file.url, file.size, file.description, spoiler, small)
        elif _is_video(file):
            still = _proxied(file, "format=webp")
            source = _source(part, Source.VIDEO)
            yield RemoteImage(source, file.id, still, description=file.description, spoiler=spoiler)


def _small_url(file: discord.Attachment) -> str | None:
    """Discord's media proxy shrinks an image for who asks it to; its own clients do. It refuses files whose size in
    pixels Discord does not know.
    """
    if not file.width or not file.height:
        return None
    shrink = min(1.0, SMALL_EDGE / min(file.width, file.height))
    width, height = (max(1, round(length * shrink)) for length in (file.width, file.height))
    return _proxied(file, f"format=webp&width={width}&height={height}")


def _proxied(file: discord.Attachment, parameters: str) -> str:
    return f"{file.proxy_url.rstrip('&')}{'&' if '?' in file.proxy_url else '?'}{parameters}"


def _is_video(file: discord.Attachment) -> bool:
    """Whether Discord has looked into it: its proxy refuses files whose size in pixels it does not know."""
    video = (file.content_type or "").lower().startswith("video/")
    return bool((video or PurePosixPath(file.filename.lower()).suffix in _VIDEO_SUFFIXES) and file.width)


def _stickers(part: _Part) -> Iterator[RemoteImage]:
    """Lottie stickers are no pictures but drawing instructions."""
    for sticker in part.stickers:
        if sticker.format not in _STICKER_PICTURES:
            continue
        url = sticker.url
        if sticker.format is discord.StickerFormatType.gif and discord.Asset.BASE != _CDN:
            url = f"{discord.Asset.BASE}/stickers/{sticker.id}.gif"  # discord.py always names Discord's own media proxy
        yield RemoteImage(_source(part, Source.STICKER), sticker.id, url, description=sticker.name)


def _large_emojis(part: _Part) -> Iterator[RemoteImage]:
    """The custom emojis of a text that is nothing but emoji: Discord shows up to 30 of them large. Unicode's own are no
    pictures; what stands for one of them is told by its category.
    """
    custom = [found for found in _CUSTOM_EMOJI.finditer(part.content) if int(found["id"]) <= _63_BITS]
    rest = "".join(_CUSTOM_EMOJI.sub("", part.content).split())
    others = [unicodedata.category(character) for character in rest]
    if len(custom) + others.count("So") > _LARGE_EMOJIS or not _EMOJI_CATEGORIES.issuperset(others):
        return
    for found in custom:
        emoji = discord.PartialEmoji(name=found["name"], animated=bool(found["animated"]), id=int(found["id"]))
        yield RemoteImage(_source(part, Source.EMOJI), int(found["id"]), emoji.url, description=emoji.name)


def _looks_like_image(content_type: str | None, filename: str) -> bool:
    """Saves downloads. One of the two hints suffices: both come from the sender, and decoding decides later."""
    if content_type is not None and content_type.lower().startswith("image/"):
        return not content_type.lower().startswith("image/svg")
    return PurePosixPath(filename.lower()).suffix in IMAGE_SUFFIXES


def _covers(component: object) -> bool:
    """Whether a component of a bot's message, or one within it, is a spoiler: it may show a file of the message."""
    inner = (
        *getattr(component, "children", ()),
        *getattr(component, "items", ()),
        getattr(component, "accessory", None),
    )
    return getattr(component, "spoiler", False) is True or any(_covers(one) for one in inner if one is not None)


def _previews(message_id: int, part: _Part) -> Iterator[RemoteImage]:
    """The image of each link preview, through Discord's proxy: the linked host learns nothing about us.

    Discord covers all previews of a message with a link between spoiler bars. Which bars make a pair depends on the
    rest of its markup; here each link between the first and the last bars counts.
    """
    between_bars = part.content.partition("||")[2].rpartition("||")[0]
    for embed in part.embeds:
        media = embed.image if embed.image.proxy_url else embed.thumbnail
        if media.proxy_url and media.url:
            image_id = preview_id(message_id, media.url)
            yield RemoteImage(Source.PREVIEW, image_id, media.proxy_url, spoiler="://" in between_bars)


def _has_content(part: _Part) -> bool:
    return any((part.content, part.attachments, part.embeds, part.stickers, part.components))


class Downloader:
    """Downloads images, with limits that discord.py's own downloads lack.

    session: its timeout is that of a download. hosts: those allowed.
    look_up: all images that the message of this image carries now. Raises ImageGone, ImageForbidden, ImageUnreachable.
    recent: images by key whose URLs are likely to be valid still, so that their messages need not be looked up.
    yield_to_queries: waits while a query runs. Hashing a file that has arrived, and the next download, take CPU time.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        look_up: Callable[[ImageRef], Awaitable[list[RemoteImage]]],
        recent: MutableMapping[ImageKey, RemoteImage],
        yield_to_queries: Callable[[], Awaitable[None]],
        *,
        hosts: frozenset[str],
        max_bytes: int,
    ) -> None:
        self._session = session
        self._look_up = look_up
        self._recent = recent
        self._yield_to_queries = yield_to_queries
        self._hosts = hosts
        self._max_bytes = max_bytes
        self._large_files = FairPlaces(LARGE_FILES)
        self._large_file_timeout = aiohttp.ClientTimeout(session.timeout.total, sock_read=_LARGE_FILE_STALL_S)

    @asynccontextmanager
    async def fetch(self, ref: ImageRef, arrived: Arrived) -> AsyncIterator[bytes]:
        """For indexing. A file larger than LARGE_FILE_BYTES waits until the blocks of other such files have ended.

        Raises ImageGone, ImageForbidden, ImageUnreachable or ImageTooLarge.
        """
        async with AsyncExitStack() as held:
            data = None
            if ref.key in self._recent:
                with suppress(ImageUnreachable):  # the URL may have expired: look the message up
                    data = await held.enter_async_context(self._small_or_large(ref, self._recent.pop(ref.key), arrived))
            if data is None:
                current = next((image for image in await self._look_up(ref) if image.key == ref.key), None)
                if current is None:
                    raise ImageGone("the message no longer carries this image")
                data = await held.enter_async_context(self._small_or_large(ref, current, arrived))
            await self._yield_to_queries()
            yield data

    @asynccontextmanager
    async def _small_or_large(self, ref: ImageRef, image: RemoteImage, arrived: Arrived) -> AsyncIterator[bytes]:
        self._check_size(image.size, self._max_bytes)
        small = min(LARGE_FILE_BYTES, self._max_bytes)
        if image.size is None or image.size <= small:
            try:
                data = await self.download(image, small, arrived)
            except ImageTooLarge:  # the size of a preview is known only now
                if small == self._max_bytes:
                    raise
            else:
                yield data
                return
        owner = ref.channel.guild_id, ref.author_id
        await self._large_files.acquire(owner)
        try:
            yield await self.download(image, None, arrived, self._large_file_timeout)
        finally:
            self._large_files.release(owner)

    async def download(
        self,
        image: RemoteImage,
        max_bytes: int | None = None,
        arrived: Arrived | None = None,
        time_limits: aiohttp.ClientTimeout | None = None,
    ) -> bytes:
        """max_bytes, time_limits: lower than the usual limits.

        Raises ImageUnreachable, also where the file has another size than Discord told, or ImageTooLarge.
        """
        max_bytes = self._max_bytes if max_bytes is None else max_bytes
        self._check_size(image.size, max_bytes)
        url = image.url
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                self._check_host(url)
                async with self._session.get(
                    url, allow_redirects=False, timeout=time_limits or self._session.timeout
                ) as response:
                    if response.status not in _REDIRECTS:
                        data = await self._read(response, max_bytes, arrived)
                        whole = bool(data) if image.size is None else len(data) == image.size
                        if not whole or response.content_type == "text/html":
                            raise ImageUnreachable("the image's host sent something else, or a part of the image")
                        return data
                    url = urljoin(url, response.headers.get("Location", ""))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:  # ValueError: a redirect to no URL
            raise ImageUnreachable(f"the download failed: {type(error).__name__}") from error
        raise ImageUnreachable("the download was redirected too often")

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int, arrived: Arrived | None) -> bytes:
        if response.status != 200:
            raise ImageUnreachable(f"the image's host answered {response.status}")
        self._check_size(response.content_length, max_bytes)
        body = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            body += chunk
            if arrived is not None:
                arrived(len(chunk))
            self._check_size(len(body), max_bytes)
        return bytes(body)

    async def download_small(self, image: RemoteImage) -> bytes:
        """A small copy of it where Discord makes one; else the file itself, if it is not larger than LARGE_FILE_BYTES.

        Raises ImageUnreachable or ImageTooLarge.
        """
        most = min(LARGE_FILE_BYTES, self._max_bytes)
        if image.small_url is not None:
            with suppress(ImageUnreachable, ImageTooLarge):  # what the proxy does is not documented
                return await self.download(replace(image, url=image.small_url, size=None), most)
        return await self.download(image, most)

    def _check_size(self, size: int | None, max_bytes: int) -> None:
        if size is not None and size > max_bytes:
            raise ImageTooLarge(self._max_bytes)

    def _check_host(self, url: str) -> None:
        """Only the listed hosts, and over TLS unless it is this machine: no message can direct downloads elsewhere."""
        host = host_of(url)
        if host not in self._hosts:
            raise ImageUnreachable("the image's host is not listed in CDN_HOSTS")
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (scheme == "http" and host in _LOOPBACK_HOSTS):
            raise ImageUnreachable("the image's URL is not https")
