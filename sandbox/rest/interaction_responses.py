"""The bot's side of interactions: it responds with the interaction's token."""

from __future__ import annotations

from sandbox.message_payloads import Viewer
from sandbox.responses import api_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Interaction, Message, MessageFlag, Payload


async def respond(request: Request) -> Payload | None:
    """The bot's initial response. JSON with `with_response`, else 204."""
    interaction = request.state.interactions.get(request.http.match_info["token"])
    if interaction is None or interaction.id != request.id("interaction_id"):
        raise api_error(10062)
    body = await request.body()
    result = request.services.interactions.respond(interaction, body, request.files)
    return result if request.http.query.get("with_response") in ("1", "true", "True") else None


async def follow_up(request: Request) -> Payload:
    interaction = _interaction(request)
    body = await request.body()
    return _response_json(
        request, interaction, request.services.interactions.follow_up(interaction, body, request.files)
    )


async def get_response(request: Request) -> Payload:
    interaction = _interaction(request)
    return _response_json(request, interaction, _response(request, interaction))


async def edit_response(request: Request) -> Payload:
    interaction = _interaction(request)
    message = _response(request, interaction)
    body = await request.body()
    loading = bool(message.flags & MessageFlag.LOADING)
    request.messages.edit(message, request.state.users[message.author_id], body, request.files, quiet=loading)
    return _response_json(request, interaction, message)


async def delete_response(request: Request) -> None:
    request.messages.delete(_response(request, _interaction(request)))
    return


def _interaction(request: Request) -> Interaction:
    return request.services.interactions.find(request.id("application_id"), request.http.match_info["token"])


def _response(request: Request, interaction: Interaction) -> Message:
    """`@original` or a follow-up of this interaction. Raises 10008 for other and for deleted messages."""
    raw = request.http.match_info["message_id"]
    if raw == "@original":
        if interaction.original is None:
            raise api_error(10015)
        wanted = interaction.original.id
    else:
        wanted = request.id("message_id")
        if wanted not in interaction.message_ids:
            raise api_error(10008)
    found = request.state.message(interaction.channel_id, wanted) or request.state.ephemerals.get(wanted)
    if found is None:
        raise api_error(10008)
    return found


def _response_json(request: Request, interaction: Interaction, message: Message) -> Payload:
    bot_id = request.state.applications[interaction.application_id].bot_id
    return request.server.payloads.message(message, Viewer(bot_id))


_TOKEN = "/webhooks/{application_id}/{token}"  # noqa: S105 - a path

ENDPOINTS = (
    Endpoint("POST", "/interactions/{interaction_id}/{token}/callback", respond, open=True),
    Endpoint("POST", _TOKEN, follow_up, open=True),
    Endpoint("GET", _TOKEN + "/messages/{message_id}", get_response, open=True),
    Endpoint("PATCH", _TOKEN + "/messages/{message_id}", edit_response, open=True),
    Endpoint("DELETE", _TOKEN + "/messages/{message_id}", delete_response, open=True),
)
