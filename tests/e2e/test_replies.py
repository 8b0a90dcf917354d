"""What the bot said about an image goes with the image."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from bot.discord_io.client import MagpieBot
from sandbox.faults import Fault
from tests.e2e.harness import House, sample, until
from tests.e2e.member import PATIENCE_S, STRING, Member, Reply


async def announce_by(home: House, mode: str) -> None:
    bob = await home.member("bob")
    await bob.use(home.nest, home.channel("pictures"), "tagging", [{"type": 3, "name": "mode", "value": mode}])


async def post_with_tags_below(home: House, *scenes: str, text: str = "") -> tuple[dict[str, Any], Reply]:
    """A message in #images, and the bot's reply with its tags."""
    bob, images = await home.member("bob"), home.channel("pictures")
    await announce_by(home, "reply")
    since = len(bob.events)
    posted = await bob.post(images, *(sample(scene) for scene in scenes), text=text)
    told = await bob.message(lambda one: (one.get("message_reference") or {}).get("message_id") == posted["id"], since)
    await remembered(home, told)
    return posted, told


async def remembered(home: House, reply: Reply) -> None:
    """The bot notes a message of its own after sending it: a kill in between is not what these tests are about."""

    async def noted() -> bool:
        with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as connection:
            query = "SELECT 1 FROM replies WHERE message_id = ?"
            return connection.execute(query, (int(reply.message["id"]),)).fetchone() is not None

    await until(noted, "the bot knows what its message describes")


def there(home: House, reply: Reply) -> bool:
    return int(reply.message["id"]) in home.sandbox.state.channels[int(reply.message["channel_id"])].messages


async def gone(who: Member, reply: Reply) -> None:
    await who.event("MESSAGE_DELETE", lambda one: one["id"] == reply.message["id"])


async def test_the_tags_below_an_image_go_with_its_message(home: House, bot: MagpieBot) -> None:
    bob = await home.member("bob")
    posted, told = await post_with_tags_below(home, "panda")
    other, stays = await post_with_tags_below(home, "rocket")
    await bob.remove(posted)
    await gone(bob, told)
    assert there(home, stays)
    assert (await bob.find(home.nest, home.channel("pictures"), "a rocket")).ids == [other["id"]]


async def test_the_tags_of_two_images_go_when_one_of_them_is_edited_out(home: House, bot: MagpieBot) -> None:
    bob = await home.member("bob")
    posted, told = await post_with_tags_below(home, "panda", "rocket")
    path = f"/channels/{posted['channel_id']}/messages/{posted['id']}"
    await bob.ok("PATCH", path, {"attachments": [{"id": posted["attachments"][0]["id"]}]})
    await gone(bob, told)


async def test_a_public_answer_goes_with_any_of_the_images_that_it_shows(home: House, bot: MagpieBot) -> None:
    cem, images, chat = await home.member("cem"), home.channel("pictures"), home.channel("chat")
    asked_about, other = await cem.post(images, sample("panda")), await cem.post(images, sample("rocket"))
    shown = [await cem.post(place, sample("panda")) for place in (images, chat)]
    await home.indexed(asked_about, other, *shown)
    answer = await cem.ask_in_public(home.sandbox.application_id, asked_about, "similar")
    assert set(answer.ids) == {one["id"] for one in shown}
    await remembered(home, answer)
    await cem.remove(other)
    await home.forgotten(other)
    assert there(home, answer)
    await cem.remove(shown[1])
    await gone(cem, answer)


async def make_spoilers(who: Member, posted: dict[str, Any], *which: int) -> None:
    files = [{"id": one["id"], "is_spoiler": at in which} for at, one in enumerate(posted["attachments"])]
    await who.ok("PATCH", f"/channels/{posted['channel_id']}/messages/{posted['id']}", {"attachments": files})


async def test_what_was_said_openly_of_an_image_goes_when_it_becomes_a_spoiler(home: House, bot: MagpieBot) -> None:
    bob, images = await home.member("bob"), home.channel("pictures")
    posted, told = await post_with_tags_below(home, "panda", "rocket")
    linked, of_link = await post_with_tags_below(home, text=f"{home.sandbox.url}/sandbox/samples/octopus.png")
    await make_spoilers(bob, posted, 1)
    await gone(bob, told)
    assert there(home, of_link)
    path = f"/channels/{images}/messages/{linked['id']}"
    await bob.ok("PATCH", path, {"content": f"||{linked['content']}||"})
    await gone(bob, of_link)

    await announce_by(home, "reaction")
    reacted = await bob.post(images, sample("umbrella"))
    await bob.event("MESSAGE_REACTION_ADD", lambda one: one["message_id"] == reacted["id"])
    await bob.ok("PUT", f"/channels/{images}/messages/{reacted['id']}/reactions/🎉/@me")
    await make_spoilers(bob, reacted, 0)
    reactions = home.sandbox.state.channels[images].messages[int(reacted["id"])].reactions

    async def only_bobs() -> bool:
        return reactions == {"🎉": [int(bob.id)]}

    await until(only_bobs, "the bot's reactions are gone, and bob's is not")


