"""The caller and other people, their servers and direct messages; the gateway's address; a bot's own application."""

from __future__ import annotations

from sandbox.errors import form_error, refusal
from sandbox.leaving import leave
from sandbox.payloads import (
    application_json,
    channel_json,
    guild_summary_json,
    own_user_json,
    user_json,
)
from sandbox.permissions import DIRECT_MESSAGE
from sandbox.rest.call import Call, Endpoint
from sandbox.validation.forms import Form, as_snowflake
from sandbox.world import Channel, ChannelType, Json

LOCALES = frozenset(
    [
        "id",
        "da",
        "de",
        "en-GB",
        "en-US",
        "es-ES",
        "es-419",
        "fr",
        "hr",
        "it",
        "lt",
        "hu",
        "nl",
        "no",
        "pl",
        "pt-BR",
        "ro",
        "fi",
        "sv-SE",
        "vi",
        "tr",
        "cs",
        "el",
        "bg",
        "ru",
        "uk",
        "hi",
        "th",
        "zh-CN",
        "ja",
        "zh-TW",
        "ko",
    ]
)


async def get_me(call: Call) -> Json:
    return own_user_json(call.user)


async def edit_me(call: Call) -> Json:
    """A display name and, for trying translations, a locale."""
    form = Form(await call.body())
    name = form.text("global_name", low=1, high=32)
    locale = form.text("locale", high=10)
    if locale is not None and locale not in LOCALES:
        form.complain("locale", "BASE_TYPE_CHOICES", "Value must be one of Discord's locales.")
    form.settle()
    call.user.display_name = name or call.user.display_name
    call.user.locale = locale or call.user.locale
    return own_user_json(call.user)


async def get_user(call: Call) -> Json:
    user = call.world.users.get(call.id("user_id"))
    if user is None:
        raise refusal(10013)
    return user_json(user)


async def my_guilds(call: Call) -> Json:
    guilds = call.world.guilds_of(call.user.id)
    return [guild_summary_json(g, g.members[call.user.id], call.realm.clock.now()) for g in guilds]


async def leave_guild(call: Call) -> Json:
    guild, member = call.guild()
    if guild.owner_id == member.user_id:
        raise form_error((), "GUILD_OWNER_CANNOT_LEAVE", "You own this server")
    leave(call.world, call.api.announcer, guild, member)
    return None


async def my_direct_messages(call: Call) -> Json:
    mine = (c for c in call.world.channels.values() if c.type == ChannelType.DM and call.user.id in c.recipients)
    return [channel_json(call.world, c, call.user.id) for c in mine]


async def open_direct_message(call: Call) -> Json:
    body = await call.body()
    recipients = body.get("recipients")
    other = as_snowflake(
        body.get("recipient_id", recipients[0] if isinstance(recipients, list) and recipients else None)
    )
    if other not in call.world.users or other == call.user.id:
        raise form_error(("recipient_id",), "NUMBER_TYPE_COERCE", "Unknown user")
    pair = {call.user.id, other}
    found = next((c for c in call.world.channels.values() if set(c.recipients) == pair), None)
    if found is None:
        found = Channel(call.world.ids.next(), ChannelType.DM, "", recipients=[call.user.id, other or 0])
        call.world.channels[found.id] = found
        for person in found.recipients:
            if not call.world.users[person].bot:
                body = channel_json(call.world, found, person) | {"permissions": str(DIRECT_MESSAGE)}
                call.realm.hub.to_user(person, "CHANNEL_CREATE", body)
    return channel_json(call.world, found, call.user.id)


async def my_application(call: Call) -> Json:
    application = call.application
    return application_json(application, call.world.users[application.owner_id], call.user)


async def edit_my_application(call: Call) -> Json:
    application = call.application
    form = Form(await call.body())
    application.description = form.text("description", high=400) or application.description
    form.settle()
    return application_json(application, call.world.users[application.owner_id], call.user)


async def gateway(call: Call) -> Json:
    return {"url": call.realm.gateway_url}


async def gateway_for_bots(call: Call) -> Json:
    limit = {"total": 1000, "remaining": 1000, "reset_after": 86_400_000, "max_concurrency": 1}
    return {"url": call.realm.gateway_url, "shards": 1, "session_start_limit": limit}


ENDPOINTS = (
    Endpoint("GET", "/users/@me", get_me),
    Endpoint("PATCH", "/users/@me", edit_me),
    Endpoint("GET", "/users/@me/guilds", my_guilds),
    Endpoint("DELETE", "/users/@me/guilds/{guild_id}", leave_guild),
    Endpoint("GET", "/users/@me/channels", my_direct_messages),
    Endpoint("POST", "/users/@me/channels", open_direct_message),
    Endpoint("GET", "/users/{user_id}", get_user),
    Endpoint("GET", "/oauth2/applications/@me", my_application),
    Endpoint("GET", "/applications/@me", my_application),
    Endpoint("PATCH", "/applications/@me", edit_my_application),
    Endpoint("GET", "/gateway", gateway, open=True),
    Endpoint("GET", "/gateway/bot", gateway_for_bots),
)
