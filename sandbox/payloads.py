"""Users, guilds, channels, threads and commands in the shapes of Discord's API."""

from __future__ import annotations

from sandbox.permissions import may_read, permissions_in
from sandbox.state import (
    VOICE_TYPES,
    Application,
    Channel,
    ChannelType,
    Command,
    Emoji,
    Guild,
    Member,
    Payload,
    Role,
    State,
    Sticker,
    ThreadMetadata,
    User,
    iso,
    snowflake_time,
)
from sandbox.validation.forms import as_snowflake

PRESENCES_SWITCH, MEMBERS_SWITCH, CONTENT_SWITCH = 1 << 13, 1 << 15, 1 << 19
"""The GATEWAY_…_LIMITED application flags, which apps have in fewer guilds than need a review."""


def user_json(user: User) -> Payload:
    return {
        "id": str(user.id),
        "username": user.username,
        "global_name": None if user.bot else user.display_name,
        "discriminator": "0000" if user.bot else "0",
        "avatar": None,
        "bot": user.bot,
        "public_flags": 0,
        "flags": 0,
        "primary_guild": None,
    }


def own_user_json(user: User) -> Payload:
    return {**user_json(user), "mfa_enabled": False, "locale": user.locale, "verified": True, "email": None}


def application_json(application: Application, owner: User, bot: User) -> Payload:
    flags = application_flags(application)
    return {
        "id": str(application.id),
        "name": application.name,
        "icon": None,
        "description": application.description,
        "type": None,
        "bot": user_json(bot),
        "summary": "",
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": flags,
        "flags_new": str(flags),
        "owner": user_json(owner),
        "team": None,
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "approximate_guild_count": 0,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "eligible_oauth2_scopes": ["bot", "applications.commands"],
        "explicit_content_filter": 0,
    }


def application_flags(application: Application) -> int:
    content = CONTENT_SWITCH if application.message_content else 0
    members = MEMBERS_SWITCH if application.guild_members else 0
    presences = PRESENCES_SWITCH if application.guild_presences else 0
    return content | members | presences


