"""An interaction as its application receives it: who, where, with which rights, and the objects that options name."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.message_payloads import MessagePayloads, Viewer
from sandbox.payloads import bare_member_json, channel_json, member_json, role_json, user_json
from sandbox.permissions import permissions_in
from sandbox.realm import Realm
from sandbox.validation.forms import as_snowflake
from sandbox.validation.options import values
from sandbox.world import Attachment, Channel, Guild, Interaction, Json, Message

USER, CHANNEL, ROLE, MENTIONABLE, ATTACHMENT = 6, 7, 8, 9, 11
GUILD_CONTEXT, BOT_DM_CONTEXT = 0, 1


def interaction_json(realm: Realm, interaction: Interaction) -> dict[str, Json]:
    """The `d` of INTERACTION_CREATE for the bot."""
    world = realm.world
    channel = world.channels[interaction.channel_id]
    application = world.applications[interaction.application_id]
    guild = world.guild_of(channel)
    body: dict[str, Json] = {
        "id": str(interaction.id),
        "application_id": str(interaction.application_id),
        "type": interaction.type,
        "token": interaction.token,
        "version": 1,
        "channel_id": str(channel.id),
        "channel": channel_json(world, channel, interaction.user_id),
        "data": interaction.data,
        "app_permissions": str(permissions_in(world, channel, application.bot_id)),
        "locale": interaction.locale,
        "context": GUILD_CONTEXT if guild is not None else BOT_DM_CONTEXT,
        "entitlements": [],
        "entitlement_sku_ids": [],
        "authorizing_integration_owners": {"0": "0" if guild is None else str(guild.id)},
        "attachment_size_limit": realm.limits.file_bytes,
    }
    if guild is None:
        body["user"] = user_json(world.users[interaction.user_id])
    else:
        body |= _in_guild(realm, guild, channel, interaction.user_id)
    if interaction.source is not None:
        body["message"] = realm.payloads.message(interaction.source, Viewer(application.bot_id))
    return body


def metadata_json(realm: Realm, interaction: Interaction) -> dict[str, Json]:
    """What a message remembers of the interaction that it answers."""
    owner = str(interaction.guild_id or 0)
    body: dict[str, Json] = {
        "id": str(interaction.id),
        "type": interaction.type,
        "user": user_json(realm.world.users[interaction.user_id]),
        "authorizing_integration_owners": {"0": owner},
    }
    if interaction.type == 2:
        body["name"] = interaction.data["name"]
    elif interaction.source is not None:
        body["interacted_message_id"] = str(interaction.source.id)
    return body


def resolve_options(
    realm: Realm, guild: Guild | None, user_id: int, options: list[Json], attachments: Mapping[str, Attachment]
) -> dict[str, Json]:
    """`resolved`: the users, members, channels, roles and attachments that the options name by id."""
    resolved: dict[str, dict[str, Json]] = {}
    for option in values(options):
        kind, value = option.get("type"), str(option.get("value"))
        named = as_snowflake(value)
        if kind == ATTACHMENT and value in attachments:
            resolved.setdefault("attachments", {})[value] = realm.payloads.attachment(attachments[value])
        if named is None:
            continue
        if kind in (USER, MENTIONABLE):
            _resolve_user(realm, guild, named, resolved)
        if kind in (ROLE, MENTIONABLE) and guild is not None and named in guild.roles:
            resolved.setdefault("roles", {})[value] = role_json(guild, guild.roles[named])
        if kind == CHANNEL and guild is not None and named in guild.channel_ids:
            channel = realm.world.channels[named]
            resolved.setdefault("channels", {})[value] = channel_json(realm.world, channel, user_id)
    return dict(resolved)


def resolve_message(payloads: MessagePayloads, message: Message, bot_id: int) -> dict[str, Json]:
    return {"messages": {str(message.id): payloads.message(message, Viewer(bot_id))}}


def resolve_user(realm: Realm, guild: Guild | None, user_id: int) -> dict[str, Json]:
    resolved: dict[str, dict[str, Json]] = {}
    _resolve_user(realm, guild, user_id, resolved)
    return dict(resolved)


def _resolve_user(realm: Realm, guild: Guild | None, user_id: int, resolved: dict[str, dict[str, Json]]) -> None:
    user = realm.world.users.get(user_id)
    if user is None:
        return
    resolved.setdefault("users", {})[str(user_id)] = user_json(user)
    if guild is not None and user_id in guild.members:
        member = bare_member_json(guild.members[user_id])
        resolved.setdefault("members", {})[str(user_id)] = {**member, "permissions": "0"}


def _in_guild(realm: Realm, guild: Guild, channel: Channel, user_id: int) -> dict[str, Json]:
    member = member_json(realm.world, guild.members[user_id])
    return {
        "guild_id": str(guild.id),
        "guild_locale": "en-US",
        "guild": {"id": str(guild.id), "locale": "en-US", "features": []},
        "member": {**member, "permissions": str(permissions_in(realm.world, channel, user_id))},
    }
