"""Reactions: one's own, others' where one may moderate, and who reacted."""

from __future__ import annotations

from urllib.parse import unquote

from sandbox.errors import refusal
from sandbox.payloads import user_json
from sandbox.permissions import ADD_REACTIONS, MANAGE_MESSAGES, READ_MESSAGE_HISTORY
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.forms import Form
from sandbox.world import Channel, Json, Message

MAX_KINDS = 20


async def add(call: Call) -> Json:
    channel, message, emoji = _target(call)
    call.require(channel, READ_MESSAGE_HISTORY)
    who = message.reactions.get(emoji)
    if not who:
        call.require(channel, ADD_REACTIONS)
        if len(message.reactions) >= MAX_KINDS:
            raise refusal(30010)
        who = message.reactions[emoji] = []
    if call.user.id not in who:
        who.append(call.user.id)
        call.api.announcer.reaction("MESSAGE_REACTION_ADD", message, call.user.id, emoji)
    return None


async def remove(call: Call) -> Json:
    """One's own (`@me`), or with MANAGE_MESSAGES anyone's."""
    channel, message, emoji = _target(call)
    user_id = call.id("user_id")
    if user_id != call.user.id:
        call.require(channel, MANAGE_MESSAGES)
    who = message.reactions.get(emoji, [])
    if user_id in who:
        who.remove(user_id)
        if not who:
            del message.reactions[emoji]
        call.api.announcer.reaction("MESSAGE_REACTION_REMOVE", message, user_id, emoji)
    return None


async def who_reacted(call: Call) -> Json:
    _, message, emoji = _target(call)
    form = Form(dict(call.request.query))
    limit = form.integer("limit", low=1, high=100, default=25)
    after = form.snowflake("after") or 0
    form.settle()
    who = sorted(u for u in message.reactions.get(emoji, []) if u > after)
    return [user_json(call.world.users[u]) for u in who[:limit]]


async def clear(call: Call) -> Json:
    channel = call.channel(MANAGE_MESSAGES)
    message = call.message(channel)
    message.reactions.clear()
    call.api.announcer.reactions_cleared(message)
    return None


def _target(call: Call) -> tuple[Channel, Message, str]:
    channel = call.channel()
    message = call.message(channel, history=False)
    emoji = unquote(call.request.match_info["emoji"])
    if not _is_emoji(emoji):
        raise refusal(10014)
    return channel, message, emoji


def _is_emoji(text: str) -> bool:
    """Unicode emoji have no ASCII letters; digits and signs only before a variation selector or keycap."""
    return (
        0 < len(text) <= 16
        and any(ord(c) > 0x2000 or c in "\u00a9\u00ae" for c in text)
        and not any(c.isalpha() and c.isascii() for c in text)
    )


_PATH = "/channels/{channel_id}/messages/{message_id}/reactions"

ENDPOINTS = (
    Endpoint("PUT", _PATH + "/{emoji}/@me", add),
    Endpoint("DELETE", _PATH + "/{emoji}/{user_id}", remove),
    Endpoint("GET", _PATH + "/{emoji}", who_reacted),
    Endpoint("DELETE", _PATH, clear),
)
