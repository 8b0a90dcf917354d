"""Discord's permission bits, and how they are computed."""

from __future__ import annotations

from sandbox.state import THREAD_TYPES, VOICE_TYPES, Channel, ChannelType, Guild, Member, State

KICK_MEMBERS = 1 << 1
ADMINISTRATOR = 1 << 3
MANAGE_CHANNELS = 1 << 4
MANAGE_GUILD = 1 << 5
ADD_REACTIONS = 1 << 6
VIEW_CHANNEL = 1 << 10
SEND_MESSAGES = 1 << 11
MANAGE_MESSAGES = 1 << 13
EMBED_LINKS = 1 << 14
ATTACH_FILES = 1 << 15
READ_MESSAGE_HISTORY = 1 << 16
MENTION_EVERYONE = 1 << 17
CONNECT = 1 << 20
CREATE_INSTANT_INVITE = 1 << 0
CHANGE_NICKNAME = 1 << 26
MANAGE_NICKNAMES = 1 << 27
MANAGE_ROLES = 1 << 28
USE_APPLICATION_COMMANDS = 1 << 31
MANAGE_THREADS = 1 << 34
CREATE_PUBLIC_THREADS = 1 << 35
CREATE_PRIVATE_THREADS = 1 << 36
SEND_MESSAGES_IN_THREADS = 1 << 38
MODERATE_MEMBERS = 1 << 40

ALL = (1 << 53) - 1
EVERYONE_DEFAULT = (
    CREATE_INSTANT_INVITE
    | ADD_REACTIONS
    | VIEW_CHANNEL
    | SEND_MESSAGES
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_MESSAGE_HISTORY
    | CONNECT
    | CHANGE_NICKNAME
    | USE_APPLICATION_COMMANDS
    | CREATE_PUBLIC_THREADS
    | CREATE_PRIVATE_THREADS
    | SEND_MESSAGES_IN_THREADS
)
TIMED_OUT = VIEW_CHANNEL | READ_MESSAGE_HISTORY


def guild_permissions(guild: Guild, member: Member, now: float) -> int:
    """The member's permissions before any channel's overwrites."""
    if member.user_id == guild.owner_id:
        return ALL
    permissions = guild.roles[guild.id].permissions
    for role_id in member.roles:
        permissions |= guild.roles[role_id].permissions
    if permissions & ADMINISTRATOR:
        return ALL
    return permissions & TIMED_OUT if _timed_out(member, now) else permissions


def channel_permissions(guild: Guild, channel: Channel, member: Member, now: float) -> int:
    """Not for threads. Without VIEW_CHANNEL, no other permission remains."""
    permissions = guild_permissions(guild, member, now)
    if permissions == ALL:
        return ALL
    permissions = _overwritten(permissions, guild, channel, member)
    if not permissions & VIEW_CHANNEL:
        return 0
    if channel.type in VOICE_TYPES and not permissions & CONNECT:
        permissions &= ~(SEND_MESSAGES | READ_MESSAGE_HISTORY | ADD_REACTIONS | MANAGE_MESSAGES)
    return permissions & TIMED_OUT if _timed_out(member, now) else permissions


def permissions_in(state: State, channel: Channel, user_id: int) -> int:
    """0 for users outside the guild. Threads have their parent's permissions, private ones only for members."""
    guild = state.guild_of(channel)
    member = guild.members.get(user_id)
    if member is None:
        return 0
    if channel.thread is None:
        return channel_permissions(guild, channel, member, state.clock.now())
    parent = state.channels.get(channel.parent_id or 0)
    if parent is None:
        return 0
    permissions = channel_permissions(guild, parent, member, state.clock.now())
    outsider = user_id not in channel.thread.members and not permissions & MANAGE_THREADS
    if channel.type == ChannelType.PRIVATE_THREAD and outsider:
        return 0
    return permissions


def may(state: State, channel: Channel, user_id: int, wanted: int) -> bool:
    return permissions_in(state, channel, user_id) & wanted == wanted


def send_permission(channel: Channel) -> int:
    return SEND_MESSAGES_IN_THREADS if channel.type in THREAD_TYPES else SEND_MESSAGES


def may_read(state: State, channel: Channel, user_id: int) -> bool:
    """Whether the user receives new messages there. A voice channel's chat also needs CONNECT."""
    permissions = permissions_in(state, channel, user_id)
    wanted = VIEW_CHANNEL | CONNECT if channel.type in VOICE_TYPES else VIEW_CHANNEL
    return permissions & wanted == wanted


def _overwritten(permissions: int, guild: Guild, channel: Channel, member: Member) -> int:
    everyone = channel.overwrites.get(guild.id)
    if everyone is not None:
        permissions = permissions & ~everyone.deny | everyone.allow
    allow = deny = 0
    for role_id in member.roles:
        overwrite = channel.overwrites.get(role_id)
        if overwrite is not None:
            allow, deny = allow | overwrite.allow, deny | overwrite.deny
    permissions = permissions & ~deny | allow
    own = channel.overwrites.get(member.user_id)
    return permissions if own is None else permissions & ~own.deny | own.allow


def _timed_out(member: Member, now: float) -> bool:
    return member.timeout_until is not None and member.timeout_until > now
