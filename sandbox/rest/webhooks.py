"""An application's side of an interaction: callback, original answer, follow-ups. The token is the permission."""

from __future__ import annotations

from sandbox.errors import refusal
from sandbox.message_payloads import Viewer
from sandbox.rest.call import Call, Endpoint
from sandbox.world import Interaction, Json, Message, MessageFlag


async def callback(call: Call) -> Json:
    """The initial response; JSON with `with_response`, else 204."""
    interaction = call.world.interactions.get(call.request.match_info["token"])
    if interaction is None or interaction.id != call.id("interaction_id"):
        raise refusal(10062)
    body = await call.body()
    result = call.api.interactions.respond(interaction, body, call.files)
    return result if call.request.query.get("with_response") in ("1", "true", "True") else None


async def follow_up(call: Call) -> Json:
    interaction = _interaction(call)
    body = await call.body()
    return _json(call, interaction, call.api.interactions.follow_up(interaction, body, call.files))


async def get_answer(call: Call) -> Json:
    interaction = _interaction(call)
    return _json(call, interaction, _message(call, interaction))


async def edit_answer(call: Call) -> Json:
    interaction = _interaction(call)
    message = _message(call, interaction)
    body = await call.body()
    waiting = bool(message.flags & MessageFlag.LOADING)
    call.api.poster.edit(message, call.world.users[message.author_id], body, call.files, quiet=waiting)
    return _json(call, interaction, message)


async def delete_answer(call: Call) -> Json:
    call.api.poster.delete(_message(call, _interaction(call)))
    return None


def _interaction(call: Call) -> Interaction:
    return call.api.interactions.find(call.id("application_id"), call.request.match_info["token"])


def _message(call: Call, interaction: Interaction) -> Message:
    """`@original`, or a follow-up of this very interaction. 10008 for any other, and once it is deleted."""
    raw = call.request.match_info["message_id"]
    if raw == "@original":
        if interaction.original is None:
            raise refusal(10015)
        wanted = interaction.original.id
    else:
        wanted = call.id("message_id")
        if wanted not in interaction.message_ids:
            raise refusal(10008)
    found = call.world.message(interaction.channel_id, wanted) or call.world.ephemerals.get(wanted)
    if found is None:
        raise refusal(10008)
    return found


def _json(call: Call, interaction: Interaction, message: Message) -> Json:
    bot_id = call.world.applications[interaction.application_id].bot_id
    return call.realm.payloads.message(message, Viewer(bot_id))


_TOKEN = "/webhooks/{application_id}/{token}"  # noqa: S105 - a path, no secret

ENDPOINTS = (
    Endpoint("POST", "/interactions/{interaction_id}/{token}/callback", callback, open=True),
    Endpoint("POST", _TOKEN, follow_up, open=True),
    Endpoint("GET", _TOKEN + "/messages/{message_id}", get_answer, open=True),
    Endpoint("PATCH", _TOKEN + "/messages/{message_id}", edit_answer, open=True),
    Endpoint("DELETE", _TOKEN + "/messages/{message_id}", delete_answer, open=True),
)
