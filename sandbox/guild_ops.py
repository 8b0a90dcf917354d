"""Creates and removes users, guilds, roles, members and channels.

The add functions dispatch no events: callers that need one dispatch it. The remove functions dispatch theirs.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode

from sandbox.events import Events
from sandbox.image_headers import is_animated
from sandbox.message_service import MessageService
from sandbox.permissions import EVERYONE_DEFAULT
from sandbox.state import (
    Application,
    Channel,
    ChannelType,
    Emoji,
    Guild,
    Member,
    Overwrite,
    Role,
    State,
    Sticker,
    ThreadMetadata,
    User,
)


def add_user(state: State, username: str, display_name: str, *, note: str = "", bot: bool = False) -> User:
    user_id = state.ids.next()
    # The shape of Discord's tokens: the encoded id, then random parts.
    encoded_id = urlsafe_b64encode(str(user_id).encode()).decode().rstrip("=")
    token = f"{encoded_id}.{secrets.token_urlsafe(6)}.{secrets.token_urlsafe(27)}"
    user = User(user_id, username, display_name, token, bot)
    state.users[user_id] = user
    state.tokens[token] = user_id
    if note:
        state.notes[user_id] = note
    return user


def add_application(state: State, name: str, owner: User, *, message_content: bool) -> Application:
    """Creates its bot user too, which has the same id, as with new Discord applications."""
    bot = add_user(state, name, name, bot=True)
    application = Application(bot.id, name, "", owner.id, bot.id, message_content)
    state.applications[application.id] = application
    return application


def add_guild(state: State, name: str, owner: User, *, guild_id: int | None = None) -> Guild:
    """With the @everyone role, whose id is the guild's, and the owner as its first member."""
    guild = Guild(guild_id or state.ids.next(), name, owner.id, state.clock.now())
    guild.roles[guild.id] = Role(guild.id, "@everyone", EVERYONE_DEFAULT)
    state.guilds[guild.id] = guild
    add_member(state, guild, owner)
    return guild


def add_member(state: State, guild: Guild, user: User, *roles: Role) -> Member:
    member = Member(user.id, [r.id for r in roles], joined_at=state.clock.now())
    guild.members[user.id] = member
    return member


def add_role(state: State, guild: Guild, name: str, permissions: int = 0, *, color: int = 0) -> Role:
    role = Role(state.ids.next(), name, permissions, position=len(guild.roles), color=color)
    guild.roles[role.id] = role
    return role


def add_channel(
    state: State,
    guild: Guild,
    name: str,
    kind: int = ChannelType.TEXT,
    *overwrites: Overwrite,
    topic: str | None = None,
    nsfw: bool = False,
    parent_id: int | None = None,
    channel_id: int | None = None,
) -> Channel:
    channel = Channel(
        channel_id or state.ids.next(),
        kind,
        name,
        guild.id,
        position=len(guild.channel_ids),
        topic=topic,
        nsfw=nsfw,
        parent_id=parent_id,
        overwrites={o.target_id: o for o in overwrites},
    )
    state.channels[channel.id] = channel
    guild.channel_ids.append(channel.id)
    return channel


def add_sticker(state: State, guild: Guild, name: str, data: bytes, author: User, *, tags: str = "") -> Sticker:
    """`data`: a PNG, which may be animated, a GIF, or a Lottie animation (JSON)."""
    if data.startswith(b"GIF8"):
        kind = 4
    elif data.lstrip().startswith(b"{"):
        kind = 3
    else:
        kind = 2 if is_animated(data) else 1
    sticker = Sticker(state.ids.next(), guild.id, name, tags, kind, data, author.id)
    state.stickers[sticker.id] = sticker
    return sticker


def add_emoji(state: State, guild: Guild, name: str, data: bytes, author: User) -> Emoji:
    emoji = Emoji(state.ids.next(), guild.id, name, is_animated(data), data, author.id)
    state.emojis[emoji.id] = emoji
    return emoji


def add_thread(
    state: State, parent: Channel, name: str, kind: int, owner: User, *, thread_id: int | None = None
) -> Channel:
    """The owner is its first member. `thread_id`: a thread started on a message has the message's id."""
    now = state.clock.now()
    metadata = ThreadMetadata(owner.id, created_at=now, members={owner.id: now})
    thread = Channel(thread_id or state.ids.next(), kind, name, parent.guild_id, parent_id=parent.id, thread=metadata)
    state.channels[thread.id] = thread
    state.guild_of(parent).channel_ids.append(thread.id)
    return thread


def remove_member(state: State, events: Events, guild: Guild, member: Member) -> None:
    """Leaves all threads too, private ones included: a member who comes back is in none of them."""
    events.guild_left(guild, member.user_id)
    del guild.members[member.user_id]
    for thread in state.threads_of(guild):
        if thread.thread is not None:
            thread.thread.members.pop(member.user_id, None)
    events.member("GUILD_MEMBER_REMOVE", guild, member)


def remove_channel(state: State, events: Events, messages: MessageService, channel: Channel) -> None:
    """Also its threads; like Discord, dispatches no event for each of them."""
    events.channel("CHANNEL_DELETE", channel)
    guild = state.guild_of(channel)
    threads = [t for t in state.threads_of(guild) if t.parent_id == channel.id]
    for removed in (*threads, channel):
        _unregister(state, messages, removed)
    for child in state.channels_of(guild):
        if child.parent_id == channel.id:
            child.parent_id = None
            events.channel("CHANNEL_UPDATE", child)


def remove_thread(state: State, events: Events, messages: MessageService, thread: Channel) -> None:
    events.thread_deleted(thread)
    _unregister(state, messages, thread)


def _unregister(state: State, messages: MessageService, channel: Channel) -> None:
    messages.drop_channel(channel)
    state.guild_of(channel).channel_ids.remove(channel.id)
    del state.channels[channel.id]
