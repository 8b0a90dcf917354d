"""An independent client that acts as a person on any Discord-compatible server works with the sandbox."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import Sandbox
from tests.sandbox.images import png

CLIENT = Path(__file__).resolve().parents[3] / "shared" / "user_client.py"
pytestmark = pytest.mark.skipif(not CLIENT.is_file(), reason="user_client.py is not beside the repository")


@pytest.fixture(scope="module")
def module() -> Any:
    spec = importlib.util.spec_from_file_location("user_client", CLIENT)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["user_client"] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
async def ann(sandbox: Sandbox, module: Any) -> AsyncIterator[Any]:
    async with module.UserClient(sandbox.url + "/api/v9", gateway=sandbox.gateway_url) as client:
        await client.use_token(sandbox.user("ann").token)
        await client.connect()
        yield client


async def test_messages_are_posted_edited_reacted_to_and_deleted(sandbox: Sandbox, ann: Any, module: Any) -> None:
    channel = str(sandbox.channel("pictures").id)
    first = await ann.send(channel, "one", files=[module.File("a.png", png(3, 2), description="grey")])
    second = await ann.send(channel, "", files=[module.File("b.png", png(2, 2))], via_upload=True)
    assert first["attachments"][0]["description"] == "grey"
    status, data, kind = await ann.download(second["attachments"][0]["url"])
    assert (status, data, kind) == (200, png(2, 2), "image/png")
    reply = await ann.reply(first, "nice")
    assert reply["referenced_message"]["id"] == first["id"]
    edited = await ann.edit(first, "one!", attachments=[])
    assert (edited["content"], edited["attachments"]) == ("one!", [])
    await ann.react(reply, "🐦")
    await ann.unreact(reply, "🐦")
    assert [m["id"] for m in await ann.messages(channel)] == [reply["id"], second["id"], first["id"]]
    assert (await ann.message(channel, second["id"]))["id"] == second["id"]
    await ann.delete(reply)
    await ann.bulk_delete(channel, [first["id"], second["id"]])
    assert await ann.messages(channel) == []
    await ann.wait_for("MESSAGE_DELETE_BULK", lambda d: set(d["ids"]) == {first["id"], second["id"]})


async def test_channels_threads_and_permissions(sandbox: Sandbox, ann: Any, module: Any) -> None:
    guild = str(sandbox.guild("The Nest").id)
    hidden = await ann.create_channel(guild, "hidden")
    await ann.set_overwrite(hidden["id"], guild, type=0, deny=1 << 10)
    await ann.edit_channel(hidden["id"], topic="ours")
    assert "hidden" in {c["name"] for c in await ann.channels(guild)}
    chat = str(sandbox.channel("chat").id)
    posted = await ann.send(chat, "start")
    thread = await ann.create_thread(chat, "on it", posted["id"])
    assert thread["id"] == posted["id"]
    await ann.create_thread(chat, "alone")
    async with module.UserClient(sandbox.url + "/api/v9", gateway=sandbox.gateway_url) as dora:
        await dora.use_token(sandbox.user("dora").token)
        assert "hidden" not in {c["name"] for c in await dora.channels(guild)}
        with pytest.raises(module.HTTPFailure) as refused:
            await dora.messages(hidden["id"])
        assert (refused.value.status, refused.value.body["code"]) == (403, 50001)
    await ann.delete_channel(hidden["id"])
    await ann.wait_for("CHANNEL_DELETE", lambda d: d["id"] == hidden["id"])


async def test_a_command_reaches_the_bot_and_times_out_without_a_response(
    sandbox: Sandbox, ann: Any, module: Any
) -> None:
    guild, channel = str(sandbox.guild("The Nest").id), str(sandbox.channel("chat").id)
    async with module.UserClient(sandbox.url + "/api/v10", gateway=sandbox.url.replace("http", "ws")) as bot:
        bot.auth_prefix = "Bot "
        await bot.use_token(sandbox.bot_token)
        option = {"type": 3, "name": "text", "description": "t", "required": True}
        command = {"name": "say", "description": "Says it", "options": [option]}
        await bot.request("PUT", f"/applications/{sandbox.application_id}/commands", body=[command])
        found = await ann.command(guild, "say")
        with pytest.raises(LookupError):
            await ann.command(guild, "nothing")
        sandbox.limits.interaction_deadline_s = 0.1
        nonce = await ann.slash(found, guild, channel, text="hi")
        failed = await ann.wait_for("INTERACTION_FAILURE", lambda d: d["nonce"] == nonce, timeout=60)
        assert failed.data["reason_code"]
