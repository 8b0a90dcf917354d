"""The downloader against a real server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from bot.discord_io.attachments import Downloader, DownloadLimits
from bot.errors import ImageGone, ImageTooLarge, ImageUnreachable
from bot.models import ChannelRef, ImageRef, RemoteImage, Source

REF = ImageRef(ChannelRef(1, 2), 3, 4, Source.ATTACHMENT, 5)
IMAGE = b"x" * 1000


class Cdn:
    """Serves one image in several ways, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
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
        self.requests: list[int] = []

    async def __call__(self, count: int) -> None:
        self.requests.append(count)


def remote(url: str, size: int | None = None) -> RemoteImage:
    return RemoteImage(Source.ATTACHMENT, REF.attachment_id, url, size)


async def do_not_wait() -> None:
    """No query runs."""


def downloader(
    session: aiohttp.ClientSession,
    current: list[RemoteImage],
    recent: list[RemoteImage] | None = None,
    *,
    seconds: float = 5.0,
    host: str = "127.0.0.1",
    yield_to_queries: Callable[[], Awaitable[None]] = do_not_wait,
) -> Downloader:
    """current: what the message carries now. recent: what was received lately."""

    async def look_up(ref: ImageRef) -> list[RemoteImage]:
        return current

    limits = DownloadLimits(frozenset({host}), 5000, seconds)
    return Downloader(session, look_up, {image.key: image for image in recent or []}, limits, yield_to_queries)


async def test_an_image_is_downloaded_from_its_messages_current_url(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    assert await downloader(session, [remote(cdn.url + "/good")]).fetch(REF, Room()) == IMAGE


async def test_a_recent_url_saves_the_look_up_of_the_message(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    known = downloader(session, [], [remote(cdn.url + "/good")])
    assert await known.fetch(REF, Room()) == IMAGE


async def test_an_expired_url_is_looked_up_again(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    expired = downloader(session, [remote(cdn.url + "/good")], [remote(cdn.url + "/expired")])
    assert await expired.fetch(REF, Room()) == IMAGE
    assert cdn.requests == ["/expired", "/good"]


async def test_an_image_that_its_message_no_longer_carries_is_gone(session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageGone):
        await downloader(session, []).fetch(REF, Room())


async def test_a_body_without_end_is_cut_off_at_the_limit(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageTooLarge):
        await downloader(session, [remote(cdn.url + "/endless")]).fetch(REF, Room())


async def test_a_file_whose_stated_size_is_too_large_is_not_requested(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    room = Room()
    with pytest.raises(ImageTooLarge):
        await downloader(session, [remote(cdn.url + "/good", size=5001)]).fetch(REF, room)
    assert (room.requests, cdn.requests) == ([], [])


async def test_a_redirect_within_the_allowed_hosts_is_followed(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    assert await downloader(session, [remote(cdn.url + "/moved")]).fetch(REF, Room()) == IMAGE


@pytest.mark.parametrize("path", ["/away", "/circle", "/missing"])
async def test_a_redirect_to_another_host_a_redirect_loop_and_an_error_make_an_image_unreachable(
    cdn: Cdn, session: aiohttp.ClientSession, path: str
) -> None:
    with pytest.raises(ImageUnreachable):
        await downloader(session, [remote(cdn.url + path)]).fetch(REF, Room())


async def test_a_host_that_does_not_answer_in_time_is_unreachable(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageUnreachable):
        await downloader(session, [remote(cdn.url + "/slow")], seconds=0.2).fetch(REF, Room())


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
        await downloader(session, [remote(url)]).fetch(REF, Room())


async def test_other_machines_are_contacted_over_tls_only(session: aiohttp.ClientSession) -> None:
    elsewhere = downloader(session, [remote("http://cdn.discordapp.com/x.png")], host="cdn.discordapp.com")
    with pytest.raises(ImageUnreachable, match="https"):
        await elsewhere.fetch(REF, Room())


@pytest.mark.parametrize(("told", "asked"), [(7, 7), (None, 5000)])
async def test_memory_is_reserved_before_a_download_for_the_stated_size_or_else_the_limit(
    cdn: Cdn, session: aiohttp.ClientSession, told: int | None, asked: int
) -> None:
    room = Room()

    async def refuse(count: int) -> None:
        await room(count)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await downloader(session, [remote(cdn.url + "/good", told)]).fetch(REF, refuse)
    assert (room.requests, cdn.requests) == ([asked], [])


async def test_memory_is_reserved_again_for_a_url_that_was_looked_up_again(
    cdn: Cdn, session: aiohttp.ClientSession
) -> None:
    room = Room()
    await downloader(session, [remote(cdn.url + "/good", 8)], [remote(cdn.url + "/expired", 7)]).fetch(REF, room)
    assert room.requests == [7, 8]


async def test_a_downloaded_file_is_handed_on_once_no_query_runs(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    query_done, waiting = asyncio.Event(), asyncio.Event()

    async def yield_to_queries() -> None:
        waiting.set()
        await query_done.wait()

    polite = downloader(session, [remote(cdn.url + "/good")], yield_to_queries=yield_to_queries)
    fetching = asyncio.create_task(polite.fetch(REF, Room()))
    await asyncio.wait_for(waiting.wait(), 10)
    assert not fetching.done()
    query_done.set()
    assert await fetching == IMAGE
