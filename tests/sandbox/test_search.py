"""Guild message search: what matches, who may see it, pages, and an index that is not ready."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from sandbox.faults import Fault
from sandbox.guild_ops import add_channel
from sandbox.permissions import READ_MESSAGE_HISTORY, VIEW_CHANNEL
from sandbox.server import Sandbox
from sandbox.state import Overwrite
from tests.sandbox.images import png
from tests.sandbox.person import Answer, Person

Connect = Callable[[str], Awaitable[Person]]
PNG = png(4, 4)


@pytest.fixture
async def bot(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with Person(sandbox.url, sandbox.bot_token, bot=True) as client:
        yield client


async def asked(sandbox: Sandbox, client: Person, *pairs: tuple[str, Any], guild: str = "The Nest") -> Answer:
    return await client.call("GET", f"/guilds/{sandbox.guild(guild).id}/messages/search?{urlencode(pairs)}")


async def found(sandbox: Sandbox, client: Person, *pairs: tuple[str, Any]) -> list[str]:
    """The ids of the messages on the page, in its order."""
    answer = await asked(sandbox, client, *pairs)
    assert answer.status == 200, answer
    assert all(len(hit) == 1 and hit[0]["hit"] for hit in answer.body["messages"])
    return [hit[0]["id"] for hit in answer.body["messages"]]


async def test_messages_are_found_by_what_they_have(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat").id
    picture = (await cem.share(chat, PNG))["id"]
    film = (await cem.share(chat, b"film", "film.mp4"))["id"]
    tune = (await cem.share(chat, b"tune", "tune.mp3"))["id"]
    link = (await cem.say(chat, f"see {sandbox.url}/sandbox/samples/fox-and-tent.png"))["id"]
    plain = (await cem.say(chat, "nothing"))["id"]
    reference = {"type": 1, "channel_id": str(chat), "message_id": picture}
    forward = (await cem.say(chat, message_reference=reference))["id"]
    everything = [forward, plain, link, tune, film, picture]
    for kind, having in {
        "image": [link, picture],
        "video": [film],
        "sound": [tune],
        "file": [tune, film, picture],
        "embed": [link],
        "link": [link],
        "snapshot": [forward],
        "sticker": [],
        "poll": [],
    }.items():
        assert await found(sandbox, bot, ("has", kind)) == having, kind
        assert await found(sandbox, bot, ("has", f"-{kind}")) == [m for m in everything if m not in having], kind
    assert await found(sandbox, bot, ("has", "image"), ("has", "file")) == [picture]
    assert await found(sandbox, bot, ("has", "file"), ("has", "-image")) == [tune, film]
    assert await found(sandbox, bot, ("embed_type", "image")) == [link]
    assert await found(sandbox, bot, ("link_hostname", "127.0.0.1")) == [link]
    assert await found(sandbox, bot, ("attachment_extension", "mp4")) == [film]
    assert await found(sandbox, bot, ("attachment_filename", "Tune.mp3")) == [tune]


async def test_messages_are_found_by_author_channel_words_and_ids(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem, bob = await person("cem"), await person("bob")
    chat, pictures = sandbox.channel("chat").id, sandbox.channel("pictures").id
    first = (await cem.say(chat, "A magpie, on a fence"))["id"]
    second = (await bob.say(pictures, f"<@{sandbox.user('cem').id}> magpie magpie"))["id"]
    third = (await bob.say(chat, "answer", message_reference={"message_id": first}))["id"]
    fourth = (await bot.say(chat, "a machine"))["id"]
    cem_id, bob_id = sandbox.user("cem").id, sandbox.user("bob").id
    assert await found(sandbox, bot) == [fourth, third, second, first]
    assert await found(sandbox, bot, ("author_id", cem_id)) == [first]
    assert await found(sandbox, bot, ("author_id", cem_id), ("author_id", bob_id)) == [third, second, first]
    assert await found(sandbox, bot, ("channel_id", chat)) == [fourth, third, first]
    assert await found(sandbox, bot, ("channel_id", chat), ("channel_id", pictures), ("author_id", bob_id)) == [
        third,
        second,
    ]
    assert await found(sandbox, bot, ("author_type", "bot")) == [fourth]
    assert await found(sandbox, bot, ("author_type", "-bot")) == [third, second, first]
    assert await found(sandbox, bot, ("content", "MAGPIE fence")) == [first]
    assert await found(sandbox, bot, ("mentions", cem_id)) == [third, second]
    assert await found(sandbox, bot, ("replied_to_message_id", first)) == [third]
    assert await found(sandbox, bot, ("replied_to_user_id", cem_id)) == [third]
    assert await found(sandbox, bot, ("min_id", first), ("max_id", fourth)) == [third, second]
    assert await found(sandbox, bot, ("sort_order", "asc")) == [first, second, third, fourth]
    assert await found(sandbox, bot, ("content", "magpie"), ("sort_by", "relevance")) == [second, first]
    assert await found(sandbox, bot, ("pinned", "true")) == await found(sandbox, bot, ("mention_everyone", "1")) == []


async def test_every_page_states_the_number_of_all_matches(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat").id
    ids = [(await cem.say(chat, f"{n}"))["id"] for n in range(60)][::-1]
    assert await found(sandbox, bot) == ids[:25]
    assert await found(sandbox, bot, ("limit", 10), ("offset", 5)) == ids[5:15]
    assert await found(sandbox, bot, ("max_id", ids[24])) == ids[25:50]
    assert await found(sandbox, bot, ("offset", 9975)) == []
    assert (await asked(sandbox, bot, ("limit", 1))).body["total_results"] == 60
    assert (await asked(sandbox, bot, ("max_id", ids[24]))).body["total_results"] == 35


@pytest.mark.parametrize(
    "wrong",
    [
        ("limit", 26),
        ("limit", 0),
        ("offset", 9976),
        ("has", "cat"),
        ("author_type", "cat"),
        ("embed_type", "gifv"),
        ("sort_by", "size"),
        ("sort_order", "up"),
        ("channel_id", "x"),
        ("max_id", "x"),
        ("include_nsfw", "perhaps"),
        ("content", "x" * 1025),
        ("slop", 101),
    ],
)
async def test_a_malformed_query_is_rejected_at_its_parameter(
    sandbox: Sandbox, bot: Person, wrong: tuple[str, Any]
) -> None:
    refused = await asked(sandbox, bot, wrong)
    assert (refused.status, refused.code, list(refused.body["errors"])) == (400, 50035, [wrong[0]])


async def test_only_what_the_caller_may_read_is_found_and_counted(sandbox: Sandbox, person: Connect) -> None:
    ann, dora = await person("ann"), await person("dora")
    places = ("chat", "regulars", "moderators", "party planning", "cats only")
    ids = {name: (await ann.say(sandbox.channel(name).id, "here"))["id"] for name in places}
    silent = add_channel(
        sandbox.state,
        sandbox.guild("The Nest"),
        "no-history",
        0,
        Overwrite(sandbox.guild("The Nest").id, 0, deny=READ_MESSAGE_HISTORY),
    )
    unheard = (await ann.say(silent.id, "here"))["id"]
    assert set(await found(sandbox, ann)) == {*ids.values(), unheard}
    assert await found(sandbox, dora) == [ids["cats only"], ids["chat"]]
    assert (await asked(sandbox, dora, ("limit", 1))).body["total_results"] == 2
    for hidden in (sandbox.channel("regulars").id, sandbox.channel("party planning").id, silent.id):
        refused = await asked(sandbox, dora, ("channel_id", hidden))
        assert (refused.status, refused.code) == (403, 50001)
    assert (await asked(sandbox, dora, ("channel_id", "1"))).code == 10003
    assert (await asked(sandbox, dora, ("channel_id", sandbox.channel("general").id))).code == 10003
    assert (await asked(sandbox, dora, guild="Second Branch")).code == 10004


async def test_a_private_thread_is_searched_for_its_members_only_even_where_others_may_manage_it(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    ann, bob = await person("ann"), await person("bob")
    planning, cats = sandbox.channel("party planning"), sandbox.channel("cats only")
    planned = (await ann.say(planning.id, "cake"))["id"]
    await ann.say(cats.id, "cat")
    await ann.ok("PATCH", f"/channels/{cats.id}", {"archived": True})
    assert planned not in await found(sandbox, bob)
    answer = await asked(sandbox, bot)
    assert answer.body["total_results"] == 2
    assert {t["id"] for t in answer.body["threads"]} == {str(planning.id), str(cats.id)}
    assert [m["id"] for m in answer.body["members"]] == [str(planning.id)]


async def test_age_restricted_channels_are_searched_on_demand(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem = await person("cem")
    dark = sandbox.channel("after-dark").id
    posted = (await cem.share(dark, PNG))["id"]
    thread = await cem.ok("POST", f"/channels/{dark}/messages/{posted}/threads", {"name": "more"})
    within = (await cem.say(thread["id"], "within"))["id"]
    assert await found(sandbox, bot) == await found(sandbox, bot, ("channel_id", dark)) == []
    assert await found(sandbox, bot, ("include_nsfw", "true")) == [within, posted]


async def test_a_bot_without_the_content_intent_or_the_permission_is_refused(sandbox: Sandbox, bot: Person) -> None:
    sandbox.application.message_content = False
    refused = await asked(sandbox, bot)
    assert (refused.status, refused.code) == (403, 50001)
    sandbox.application.message_content = True
    nest = sandbox.guild("The Nest")
    for role in nest.roles.values():
        role.permissions &= ~(READ_MESSAGE_HISTORY | VIEW_CHANNEL)
    sandbox.channel("regulars").overwrites.clear()
    refused = await asked(sandbox, bot)
    assert (refused.status, refused.code) == (403, 50013)


async def test_hits_come_without_reactions(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat").id
    posted = await cem.share(chat, PNG)
    await cem.ok("PUT", f"/channels/{chat}/messages/{posted['id']}/reactions/%F0%9F%91%8D/@me")
    [[hit]] = (await asked(sandbox, bot)).body["messages"]
    assert "reactions" not in hit and hit["attachments"][0]["id"] == posted["attachments"][0]["id"]


async def test_an_index_that_is_not_ready_answers_202_the_given_number_of_times(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem = await person("cem")
    await cem.say(sandbox.channel("chat").id, "one")
    fault = sandbox.faults.add(Fault("not_indexed", times=2, seconds=2))
    await bot.ok("GET", f"/channels/{sandbox.channel('chat').id}/messages")
    for _ in range(2):
        early = await asked(sandbox, bot)
        assert (early.status, early.code, early.body["retry_after"]) == (202, 110000, 2)
    assert len(await found(sandbox, bot)) == 1
    assert fault.triggered == 2


async def test_a_short_page_lacks_its_end_but_the_number_of_matches_stays(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem = await person("cem")
    ids = [(await cem.say(sandbox.channel("chat").id, f"{n}"))["id"] for n in range(8)][::-1]
    sandbox.faults.add(Fault("short_page"))
    answer = await asked(sandbox, bot, ("limit", 5))
    assert [hit[0]["id"] for hit in answer.body["messages"]] == ids[:3]
    assert answer.body["total_results"] == 8
    assert await found(sandbox, bot, ("limit", 5), ("max_id", ids[2])) == ids[3:8]
