"""Messages: replies, forwards, edits, mentions, deletions, limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sandbox.server import Sandbox
from sandbox.server_state import Limits
from sandbox.state import Attachment
from tests.sandbox.images import png
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]


async def test_a_reply_contains_its_original_and_pings_the_author_unless_disallowed(
    sandbox: Sandbox, person: Connect
) -> None:
    bob, cem = await person("bob"), await person("cem")
    channel = sandbox.channel("chat").id
    original = await bob.share(channel, png(2, 2))
    reference = {"message_id": original["id"], "channel_id": str(channel)}
    reply = await cem.say(channel, "similar", message_reference=reference)
    assert (reply["type"], reply["message_reference"]["type"]) == (19, 0)
    assert reply["referenced_message"]["attachments"][0]["id"] == original["attachments"][0]["id"]
    assert [m["username"] for m in reply["mentions"]] == ["bob"]
    quiet = await cem.say(channel, "x", message_reference=reference, allowed_mentions={"parse": []})
    assert quiet["mentions"] == []
    await bob.ok("DELETE", f"/channels/{channel}/messages/{original['id']}")
    seen = await cem.ok("GET", f"/channels/{channel}/messages/{reply['id']}")
    assert seen["referenced_message"] is None
    refused = await cem.call("POST", f"/channels/{channel}/messages", {"content": "x", "message_reference": reference})
    assert refused.code == 50035


async def test_a_forward_keeps_its_files_after_the_original_is_deleted_and_names_no_author(
    sandbox: Sandbox, person: Connect
) -> None:
    bob, cem = await person("bob"), await person("cem")
    pictures, chat = sandbox.channel("pictures").id, sandbox.channel("chat").id
    original = await bob.share(pictures, png(2, 2), content="look")
    reference = {"type": 1, "channel_id": str(pictures), "message_id": original["id"]}
    forwarded = await cem.say(chat, message_reference=reference)
    [snapshot] = forwarded["message_snapshots"]
    assert snapshot["message"]["content"] == "look" and "author" not in snapshot["message"]
    assert forwarded["flags"] & 1 << 14 and forwarded["attachments"] == []
    await bob.ok("DELETE", f"/channels/{pictures}/messages/{original['id']}")
    [picture] = snapshot["message"]["attachments"]
    async with cem.http.get(picture["url"]) as response:
        assert await response.read() == png(2, 2)
    await cem.ok("DELETE", f"/channels/{chat}/messages/{forwarded['id']}")
    async with cem.http.get(picture["url"]) as response:
        assert response.status == 404


async def test_a_file_is_marked_as_a_spoiler_and_described_by_an_edit(sandbox: Sandbox, person: Connect) -> None:
    bob, cem = await person("bob"), await person("cem")
    channel = sandbox.channel("chat").id
    posted = await bob.share(channel, png(2, 2))
    [file] = posted["attachments"]
    path = f"/channels/{channel}/messages/{posted['id']}"
    for changed, flags, description in (
        ({"is_spoiler": True}, 1 << 3, None),
        ({"description": "grey"}, 1 << 3, "grey"),
        ({"is_spoiler": False}, 0, "grey"),
    ):
        since = len(cem.events)
        await bob.ok("PATCH", path, {"attachments": [{"id": file["id"], **changed}]})
        told = await cem.event("MESSAGE_UPDATE", lambda one: one["id"] == posted["id"], since)
        [seen] = told["attachments"]
        assert (seen["id"], seen["flags"], seen.get("description")) == (file["id"], flags, description)
    refused = await bob.call("PATCH", path, {"attachments": [{"id": file["id"], "is_spoiler": "yes"}]})
    assert refused.code == 50035


async def test_forwarding_needs_read_access_to_the_source(sandbox: Sandbox, person: Connect) -> None:
    bob, dora = await person("bob"), await person("dora")
    regulars = sandbox.channel("regulars").id
    original = await bob.share(regulars, png(2, 2))
    reference = {"type": 1, "channel_id": str(regulars), "message_id": original["id"]}
    body = {"content": "", "message_reference": reference}
    refused = await dora.call("POST", f"/channels/{sandbox.channel('chat').id}/messages", body)
    assert refused.code == 50001


async def test_an_edit_removes_the_attachments_that_it_does_not_list(sandbox: Sandbox, person: Connect) -> None:
    cem, bob = await person("cem"), await person("bob")
    channel = sandbox.channel("chat").id
    uploads = [{**await cem.upload(channel, png(n, n), f"{n}.png"), "id": str(n)} for n in (1, 2)]
    message = await cem.say(channel, "two", attachments=uploads)
    kept, dropped = message["attachments"]
    path = f"/channels/{channel}/messages/{message['id']}"
    await cem.ok("PATCH", path, {"attachments": [{"id": kept["id"]}]})
    updated = await bob.event("MESSAGE_UPDATE")
    assert [a["id"] for a in updated["attachments"]] == [kept["id"]]
    assert (updated["content"], updated["author"]["username"]) == ("two", "cem")
    assert updated["edited_timestamp"]
    async with cem.http.get(dropped["url"]) as response:
        assert response.status == 404
    assert (await cem.call("PATCH", path, {"content": "", "attachments": []})).code == 50006


async def test_mentions_follow_allowed_mentions_and_permissions(sandbox: Sandbox, person: Connect) -> None:
    ann, cem = await person("ann"), await person("cem")
    channel, nest = sandbox.channel("chat").id, sandbox.guild("The Nest")
    role = next(r for r in nest.roles.values() if r.name == "Regular")
    text = f"@everyone <@{sandbox.user('bob').id}> <@&{role.id}> <@99>"
    by_owner = await ann.say(channel, text)
    assert by_owner["mention_everyone"] and by_owner["mention_roles"] == [str(role.id)]
    by_member = await cem.say(channel, text)
    assert not by_member["mention_everyone"] and by_member["mention_roles"] == []
    assert [m["username"] for m in by_member["mentions"]] == ["bob"]
    silenced = await ann.say(channel, text, allowed_mentions={"parse": []})
    assert (silenced["mentions"], silenced["mention_roles"], silenced["mention_everyone"]) == ([], [], False)
    chosen = await ann.say(channel, text, allowed_mentions={"users": [str(sandbox.user("cem").id)]})
    assert chosen["mentions"] == []


async def test_users_cannot_send_embeds_or_components(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    sent = await cem.say(
        sandbox.channel("chat").id,
        "plain",
        embeds=[{"title": "no"}],
        flags=1 << 15,
        components=[{"type": 10, "content": "no"}],
    )
    assert (sent["embeds"], sent["components"], sent["flags"]) == ([], [], 0)


async def test_a_repeated_nonce_creates_no_second_message(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    first = await cem.say(channel.id, "once", nonce="n1", enforce_nonce=True)
    again = await cem.say(channel.id, "once", nonce="n1", enforce_nonce=True)
    assert again["id"] == first["id"] and len(channel.messages) == 1


async def test_posting_in_an_archived_thread_unarchives_and_joins_it(sandbox: Sandbox, person: Connect) -> None:
    ann, dora = await person("ann"), await person("dora")
    thread = sandbox.channel("cats only")
    await ann.ok("PATCH", f"/channels/{thread.id}", {"archived": True})
    await dora.say(thread.id, "meow")
    assert not thread.thread.archived and sandbox.user("dora").id in thread.thread.members
    await ann.ok("PATCH", f"/channels/{thread.id}", {"archived": True, "locked": True})
    assert (await dora.call("POST", f"/channels/{thread.id}/messages", {"content": "x"})).code == 50083


async def test_the_number_of_messages_and_bytes_is_limited(person: Connect) -> None:
    limits = Limits(messages_per_channel=5, attachment_bytes=3 * len(png(2, 2)))
    async with Sandbox.serve(limits=limits) as sandbox, Person(sandbox.url, sandbox.user("cem").token) as cem:
        await cem.connect()
        channel = sandbox.channel("chat")
        sent = [await cem.say(channel.id, f"{n}") for n in range(7)]
        assert list(channel.messages) == [int(m["id"]) for m in sent[2:]]
        await cem.event("MESSAGE_DELETE", lambda d: d["id"] == sent[1]["id"])
        shared = [await cem.share(channel.id, png(2, 2)) for _ in range(4)]
        await cem.event("MESSAGE_DELETE", lambda d: d["id"] == shared[0]["id"])
        assert len(sandbox.state.attachments) == 3


async def test_option_files_count_towards_the_limit_and_are_evicted() -> None:
    limits = Limits(attachment_bytes=3 * len(png(2, 2)))
    async with Sandbox.serve(limits=limits) as sandbox, Person(sandbox.url, sandbox.user("cem").token) as cem:
        channel = sandbox.channel("chat").id
        for number in range(5):
            sandbox.messages.keep_option_file(option_file(sandbox, channel))
            await cem.share(channel, png(2, 2), f"{number}.png")
            assert len(sandbox.state.attachments) <= 3
        for _ in range(5):
            sandbox.messages.keep_option_file(option_file(sandbox, channel))
        assert len(sandbox.state.attachments) == 3 and not sandbox.channel("chat").messages


def option_file(sandbox: Sandbox, channel: int) -> Attachment:
    return Attachment(sandbox.state.ids.next(), channel, "a.png", "image/png", png(2, 2), ephemeral=True)


async def test_a_rejected_request_changes_nothing(sandbox: Sandbox, person: Connect) -> None:
    ann, cem = await person("ann"), await person("cem")
    chat, thread = sandbox.channel("chat").id, sandbox.channel("cats only")
    shared = await cem.share(chat, png(2, 2))
    edit = {"content": "x" * 2001, "attachments": [{"id": shared["attachments"][0]["id"], "description": "new"}]}
    assert (await cem.call("PATCH", f"/channels/{chat}/messages/{shared['id']}", edit)).code == 50035
    after = await cem.ok("GET", f"/channels/{chat}/messages/{shared['id']}")
    assert after["edited_timestamp"] is None and "description" not in after["attachments"][0]
    edit["content"] = "short"
    described = await cem.ok("PATCH", f"/channels/{chat}/messages/{shared['id']}", edit)
    assert described["attachments"][0]["description"] == "new"
    upload = await cem.upload(chat, png(2, 2), "a.png")
    too_long = {"content": "x" * 2001, "attachments": [upload]}
    assert (await cem.call("POST", f"/channels/{chat}/messages", too_long)).code == 50035
    twice = {"attachments": [upload, {**upload, "id": "1"}]}
    assert (await cem.call("POST", f"/channels/{chat}/messages", twice)).code == 50035
    assert len((await cem.say(chat, "short", attachments=[upload]))["attachments"]) == 1
    assert sandbox.state.uploads == {}
    slots = {"files": [{"id": "0", "filename": "a", "file_size": 3}, {"id": "1"}]}
    assert (await cem.call("POST", f"/channels/{chat}/attachments", slots)).code == 50035
    assert sandbox.state.uploads == {}
    await ann.ok("PATCH", f"/channels/{thread.id}", {"archived": True})
    assert (await cem.call("POST", f"/channels/{thread.id}/messages", {"content": " "})).code == 50006
    assert thread.thread.archived


@pytest.mark.parametrize(
    ("given", "kept"), [("a cat.png", "a_cat.png"), ("../../etc/x.png", "x.png"), ("猫.png", "png"), ("", "unknown")]
)
def test_file_names_are_sanitized(given: str, kept: str) -> None:
    from sandbox.signed_urls import safe_filename

    assert safe_filename(given) == kept
