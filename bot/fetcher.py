"""Downloads a picture: allowed hosts only, a cap on bytes, a time limit. Addresses are never stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp

from bot.adapters import Sighting
from bot.errors import PictureGone, PictureTooLarge, PictureUnreachable
from bot.index.seams import MakeRoom
from bot.records import PictureRef, Source
from bot.settings import LOOPBACK_HOSTS

# The pictures of a message as they are now; raises PictureGone, PictureForbidden or PictureUnreachable.
Look = Callable[[PictureRef], Awaitable[list[Sighting]]]

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
        self._addresses: OrderedDict[tuple[Source, int], Sighting] = OrderedDict()

    @property
    def max_bytes(self) -> int:
        return self._limits.max_bytes

    def remember(self, seen: list[Sighting]) -> None:
        """Keeps the addresses of a message just seen, so that its pictures need no second look at the message."""
        for sighting in seen:
            self._addresses[sighting.key] = sighting
            self._addresses.move_to_end(sighting.key)
        while len(self._addresses) > _REMEMBERED:
            self._addresses.popitem(last=False)

    async def __call__(self, ref: PictureRef, make_room: MakeRoom) -> bytes:
        """Raises PictureGone, PictureForbidden, PictureUnreachable or PictureTooLarge."""
        sighting = self._addresses.pop((ref.source, ref.attachment_id), None)
        if sighting is not None:
            try:
                return await self._download_with(sighting, make_room)
            except PictureUnreachable:
                pass  # the address may have expired or its message be gone: ask for the message
        return await self._download_with(await self._seen_now(ref), make_room)

    async def _download_with(self, sighting: Sighting, make_room: MakeRoom) -> bytes:
        """Discord tells an attachment's size, but not a preview's."""
        self._refuse_too_large(sighting)
        await make_room(self._limits.max_bytes if sighting.size is None else sighting.size)
        return await self.download(sighting)

    async def _seen_now(self, ref: PictureRef) -> Sighting:
        for sighting in await self._look(ref):
            if sighting.key == (ref.source, ref.attachment_id):
                return sighting
        raise PictureGone("the message no longer carries this picture")

    async def download(self, sighting: Sighting) -> bytes:
        """The bytes of a picture whose address is at hand. Raises PictureUnreachable or PictureTooLarge."""
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
            raise PictureUnreachable(f"the download failed: {type(error).__name__}") from error
        raise PictureUnreachable("the download was sent from place to place")

    def _refuse_too_large(self, sighting: Sighting) -> None:
        if sighting.size is not None and sighting.size > self._limits.max_bytes:
            raise PictureTooLarge(f"the file has {sighting.size} bytes, more than {self._limits.max_bytes}")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise PictureUnreachable(f"the picture's host answered {response.status}")
        if (response.content_length or 0) > self._limits.max_bytes:
            raise PictureTooLarge(f"the host announces {response.content_length} bytes")
        body = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            body += chunk
            if len(body) > self._limits.max_bytes:
                raise PictureTooLarge(f"the file has more than {self._limits.max_bytes} bytes")
        return bytes(body)

    def _check_host(self, url: str) -> None:
        """Exactly the listed hosts, encrypted unless the host is this machine: no message leads us elsewhere."""
        parts = urlsplit(url)
        if parts.hostname not in self._limits.hosts:
            raise PictureUnreachable("the picture's host is not on the list in CDN_HOSTS")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
            raise PictureUnreachable("the picture's address is not https")
