"""The fetcher against a real server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from bot.discord_io.attachments import DownloadLimits, Fetcher
from bot.errors import ImageGone, ImageTooLarge, ImageUnreachable
from bot.models import ChannelRef, ImageRef, RemoteImage, Source

REF = ImageRef(ChannelRef(1, 2), 3, 4, Source.ATTACHMENT, 5)
IMAGE = b"x" * 1000


class Cdn:
    """Serves one image in several ways, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path:
            case "/good":
                return web.Response(body=IMAGE)
            case "/endless":
                return await self._endless(request)
            case "/away":
                raise web.HTTPFound("http://10.0.0.1/secret")
            case "/moved":
                raise web.HTTPFound("/good")
            case "/circle":
                raise web.HTTPFound("/circle")
            case "/slow":
                await asyncio.sleep(60)
        raise web.HTTPNotFound

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 1000)
        return response


@pytest.fixture
async def cdn() -> AsyncIterator[Cdn]:
    cdn = Cdn()
    app = web.Application()
    app.router.add_get("/{path:.*}", cdn.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    cdn.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield cdn
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Room:
    """A `MakeRoom` that has room for everything."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def __call__(self, count: int) -> None:
        self.asked.append(count)


def seen(url: str, size: int | None = None) -> RemoteImage:
    return RemoteImage(Source.ATTACHMENT, REF.attachment_id, url, size)


def fetcher(session: aiohttp.ClientSession, now: list[RemoteImage], *, seconds: float = 5.0) -> Fetcher:
    async def look(ref: ImageRef) -> list[RemoteImage]:
        return now

    return Fetcher(session, look, DownloadLimits(frozenset({"127.0.0.1"}), 5000, seconds))


async def test_an_image_is_downloaded_from_the_address_its_message_shows_now(
    cdn: Cdn, session: aiohttp.ClientSession
) -> None:
    assert await fetcher(session, [seen(cdn.url + "/good")])(REF, Room()) == IMAGE


async def test_an_address_just_seen_spares_the_look_at_the_message(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    fetch = fetcher(session, [])
    fetch.remember([seen(cdn.url + "/good")])
    assert await fetch(REF, Room()) == IMAGE


async def test_an_address_that_expired_is_asked_for_again(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    fetch = fetcher(session, [seen(cdn.url + "/good")])
    fetch.remember([seen(cdn.url + "/expired")])
    assert await fetch(REF, Room()) == IMAGE
    assert cdn.asked == ["/expired", "/good"]


async def test_an_image_that_its_message_no_longer_carries_is_gone(session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageGone):
        await fetcher(session, [])(REF, Room())


async def test_a_body_without_end_is_cut_at_the_cap(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageTooLarge):
        await fetcher(session, [seen(cdn.url + "/endless")])(REF, Room())


async def test_a_file_announced_as_too_large_is_not_asked_for_and_takes_no_room(
    cdn: Cdn, session: aiohttp.ClientSession
) -> None:
    room = Room()
    with pytest.raises(ImageTooLarge):
        await fetcher(session, [seen(cdn.url + "/good", size=5001)])(REF, room)
    assert (room.asked, cdn.asked) == ([], [])


async def test_a_redirect_within_the_allowed_hosts_is_followed(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    assert await fetcher(session, [seen(cdn.url + "/moved")])(REF, Room()) == IMAGE


@pytest.mark.parametrize("path", ["/away", "/circle", "/missing"])
async def test_a_redirect_elsewhere_a_circle_and_an_error_are_unreachable(
    cdn: Cdn, session: aiohttp.ClientSession, path: str
) -> None:
    with pytest.raises(ImageUnreachable):
        await fetcher(session, [seen(cdn.url + path)])(REF, Room())


async def test_a_host_that_does_not_answer_in_time_is_unreachable(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageUnreachable):
        await fetcher(session, [seen(cdn.url + "/slow")], seconds=0.2)(REF, Room())


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/x.png",
        "http://127.0.0.1.example.org/x.png",
        "https://example.org/127.0.0.1",
        "file:///etc/passwd",
        "http://example.org@10.0.0.1/x.png",
        "//x.png",
    ],
)
async def test_no_other_host_is_ever_contacted(session: aiohttp.ClientSession, url: str) -> None:
    with pytest.raises(ImageUnreachable, match="CDN_HOSTS"):
        await fetcher(session, [seen(url)])(REF, Room())


async def test_a_host_elsewhere_must_be_encrypted(session: aiohttp.ClientSession) -> None:
    async def look(ref: ImageRef) -> list[RemoteImage]:
        return [seen("http://cdn.discordapp.com/x.png")]

    fetch = Fetcher(session, look, DownloadLimits(frozenset({"cdn.discordapp.com"}), 5000, 5.0))
    with pytest.raises(ImageUnreachable, match="https"):
        await fetch(REF, Room())


@pytest.mark.parametrize(("told", "asked"), [(7, 7), (None, 5000)])
async def test_room_is_made_before_a_download_for_what_discord_tells_or_for_the_most(
    cdn: Cdn, session: aiohttp.ClientSession, told: int | None, asked: int
) -> None:
    room = Room()

    async def refuse(count: int) -> None:
        await room(count)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await fetcher(session, [seen(cdn.url + "/good", told)])(REF, refuse)
    assert (room.asked, cdn.asked) == ([asked], [])


async def test_room_is_made_anew_for_the_address_that_is_asked_for_again(
    cdn: Cdn, session: aiohttp.ClientSession
) -> None:
    room, fetch = Room(), fetcher(session, [seen(cdn.url + "/good", 8)])
    fetch.remember([seen(cdn.url + "/expired", 7)])
    await fetch(REF, room)
    assert room.asked == [7, 8]
