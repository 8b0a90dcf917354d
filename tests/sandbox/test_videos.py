"""Videos: what their headers say, their still pictures through the media proxy, and embeds of links to them."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sandbox.server import Sandbox
from sandbox.video_headers import Video, read_video
from tests.sandbox.images import png
from tests.sandbox.person import Person
from tests.sandbox.videos import box, mp4

Connect = Callable[[str], Awaitable[Person]]
COVER = png(16, 9)


def test_a_video_states_its_size_length_and_cover() -> None:
    assert read_video(mp4(cover=COVER)) == Video(64, 36, 2.5, COVER)
    assert read_video(mp4(cover=b"\xff\xd8\xff")).cover == b"\xff\xd8\xff"
    assert read_video(mp4()) == Video(64, 36, 2.5, None)


def test_a_video_may_state_no_length() -> None:
    endless = mp4(seconds=0).replace(struct.pack(">II", 1000, 0), struct.pack(">II", 1000, (1 << 32) - 1))
    assert read_video(endless).seconds == 0


def test_what_is_cut_or_no_video_is_none_or_a_part_of_it() -> None:
    whole = mp4(cover=COVER)
    for end in range(len(whole)):
        found = read_video(whole[:end])
        assert found is None or (found.width, found.height) == (64, 36)
    for other in (b"", png(3, 3), box(b"ftyp", b"isom"), b"\0\0\0\0ftyp", b"\0\0\0\1ftyp" + bytes(40)):
        assert read_video(other) is None


async def fetched(client: Person, url: str) -> tuple[int, bytes, str]:
    async with client.http.get(url) as response:
        return response.status, await response.read(), response.content_type


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
async def test_the_media_proxy_shows_a_still_picture_of_a_video(sandbox: Sandbox, person: Connect, kind: str) -> None:
    cem = await person("cem")
    channel = sandbox.channel("pictures").id
    data = mp4(cover=COVER)
    [video] = (await cem.share(channel, data, "film.mp4"))["attachments"]
    assert (video["content_type"], video["width"], video["height"], video["duration_secs"]) == (
        "video/mp4",
        64,
        36,
        2.5,
    )
    assert (await fetched(cem, video["proxy_url"] + f"format={kind}&width=32"))[1:] == (COVER, "image/png")
    assert (await fetched(cem, video["proxy_url"]))[:2] == (200, data)
    assert (await fetched(cem, video["url"]))[:2] == (200, data)
    unsigned = video["proxy_url"].split("?")[0] + f"?format={kind}"
    assert (await fetched(cem, unsigned))[0] == 404


async def test_the_media_proxy_refuses_what_it_cannot_show(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("pictures").id
    for name, data, plain, still in (
        ("bare.mp4", mp4(), 200, 415),
        ("broken.mp4", b"no video", 415, 415),
        ("notes.txt", b"text", 415, 415),
        ("broken.png", b"no image", 415, 415),
        ("tune.mp3", b"tune", 200, 200),
        ("whole.png", png(2, 2), 200, 200),
    ):
        [file] = (await cem.share(channel, data, name))["attachments"]
        assert (await fetched(cem, file["url"]))[0] == 200
        assert (await fetched(cem, file["proxy_url"]))[0] == plain, name
        assert (await fetched(cem, file["proxy_url"] + "format=webp"))[0] == still, name


@pytest.mark.parametrize(("name", "kind", "wanted"), [("film.mp4", "video", "video"), ("film.gifv", "gifv", "gif")])
async def test_a_link_to_a_sample_video_gets_an_embed_with_a_thumbnail(
    tmp_path: Path, name: str, kind: str, wanted: str
) -> None:
    (tmp_path / "film.mp4").write_bytes(mp4(cover=COVER))
    async with (
        Sandbox.serve(samples_dir=tmp_path) as sandbox,
        Person(sandbox.url, sandbox.user("cem").token) as cem,
    ):
        await cem.connect()
        link = f"{sandbox.url}/sandbox/samples/{name}"
        sent = await cem.say(sandbox.channel("chat").id, f"look {link}")
        [embed] = (await cem.event("MESSAGE_UPDATE", lambda d: d["id"] == sent["id"]))["embeds"]
        assert (embed["type"], embed["url"]) == (kind, link)
        assert (embed["video"]["width"], embed["thumbnail"]["height"]) == (64, 36)
        assert (await fetched(cem, embed["thumbnail"]["proxy_url"]))[1:] == (COVER, "image/png")
        for url in (embed["video"]["proxy_url"], link):
            assert (await fetched(cem, url))[1:] == (mp4(cover=COVER), "video/mp4")
        query = f"/guilds/{sandbox.guild('The Nest').id}/messages/search?has=video&embed_type={wanted}"
        assert [m["id"] for [m] in (await cem.ok("GET", query))["messages"]] == [sent["id"]]
