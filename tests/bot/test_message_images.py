from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.discord_io.attachments import _large_emojis, images_of, is_withheld, preview_id
from bot.discord_io.messages import Messages, channel_ref
from bot.models import ChannelRef, ImageRef, RemoteImage, Source, ThreadKind
from tests.bot import discord_objects
from tests.bot.discord_objects import GUILD, PRIVATE_THREAD, attachment, message, snapshot

HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
BOT = 9
PROXIED = "https://media.discordapp.net/external/abc/https/example.org/cat.png"


@pytest.fixture(autouse=True)
def discords_own_cdn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests with a sandbox point discord.py elsewhere, for the whole process."""
    monkeypatch.setattr(discord.Asset, "BASE", "https://cdn.discordapp.com")


@pytest.fixture
def server() -> discord.Guild:
    return discord_objects.guild(
        [discord_objects.channel(1), discord_objects.channel(2, discord_objects.FORUM)],
        threads=[discord_objects.thread(500, 1), discord_objects.thread(501, 2, PRIVATE_THREAD)],
    )


def embed(**media: dict[str, Any]) -> dict[str, Any]:
    return {"type": "link", "url": "https://example.org", **media}


def media(url: str = "https://example.org/cat.png", proxy_url: str | None = PROXIED) -> dict[str, Any]:
    return {"url": url, "width": 1, "height": 1, **({"proxy_url": proxy_url} if proxy_url else {})}


def messages(hosts: frozenset[str] = HOSTS, *, other_bots: bool = False) -> Messages:
    client: Any = SimpleNamespace(user=discord.Object(BOT))
    return Messages(client, hosts, other_bots=other_bots)


def images(message: discord.Message, *, other_bots: bool = False) -> list[ImageRef]:
    return [*messages(other_bots=other_bots).seen(message, channel_ref(message.channel)).images]


def test_an_attached_image_is_identified_by_its_ids(server: discord.Guild) -> None:
    found = images(message(server, 1, 10, attachments=[attachment(20)]))
    assert found == [ImageRef(ChannelRef(GUILD, 1), 10, 20, Source.ATTACHMENT, 50)]


@pytest.mark.parametrize(
    ("filename", "content_type", "seen"),
    [
        ("cat.png", None, True),
        ("CAT.JPEG", None, True),
        ("noname", "image/avif", True),
        ("cat.png", "application/octet-stream", True),
        ("notes.txt", "text/plain", False),
        ("film.mp4", "video/mp4", False),
        ("drawing", "image/svg+xml", False),
        ("noname", None, False),
    ],
)
def test_either_hint_makes_a_file_an_image(
    server: discord.Guild, filename: str, content_type: str | None, seen: bool
) -> None:
    more = {} if content_type is None else {"content_type": content_type}
    found = images(message(server, 1, 10, attachments=[attachment(20, filename, **more)]))
    assert bool(found) is seen


def test_a_thread_has_a_parent_and_a_kind(server: discord.Guild) -> None:
    assert channel_ref(server.get_thread(500)) == ChannelRef(GUILD, 500, 1, ThreadKind.PUBLIC)
    assert channel_ref(server.get_thread(501)) == ChannelRef(GUILD, 501, 2, ThreadKind.PRIVATE)


def test_what_is_not_a_message_channel_of_a_server_has_no_channel_ref(server: discord.Guild) -> None:
    assert channel_ref(server.get_channel(2)) is None  # a forum holds no messages itself
    assert channel_ref(discord.Object(5)) is None
    assert channel_ref(None) is None


def test_a_forwarded_image_belongs_to_the_forwarding_message(server: discord.Guild) -> None:
    forwarded = snapshot(attachments=[attachment(20)])
    found = images(message(server, 1, 10, message_snapshots=[forwarded]))
    assert found == [ImageRef(ChannelRef(GUILD, 1), 10, 20, Source.FORWARD, 50)]


def test_a_link_preview_is_downloaded_through_discords_proxy_only(server: discord.Guild) -> None:
    through_proxy = message(server, 1, 10, embeds=[embed(thumbnail=media())])
    assert [seen.url for seen in messages().downloadable_images_of(through_proxy)] == [PROXIED]
    elsewhere = message(server, 1, 10, embeds=[embed(image=media(proxy_url="https://evil.example/x.png"))])
    unproxied = message(server, 1, 10, embeds=[embed(image=media(proxy_url=None))])
    assert messages().downloadable_images_of(elsewhere) == messages().downloadable_images_of(unproxied) == []


def test_a_preview_keeps_its_id_when_another_is_removed(server: discord.Guild) -> None:
    first, second = embed(image=media("https://example.org/1.png")), embed(image=media("https://example.org/2.png"))
    both = images(message(server, 1, 10, embeds=[first, second]))
    assert images(message(server, 1, 10, embeds=[second])) == both[1:]
    assert all(0 < ref.attachment_id < 2**63 for ref in both)


def test_a_preview_of_a_signed_url_keeps_its_id_when_the_signature_changes() -> None:
    signed = "https://cdn.discordapp.com/attachments/1/2/cat.png?ex={}&is=1&hm=3"
    assert preview_id(10, signed.format(1)) == preview_id(10, signed.format(2))
    assert preview_id(10, "https://example.org/?id=1") != preview_id(10, "https://example.org/?id=2")


def test_a_preview_whose_address_is_no_url_costs_no_other_image_of_its_message(server: discord.Guild) -> None:
    odd = embed(thumbnail=media("https://[x/"))
    both = message(server, 1, 10, attachments=[attachment(20)], embeds=[odd, embed(thumbnail=media())])
    assert [image.source for image in images(both)] == [Source.ATTACHMENT, Source.PREVIEW, Source.PREVIEW]
    proxy = embed(thumbnail=media(proxy_url="https://[x/"))
    listed = message(server, 1, 11, attachments=[attachment(21)], embeds=[proxy])
    assert [image.source for image in images(listed)] == [Source.ATTACHMENT]


def test_images_of_other_bots_and_webhooks_are_indexed_only_if_configured(server: discord.Guild) -> None:
    by_bot = message(server, 1, 10, bot=True, attachments=[attachment(20)])
    by_webhook = message(server, 1, 10, webhook_id="7", attachments=[attachment(20)])
    assert images(by_bot) == images(by_webhook) == []
    assert len(images(by_bot, other_bots=True)) == len(images(by_webhook, other_bots=True)) == 1


def test_the_bots_own_messages_are_never_indexed(server: discord.Guild) -> None:
    own = message(server, 1, 10, author=BOT, bot=True, attachments=[attachment(20)])
    assert images(own, other_bots=True) == []


def test_a_spoiler_is_recognised_by_its_flag_or_its_name(server: discord.Guild) -> None:
    seen = messages().downloadable_images_of(
        message(server, 1, 10, attachments=[attachment(20, "SPOILER_cat.png"), attachment(21, flags=8), attachment(22)])
    )
    assert [one.spoiler for one in seen] == [True, True, False]


@pytest.mark.parametrize(
    ("content", "spoiler"),
    [
        ("||https://example.org||", True),
        ("look || this\n\nhttps://example.org/a?b=|c ||", True),
        ("|||https://example.org|||", True),
        ("||[words](https://example.org)||", True),
        ("`||` ||https://example.org||", True),
        ("https://example.org", False),
        ("||words|| https://example.org", False),
        ("https://example.org ||words||", False),
        ("||https://example.org", False),
        ("||||", False),
        ("", False),
    ],
)
def test_the_preview_of_a_link_between_bars_is_a_spoiler(server: discord.Guild, content: str, spoiler: bool) -> None:
    more: dict[str, Any] = {"content": content, "embeds": [embed(image=media())]}
    for posted in (message(server, 1, 10, **more), message(server, 1, 10, message_snapshots=[snapshot(**more)])):
        assert [one.spoiler for one in images_of(posted)] == [spoiler]


@given(before=st.text("|`\\ a\n"), inside=st.text("|`\\ a\n"), after=st.text("|`\\ a\n"))
def test_whatever_stands_around_it_a_link_that_discord_covers_is_covered(before: str, inside: str, after: str) -> None:
    content = f"{before}||{inside}https://example.org{inside}||{after}"
    server = discord_objects.guild([discord_objects.channel(1)])
    [seen] = images_of(message(server, 1, 10, content=content, embeds=[embed(image=media())]))
    assert seen.spoiler


@pytest.mark.parametrize("where", ["gallery", "container", "section"])
def test_a_file_that_a_bots_layout_covers_is_a_spoiler(server: discord.Guild, where: str) -> None:
    file = {"media": {"url": "attachment://cat.png"}, "spoiler": where != "container"}
    text = {"type": 10, "content": "words"}
    component: dict[str, Any] = {
        "gallery": {"type": 12, "items": [{**file, "spoiler": False}, file]},
        "container": {"type": 17, "spoiler": True, "components": [{"type": 12, "items": [file]}]},
        "section": {"type": 9, "components": [text], "accessory": {"type": 11, **file}},
    }[where]
    more: dict[str, Any] = {"attachments": [attachment(20)], "components": [text, component]}
    for posted in (message(server, 1, 10, **more), message(server, 1, 10, message_snapshots=[snapshot(**more)])):
        assert [one.spoiler for one in images_of(posted)] == [True]
    more["components"] = [text]
    assert [one.spoiler for one in images_of(message(server, 1, 10, **more))] == [False]


def test_a_message_still_carries_an_image_whose_host_is_not_listed(server: discord.Guild) -> None:
    posted = message(server, 1, 10, attachments=[attachment(20)])
    assert messages(frozenset({"elsewhere.example"})).downloadable_images_of(posted) == []
    assert [one.attachment_id for one in images_of(posted)] == [20]


STICKER = {"id": "5", "name": "s", "format_type": 1}
SUPPRESS_EMBEDS = 1 << 2


@pytest.mark.parametrize(
    ("more", "kept_back"),
    [
        ({}, True),
        ({"flags": SUPPRESS_EMBEDS}, True),
        ({"message_snapshots": [snapshot()]}, True),
        ({"message_snapshots": [snapshot(content="words")]}, False),
        ({"message_snapshots": [snapshot(attachments=[attachment(20)])]}, False),
        ({"content": "words"}, False),
        ({"attachments": [attachment(20, "notes.txt")]}, False),
        ({"embeds": [embed()]}, False),
        ({"sticker_items": [STICKER]}, False),
        ({"bot": True}, True),
        ({"bot": True, "flags": SUPPRESS_EMBEDS}, False),
    ],
)
def test_an_empty_message_counts_as_withheld_by_discord(
    server: discord.Guild, more: dict[str, Any], kept_back: bool
) -> None:
    assert is_withheld(message(server, 1, 10, **more)) is kept_back


def sticker(kind: int) -> dict[str, Any]:
    return {"id": "70", "name": "hop", "format_type": kind}


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        (1, "https://cdn.discordapp.com/stickers/70.png"),
        (2, "https://cdn.discordapp.com/stickers/70.png"),
        (3, None),
        (4, "https://media.discordapp.net/stickers/70.gif"),
        (9, None),
    ],
)
def test_a_sticker_is_an_image_unless_it_is_drawn_by_instructions(
    server: discord.Guild, kind: int, url: str | None
) -> None:
    found = messages().downloadable_images_of(message(server, 1, 10, sticker_items=[sticker(kind)]))
    assert found == ([] if url is None else [RemoteImage(Source.STICKER, 70, url, description="hop")])


def test_where_another_cdn_is_set_stickers_and_emojis_of_every_kind_are_there(
    server: discord.Guild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discord.Asset, "BASE", "https://cdn.example")
    for kind in (1, 2, 4):
        [image] = images_of(message(server, 1, 10, sticker_items=[sticker(kind)]))
        assert image.url.startswith("https://cdn.example/stickers/70.")
    [image] = images_of(message(server, 1, 10, content=f"<a:hop:{EMOJI}>"))
    assert image.url.startswith(f"https://cdn.example/emojis/{EMOJI}.")


EMOJI = 1_457_000_000_000_000_001


@pytest.mark.parametrize(
    ("content", "large"),
    [
        (f"<:hop:{EMOJI}>", 1),
        (f" <:hop:{EMOJI}>\n<a:flap:{EMOJI + 1}> ", 2),
        (f"<:hop:{EMOJI}><:hop:{EMOJI}>", 1),
        (f"\N{PARTY POPPER}<:hop:{EMOJI}>\N{HEAVY BLACK HEART}\ufe0f\N{THUMBS UP SIGN}\U0001f3fd", 1),
        ("\N{PARTY POPPER}", 0),
        (f"look <:hop:{EMOJI}>", 0),
        (f"||<:hop:{EMOJI}>||", 0),
        (f"# <:hop:{EMOJI}>", 0),
        (f"<:hop:{EMOJI}>" * 30, 1),
        (f"<:hop:{EMOJI}>" * 31, 0),
        (f"<:hop:{EMOJI}>" + "\N{PARTY POPPER}" * 30, 0),
        ("<:hop:9999999999999999999>", 0),
        ("<:hop:99999999999999999999>", 0),
    ],
)
def test_the_custom_emojis_of_a_text_of_nothing_but_emoji_are_images(
    server: discord.Guild, content: str, large: int
) -> None:
    found = images(message(server, 1, 10, content=content))
    assert [(image.source, image.attachment_id) for image in found] == [
        (Source.EMOJI, EMOJI + at) for at in range(large)
    ]


@given(st.text(st.sampled_from("<:a>0123456789x\N{PARTY POPPER}|"), max_size=60))
def test_whatever_a_text_is_its_emojis_have_ids_that_can_be_stored(content: str) -> None:
    posted = SimpleNamespace(content=content)
    assert all(0 <= image.attachment_id < 2**63 for image in _large_emojis(cast(discord.Message, posted)))


def video(**more: Any) -> dict[str, Any]:
    size = {"width": 640, "height": 360, "content_type": "video/mp4", **more}
    return attachment(20, "film.mp4", **size)


def test_of_a_video_the_picture_that_discords_proxy_shows_is_an_image(server: discord.Guild) -> None:
    address = "https://media.discordapp.net/attachments/1/20/film.mp4?ex=1&is=2&hm=3&"
    shown = video(proxy_url=address, description="a train")
    [image] = messages().downloadable_images_of(message(server, 1, 10, attachments=[shown]))
    assert image == RemoteImage(Source.VIDEO, 20, f"{address}format=webp", description="a train")
    hidden = video(flags=1 << 3)
    assert [one.spoiler for one in images_of(message(server, 1, 10, attachments=[hidden]))] == [True]


def test_of_a_video_that_discord_could_not_read_there_is_no_picture(server: discord.Guild) -> None:
    assert images(message(server, 1, 10, attachments=[video(width=None, height=None)])) == []


def test_what_a_forwarded_message_carries_is_forwarded_whatever_it_is(server: discord.Guild) -> None:
    for part in (
        {"attachments": [video()]},
        {"sticker_items": [sticker(1)]},
        {"content": f"<:hop:{EMOJI}>"},
    ):
        [image] = images(message(server, 1, 10, message_snapshots=[snapshot(**part)]))
        assert image.source is Source.FORWARD


@pytest.mark.parametrize(
    ("width", "height", "asked"),
    [(4000, 3000, "width=256&height=192"), (300, 6000, "width=192&height=3840"), (50, 40, "width=50&height=40")],
)
def test_discords_proxy_is_asked_for_a_small_copy_in_the_same_proportions(
    server: discord.Guild, width: int, height: int, asked: str
) -> None:
    [found] = images_of(message(server, 1, 10, attachments=[attachment(20, width=width, height=height)]))
    assert found.small_url is not None
    assert found.small_url.endswith(f"&format=webp&{asked}")
    assert "?ex=" in found.small_url
    assert "&&" not in found.small_url


def test_there_is_no_small_copy_of_a_file_whose_size_discord_does_not_know(server: discord.Guild) -> None:
    [found] = images_of(message(server, 1, 10, attachments=[attachment(20)]))
    assert found.small_url is None