async def test_reactions_that_discord_slows_down_come_later_and_replies_elsewhere_at_once(
    home: House, bot: MagpieBot
) -> None:
    bob, images, chat = await home.member("bob"), home.channel("pictures"), home.channel("chat")
    await announce_by(home, "reaction")
    await bob.use(home.nest, chat, "tagging", [{"type": STRING, "name": "mode", "value": "reply"}])
    held = home.sandbox.faults.add(
        Fault("rate_limit", method="PUT", path=f"/channels/{images}/*/reactions/*", times=None, seconds=3.0)
    )
    posted = [await bob.post(images, sample("panda")) for _ in range(6)]  # more than are announced at a time
    elsewhere = await bob.post(chat, sample("rocket"))
    await bob.message(lambda one: (one.get("message_reference") or {}).get("message_id") == elsewhere["id"])
    messages = home.sandbox.state.channels[images].messages
    assert not any(messages[int(one["id"])].reactions for one in posted)
    held.times = held.triggered
    for one in posted:
        await bob.event("MESSAGE_REACTION_ADD", lambda seen, id_=one["id"]: seen["message_id"] == id_)


async def test_a_public_answer_goes_when_an_image_became_a_spoiler_while_the_bot_was_away_and_what_is_covered_stays(
    home: House,
) -> None:
    cem, images, chat = await home.member("cem"), home.channel("pictures"), home.channel("chat")
    async with home.bot():
        asked_about, shown = await cem.post(images, sample("panda")), await cem.post(chat, sample("panda"))
        await home.indexed(asked_about, shown)
        answer = await cem.ask_in_public(home.sandbox.application_id, asked_about, "similar")
        await remembered(home, answer)
    await make_spoilers(cem, shown, 0)
    async with home.bot():
        await gone(cem, answer)
        covered = await cem.ask_in_public(home.sandbox.application_id, asked_about, "similar")
        await remembered(home, covered)
        assert [hit.spoiler for hit in covered.hits] == [True]
        await make_spoilers(cem, asked_about, 0)
        tagged, told = await post_with_tags_below(home, "octopus")
        await make_spoilers(await home.member("bob"), tagged, 0)
        await gone(cem, told)
        assert there(home, covered)


async def test_forget_me_and_a_deleted_channel_also_delete_answers_elsewhere(home: House, bot: MagpieBot) -> None:
    bob, cem = await home.member("bob"), await home.member("cem")
    images, chat = home.channel("pictures"), home.channel("chat")
    asked_about, shown = await cem.post(images, sample("panda")), await cem.post(chat, sample("panda"))
    await home.indexed(asked_about, shown)
    first = await cem.ask_in_public(home.sandbox.application_id, asked_about, "similar")
    await remembered(home, first)
    await bot.services.registry.forget_author(home.nest, int(cem.id), int(shown["id"]))
    await gone(cem, first)

    asked_about, shown = await bob.post(images, sample("panda")), await bob.post(chat, sample("panda"))
    await home.indexed(asked_about, shown)
    second = await bob.ask_in_public(home.sandbox.application_id, asked_about, "similar")
    await remembered(home, second)
    await bob.ok("DELETE", f"/channels/{chat}")
    await gone(bob, second)


async def test_a_reply_that_could_not_be_deleted_before_a_stop_is_deleted_after_the_next_start(home: House) -> None:
    bob = await home.member("bob")
    stuck = Fault("delay", method="DELETE", path="/channels/*/messages/*", times=None, seconds=PATIENCE_S)
    async with home.bot():
        posted, told = await post_with_tags_below(home, "panda")
        home.sandbox.faults.add(stuck)
        await bob.remove(posted)
        await until(lambda: _triggered(stuck), "the bot has begun to delete its reply")
    home.sandbox.faults.clear()
    assert there(home, told)
    async with home.bot():
        await gone(bob, told)


async def _triggered(fault: Fault) -> bool:
    return fault.triggered > 0


async def test_a_reply_whose_sending_the_bot_did_not_survive_goes_with_its_image(home: House) -> None:
    """As if it had been killed after the reply was sent and before it was noted: nothing in the store knows of it."""
    bob = await home.member("bob")
    async with home.bot():
        first, below_first = await post_with_tags_below(home, "panda")
        second, below_second = await post_with_tags_below(home, "rocket")
        answer = await bob.ask_in_public(home.sandbox.application_id, first, "similar")
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as connection:
        connection.execute("DELETE FROM replies")
        connection.execute(
            "UPDATE channels SET last_seen = ? WHERE id = ?", (int(first["id"]), home.channel("pictures"))
        )
        connection.commit()
    await bob.remove(first)
    async with home.bot():
        await gone(bob, below_first)
        assert there(home, below_second)
        await bob.remove(second)
        await gone(bob, below_second)
    assert there(home, answer) == (not answer.ids)
