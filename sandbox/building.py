"""Makes people, servers, roles and channels. Changes the world and announces nothing: who needs that does both."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode

from sandbox.permissions import EVERYONE_DEFAULT
from sandbox.world import Application, Channel, ChannelType, Guild, Member, Overwrite, Role, ThreadState, User, World


def add_user(world: World, username: str, display_name: str, *, note: str = "", bot: bool = False) -> User:
    user = User(world.ids.next(), username, display_name, token="", bot=bot)
    give_token(world, user)
    world.users[user.id] = user
    if note:
        world.notes[user.id] = note
    return user


def give_token(world: World, user: User) -> None:
    """A fresh token in the shape of Discord's: the id, then what cannot be guessed. The old one is void."""
    world.tokens.pop(user.token, None)
    start = urlsafe_b64encode(str(user.id).encode()).decode().rstrip("=")
    user.token = f"{start}.{secrets.token_urlsafe(6)}.{secrets.token_urlsafe(27)}"
    world.tokens[user.token] = user.id


def add_application(world: World, name: str, owner: User, *, message_content: bool) -> Application:
    """With its bot user, which shares the application's id, as new applications do."""
    bot = add_user(world, name, name, bot=True)
    application = Application(bot.id, name, "", owner.id, bot.id, message_content)
    world.applications[application.id] = application
    return application


def add_guild(world: World, name: str, owner: User) -> Guild:
    """With its @everyone role, whose id is the server's, and the owner as the first member."""
    now = world.clock.now()
    guild = Guild(world.ids.next(), name, owner.id, now)
    guild.roles[guild.id] = Role(guild.id, "@everyone", EVERYONE_DEFAULT)
    world.guilds[guild.id] = guild
    add_member(world, guild, owner)
    return guild


def add_member(world: World, guild: Guild, user: User, *roles: Role) -> Member:
    member = Member(user.id, [r.id for r in roles], joined_at=world.clock.now())
    guild.members[user.id] = member
    return member


def add_role(world: World, guild: Guild, name: str, permissions: int = 0, *, color: int = 0) -> Role:
    role = Role(world.ids.next(), name, permissions, position=len(guild.roles), color=color)
    guild.roles[role.id] = role
    return role


def add_channel(
    world: World,
    guild: Guild,
    name: str,
    kind: int = ChannelType.TEXT,
    *overwrites: Overwrite,
    topic: str | None = None,
    nsfw: bool = False,
    parent_id: int | None = None,
) -> Channel:
    channel = Channel(
        world.ids.next(),
        kind,
        name,
        guild.id,
        position=len(guild.channel_ids),
        topic=topic,
        nsfw=nsfw,
        parent_id=parent_id,
        overwrites={o.target_id: o for o in overwrites},
    )
    _register(world, guild, channel)
    return channel


def add_thread(
    world: World, guild: Guild, parent: Channel, name: str, kind: int, owner: User, *, thread_id: int | None = None
) -> Channel:
    """The owner is its first member. `thread_id`: a thread begun on a message shares the message's id."""
    now = world.clock.now()
    state = ThreadState(owner.id, created_at=now, members={owner.id: now})
    thread = Channel(thread_id or world.ids.next(), kind, name, guild.id, parent_id=parent.id, thread=state)
    _register(world, guild, thread)
    return thread


def _register(world: World, guild: Guild, channel: Channel) -> None:
    world.channels[channel.id] = channel
    guild.channel_ids.append(channel.id)
