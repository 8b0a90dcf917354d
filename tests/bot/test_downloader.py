"""The downloader against a real server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from bot.discord_io import attachments
from bot.discord_io.attachments import Downloader
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
            case "/small":
                return web.Response(body=b"small")
            case "/endless":
                return await self._endless(request)
            case "/away":
                raise web.HTTPFound("http://10.0.0.1/secret")
            case "/nowhere":
                return web.Response(status=302, headers={"Location": "https://[x/"})
            case "/nothing":
                return web.Response()
            case "/page":
                return web.Response(body=IMAGE, content_type="text/html")
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


def ignore(count: int) -> None:
    pass


async def fetched(downloader: Downloader) -> bytes:
    async with downloader.fetch(REF, ignore) as data:
        return data


def remote(url: str, size: int | None = None) -> RemoteImage:
    return RemoteImage(Source.ATTACHMENT, REF.attachment_id, url, size)


async def do_not_wait() -> None:
    """No query runs."""


def downloader(
    session: aiohttp.ClientSession,
    current: list[RemoteImage],
    recent: list[RemoteImage] | None = None,
    *,
    host: str = "127.0.0.1",
    yield_to_queries: Callable[[], Awaitable[None]] = do_not_wait,
) -> Downloader:
    """current: what the message carries now. recent: what was received lately."""

    async def look_up(ref: ImageRef) -> list[RemoteImage]:
        return current

    by_key = {image.key: image for image in recent or []}
    return Downloader(session, look_up, by_key, yield_to_queries, hosts=frozenset({host}), max_bytes=5000)


async def test_an_image_is_downloaded_from_its_messages_current_url(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    assert await fetched(downloader(session, [remote(cdn.url + "/good")])) == IMAGE


async def test_a_recent_url_saves_the_look_up_of_the_message(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    known = downloader(session, [], [remote(cdn.url + "/good")])
    assert await fetched(known) == IMAGE


async def test_an_expired_url_is_looked_up_again(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    expired = downloader(session, [remote(cdn.url + "/good")], [remote(cdn.url + "/expired")])
    assert await fetched(expired) == IMAGE
    assert cdn.requests == ["/expired", "/good"]


async def test_an_image_that_its_message_no_longer_carries_is_gone(session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageGone):
        await fetched(downloader(session, []))


async def test_a_body_without_end_is_cut_off_at_the_limit(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageTooLarge):
        await fetched(downloader(session, [remote(cdn.url + "/endless")]))


async def test_a_file_whose_stated_size_is_too_large_is_not_requested(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageTooLarge):
        await fetched(downloader(session, [remote(cdn.url + "/good", size=5001)]))
    assert cdn.requests == []


async def test_a_redirect_within_the_allowed_hosts_is_followed(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    assert await fetched(downloader(session, [remote(cdn.url + "/moved")])) == IMAGE


@pytest.mark.parametrize("path", ["/away", "/circle", "/missing", "/nowhere"])
async def test_a_redirect_to_another_host_a_redirect_loop_and_an_error_make_an_image_unreachable(
    cdn: Cdn, session: aiohttp.ClientSession, path: str
) -> None:
    with pytest.raises(ImageUnreachable):
        await fetched(downloader(session, [remote(cdn.url + path)]))


@pytest.mark.parametrize(("path", "size"), [("/good", 1001), ("/good", 999), ("/nothing", 9), ("/nothing", None)])
async def test_another_size_than_discord_told_is_no_image_yet(
    cdn: Cdn, session: aiohttp.ClientSession, path: str, size: int | None
) -> None:
    with pytest.raises(ImageUnreachable):
        await fetched(downloader(session, [remote(cdn.url + path, size)]))


async def test_an_error_page_with_status_200_is_no_image_yet(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    with pytest.raises(ImageUnreachable):
        await fetched(downloader(session, [remote(cdn.url + "/page")]))
    assert await fetched(downloader(session, [remote(cdn.url + "/good", len(IMAGE))])) == IMAGE


async def test_a_host_that_does_not_answer_in_time_is_unreachable(cdn: Cdn) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(0.2)) as impatient:
        with pytest.raises(ImageUnreachable):
            await fetched(downloader(impatient, [remote(cdn.url + "/slow")]))


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
        await fetched(downloader(session, [remote(url)]))


async def test_other_machines_are_contacted_over_tls_only(session: aiohttp.ClientSession) -> None:
    elsewhere = downloader(session, [remote("http://cdn.discordapp.com/x.png")], host="cdn.discordapp.com")
    with pytest.raises(ImageUnreachable, match="https"):
        await fetched(elsewhere)


@pytest.fixture
def large_files_from_900_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "LARGE_FILE_BYTES", 900)


@pytest.mark.usefixtures("large_files_from_900_bytes")
@pytest.mark.parametrize("size", [1000, None])
async def test_few_large_files_are_in_memory_and_one_author_has_two_even_where_their_size_was_not_known(
    cdn: Cdn, session: aiohttp.ClientSession, size: int | None
) -> None:
    bounded = downloader(session, [remote(cdn.url + "/good", size)])
    async with bounded.fetch(REF, ignore), AsyncExitStack() as second:
        await second.enter_async_context(bounded.fetch(REF, ignore))
        third = asyncio.create_task(fetched(bounded))
        for another in (replace(REF, author_id=6), replace(REF, channel=ChannelRef(2, 3))):
            async with asyncio.timeout(60), bounded.fetch(another, ignore) as data:
                assert data == IMAGE
        assert not third.done()
        await second.aclose()
        assert await asyncio.wait_for(third, 60) == IMAGE


@pytest.mark.usefixtures("large_files_from_900_bytes")
async def test_a_large_file_that_stalls_is_given_up(
    cdn: Cdn, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "_LARGE_FILE_STALL_S", 0.1)
    bounded = downloader(session, [remote(cdn.url + "/slow", 1000)])
    with pytest.raises(ImageUnreachable):
        await asyncio.wait_for(fetched(bounded), 30)


async def test_the_bytes_that_arrive_are_counted_as_they_come(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    counts: list[int] = []
    async with downloader(session, [remote(cdn.url + "/good")]).fetch(REF, counts.append):
        assert sum(counts) == len(IMAGE)


@pytest.mark.usefixtures("large_files_from_900_bytes")
async def test_small_files_do_not_wait_for_a_large_one(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    images = [remote(cdn.url + "/good", 1000)]
    bounded = downloader(session, images)
    async with bounded.fetch(REF, ignore):
        images[:] = [remote(cdn.url + "/small", 5)]
        assert await asyncio.wait_for(fetched(bounded), 60) == b"small"


@pytest.mark.usefixtures("large_files_from_900_bytes")
async def test_a_large_file_that_fails_lets_the_next_one_in(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    recent = [remote(cdn.url + "/expired", 1000)]
    bounded = downloader(session, [remote(cdn.url + "/missing", 1000)], recent)
    with pytest.raises(ImageUnreachable):
        await fetched(bounded)
    for path in ("/good", "/good"):
        with pytest.raises(ZeroDivisionError):
            async with downloader_of(bounded, cdn.url + path).fetch(REF, ignore):
                raise ZeroDivisionError
    assert await asyncio.wait_for(fetched(downloader_of(bounded, cdn.url + "/good")), 60) == IMAGE


def downloader_of(same: Downloader, url: str) -> Downloader:
    """The same downloader, now for a message that carries this image."""
    same._recent[REF.key] = remote(url, 1000)
    return same


async def test_a_downloaded_file_is_handed_on_once_no_query_runs(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    query_done, waiting = asyncio.Event(), asyncio.Event()

    async def yield_to_queries() -> None:
        waiting.set()
        await query_done.wait()

    polite = downloader(session, [remote(cdn.url + "/good")], yield_to_queries=yield_to_queries)
    fetching = asyncio.create_task(fetched(polite))
    await asyncio.wait_for(waiting.wait(), 10)
    assert not fetching.done()
    query_done.set()
    assert await fetching == IMAGE


async def test_a_small_copy_is_downloaded_where_there_is_one(cdn: Cdn, session: aiohttp.ClientSession) -> None:
    large = replace(remote(cdn.url + "/good", len(IMAGE)), small_url=cdn.url + "/small")
    assert await downloader(session, []).download_small(large) == b"small"
    assert cdn.requests == ["/small"]


@pytest.mark.parametrize("path", ["/expired", "/page", "/nothing", "/away"])
async def test_the_file_itself_takes_the_place_of_a_small_copy_that_fails(
    cdn: Cdn, session: aiohttp.ClientSession, path: str
) -> None:
    large = replace(remote(cdn.url + "/good", len(IMAGE)), small_url=cdn.url + path)
    assert await downloader(session, []).download_small(large) == IMAGE


async def test_a_file_that_is_too_large_for_a_thumbnail_is_not_downloaded(
    cdn: Cdn, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "LARGE_FILE_BYTES", 999)
    with pytest.raises(ImageTooLarge):
        await downloader(session, []).download_small(remote(cdn.url + "/good", len(IMAGE)))
    assert cdn.requests == []