def role_json(guild: Guild, role: Role) -> Payload:
    return {
        "id": str(role.id),
        "name": role.name,
        "description": None,
        "color": role.color,
        "colors": {"primary_color": role.color, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "position": role.position,
        "permissions": str(role.permissions),
        "managed": False,
        "mentionable": role.mentionable,
        "flags": 0,
    }


def bare_member_json(member: Member) -> Payload:
    """A member as in messages: without the user."""
    return {
        "nick": member.nick,
        "avatar": None,
        "banner": None,
        "roles": [str(r) for r in member.roles],
        "joined_at": iso(member.joined_at),
        "premium_since": None,
        "communication_disabled_until": None if member.timeout_until is None else iso(member.timeout_until),
        "deaf": False,
        "mute": False,
        "pending": False,
        "flags": 0,
    }


def member_json(state: State, member: Member) -> Payload:
    return {**bare_member_json(member), "user": user_json(state.users[member.user_id])}


def channel_json(state: State, channel: Channel, viewer: User | None = None) -> Payload:
    """`viewer`: adds their thread membership and, for people, the `permissions` that Discord's clients compute."""
    if channel.thread is None:
        body = _guild_channel_json(channel)
    else:
        body = _thread_json(channel, channel.thread)
        if viewer is not None and viewer.id in channel.thread.members:
            body["member"] = thread_member_json(channel, viewer.id)
    if viewer is not None and not viewer.bot:
        body["permissions"] = str(permissions_in(state, channel, viewer.id))
    return body


def sticker_item_json(sticker: Sticker) -> Payload:
    """As in messages."""
    return {"id": str(sticker.id), "name": sticker.name, "format_type": sticker.format}


def sticker_json(sticker: Sticker) -> Payload:
    return {
        **sticker_item_json(sticker),
        "tags": sticker.tags,
        "type": 2,
        "description": None,
        "available": True,
        "guild_id": str(sticker.guild_id),
    }


def emoji_json(emoji: Emoji) -> Payload:
    return {
        "id": str(emoji.id),
        "name": emoji.name,
        "roles": [],
        "require_colons": True,
        "managed": False,
        "animated": emoji.animated,
        "available": True,
    }


def reaction_emoji_json(state: State, emoji: str) -> Payload:
    """`emoji`: a character, or `name:id`."""
    own = custom_emoji(state, emoji)
    if own is None:
        return {"id": None, "name": emoji, "animated": False}
    return {"id": str(own.id), "name": own.name, "animated": own.animated}


def custom_emoji(state: State, emoji: str) -> Emoji | None:
    name, colon, number = emoji.partition(":")
    found = state.emojis.get(as_snowflake(number) or 0) if colon else None
    return found if found is not None and found.name == name else None


def guild_json(state: State, guild: Guild) -> Payload:
    """A guild as in REST responses: without channels and members."""
    return {
        "id": str(guild.id),
        "name": guild.name,
        "icon": None,
        "description": None,
        "home_header": None,
        "splash": None,
        "discovery_splash": None,
        "features": [],
        "incidents_data": None,
        "banner": None,
        "owner_id": str(guild.owner_id),
        "application_id": None,
        "region": "local",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": 0,
        "roles": [role_json(guild, r) for r in guild.roles.values()],
        "default_message_notifications": 1,
        "mfa_level": 0,
        "explicit_content_filter": 0,
        "max_presences": None,
        "max_members": 500000,
        "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "rules_channel_id": None,
        "safety_alerts_channel_id": None,
        "public_updates_channel_id": None,
        "premium_progress_bar_enabled": False,
        "nsfw": False,
        "nsfw_level": 0,
        "emojis": [emoji_json(e) for e in state.emojis.values() if e.guild_id == guild.id],
        "stickers": [sticker_json(s) for s in state.stickers.values() if s.guild_id == guild.id],
    }


def full_guild_json(state: State, guild: Guild, viewer: User) -> Payload:
    """A guild as in GUILD_CREATE. Bots receive all channels, people those that they may open."""
    if guild.unavailable:
        return {"id": str(guild.id), "unavailable": True}
    channels = state.channels_of(guild)
    members = list(guild.members.values())
    if viewer.bot:
        members = [m for m in members if m.user_id == viewer.id]
    else:
        channels = [c for c in channels if c.type == ChannelType.CATEGORY or may_read(state, c, viewer.id)]
    return {
        **guild_json(state, guild),
        "joined_at": iso(guild.members[viewer.id].joined_at),
        "large": False,
        "unavailable": False,
        "member_count": len(guild.members),
        "members": [member_json(state, m) for m in members],
        "channels": [channel_json(state, c, viewer) for c in channels],
        "threads": [channel_json(state, t, viewer) for t in active_threads(state, guild, viewer.id)],
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def active_threads(state: State, guild: Guild, viewer: int) -> list[Channel]:
    threads = (t for t in state.threads_of(guild) if t.thread is not None and not t.thread.archived)
    return [t for t in threads if may_read(state, t, viewer)]


def thread_member_json(thread: Channel, user_id: int) -> Payload:
    assert thread.thread is not None  # noqa: S101 - callers hold threads
    return {
        "id": str(thread.id),
        "user_id": str(user_id),
        "join_timestamp": iso(thread.thread.members[user_id]),
        "flags": 0,
    }


def command_json(command: Command) -> Payload:
    return {
        "id": str(command.id),
        "application_id": str(command.application_id),
        "version": str(command.version),
        "type": command.type,
        "name": command.name,
        **command.body,
    }


def _guild_channel_json(channel: Channel) -> Payload:
    body: Payload = {
        "id": str(channel.id),
        "type": channel.type,
        "guild_id": str(channel.guild_id),
        "name": channel.name,
        "position": channel.position,
        "parent_id": None if channel.parent_id is None else str(channel.parent_id),
        "permission_overwrites": [
            {"id": str(o.target_id), "type": o.type, "allow": str(o.allow), "deny": str(o.deny)}
            for o in channel.overwrites.values()
        ],
        "nsfw": channel.nsfw,
        "flags": 0,
    }
    if channel.type == ChannelType.CATEGORY:
        return body
    body |= {
        "topic": channel.topic,
        "rate_limit_per_user": channel.slowmode,
        "last_message_id": None if channel.last_message_id is None else str(channel.last_message_id),
    }
    if channel.type in VOICE_TYPES:
        body |= {"bitrate": 64000, "user_limit": 0, "rtc_region": None}
    elif channel.type == ChannelType.FORUM:
        body |= {
            "available_tags": [],
            "default_reaction_emoji": None,
            "default_sort_order": None,
            "default_forum_layout": 0,
            "default_tag_setting": None,
        }
    return body


def _thread_json(channel: Channel, thread: ThreadMetadata) -> Payload:
    metadata: Payload = {
        "archived": thread.archived,
        "archive_timestamp": iso(thread.archived_at or thread.created_at),
        "auto_archive_duration": thread.auto_archive_minutes,
        "locked": thread.locked,
        "create_timestamp": iso(snowflake_time(channel.id)),
    }
    if channel.type == ChannelType.PRIVATE_THREAD:
        metadata["invitable"] = thread.invitable
    return {
        "id": str(channel.id),
        "type": channel.type,
        "guild_id": str(channel.guild_id),
        "parent_id": str(channel.parent_id),
        "owner_id": str(thread.owner_id),
        "name": channel.name,
        "last_message_id": None if channel.last_message_id is None else str(channel.last_message_id),
        "rate_limit_per_user": channel.slowmode,
        "flags": 0,
        "message_count": len(channel.messages),
        "total_message_sent": len(channel.messages),
        "member_count": min(50, len(thread.members)),
        "thread_metadata": metadata,
    }
