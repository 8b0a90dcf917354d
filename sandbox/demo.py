"""The world that whoever tries Magpie finds: two servers, members with different rights, channels of every kind."""

from __future__ import annotations

from sandbox.building import add_application, add_channel, add_guild, add_member, add_role, add_thread, add_user
from sandbox.permissions import (
    ADMINISTRATOR,
    CONNECT,
    KICK_MEMBERS,
    MANAGE_CHANNELS,
    MANAGE_GUILD,
    MANAGE_MESSAGES,
    MANAGE_THREADS,
    SEND_MESSAGES,
    VIEW_CHANNEL,
)
from sandbox.world import Application, ChannelType, Guild, Overwrite, User, World

BOT_PERMISSIONS = 274_878_024_768
"""What the README's invitation asks for."""
ROLE, MEMBER = 0, 1


def build_demo(world: World) -> Application:
    """Fills an empty world and gives the application whose bot is to connect."""
    ann = add_user(world, "ann", "Ann", note="Owns The Nest; sees everything there")
    bob = add_user(world, "bob", "Bob", note="Moderator of The Nest")
    cem = add_user(world, "cem", "Cem", note="Member; in the private planning thread")
    dora = add_user(world, "dora", "Dora 朵拉", note="Newcomer: no private channels; reads Chinese")
    emil = add_user(world, "emil", "Emil", note="Owns Second Branch; not in The Nest")
    dora.locale = "zh-CN"
    application = add_application(world, "Magpie", ann, message_content=True)
    bot = world.users[application.bot_id]
    nest = _nest(world, ann, bob, cem, dora)
    branch = _branch(world, emil, ann, cem)
    for guild in (nest, branch):
        role = add_role(world, guild, "Magpie", BOT_PERMISSIONS)
        add_member(world, guild, bot, role)
    _let_bot_into_private_channels(world, nest, bot)
    return application


def _nest(world: World, ann: User, bob: User, cem: User, dora: User) -> Guild:
    guild = add_guild(world, "The Nest", ann)
    moderator = add_role(
        world, guild, "Moderator", MANAGE_MESSAGES | MANAGE_THREADS | MANAGE_CHANNELS | MANAGE_GUILD | KICK_MEMBERS
    )
    regular = add_role(world, guild, "Regular", color=0x3BA55D)
    add_member(world, guild, bob, moderator, regular)
    add_member(world, guild, cem, regular)
    add_member(world, guild, dora)
    hidden = Overwrite(guild.id, ROLE, deny=VIEW_CHANNEL)

    def only(*roles: int) -> list[Overwrite]:
        return [hidden, *(Overwrite(r, ROLE, allow=VIEW_CHANNEL) for r in roles)]

    lobby = add_channel(world, guild, "Lobby", ChannelType.CATEGORY)
    pictures = add_channel(world, guild, "pictures", topic="Post what you like", parent_id=lobby.id)
    add_channel(world, guild, "chat", topic="Talk", parent_id=lobby.id)
    add_channel(
        world,
        guild,
        "announcements",
        ChannelType.ANNOUNCEMENT,
        Overwrite(guild.id, ROLE, deny=SEND_MESSAGES),
        Overwrite(moderator.id, ROLE, allow=SEND_MESSAGES),
        topic="Read only, but for moderators",
        parent_id=lobby.id,
    )
    back = add_channel(world, guild, "Back rooms", ChannelType.CATEGORY)
    add_channel(world, guild, "regulars", ChannelType.TEXT, *only(regular.id), topic="Regulars only", parent_id=back.id)
    add_channel(
        world, guild, "moderators", ChannelType.TEXT, *only(moderator.id), topic="Moderators only", parent_id=back.id
    )
    add_channel(world, guild, "after-dark", topic="Age-restricted", nsfw=True, parent_id=back.id)
    add_channel(world, guild, "Hangout", ChannelType.VOICE, parent_id=back.id)
    add_channel(
        world,
        guild,
        "Regulars' voice",
        ChannelType.VOICE,
        Overwrite(guild.id, ROLE, deny=CONNECT),
        Overwrite(regular.id, ROLE, allow=CONNECT),
        parent_id=back.id,
    )
    add_thread(world, guild, pictures, "cats only", ChannelType.PUBLIC_THREAD, cem)
    planning = add_thread(world, guild, pictures, "party planning", ChannelType.PRIVATE_THREAD, ann)
    assert planning.thread is not None  # noqa: S101 - made one line above
    planning.thread.members[cem.id] = world.clock.now()
    return guild


def _branch(world: World, emil: User, ann: User, cem: User) -> Guild:
    guild = add_guild(world, "Second Branch", emil)
    admin = add_role(world, guild, "Admin", ADMINISTRATOR)
    add_member(world, guild, ann)
    add_member(world, guild, cem, admin)
    add_channel(world, guild, "general", topic="Another server: nothing from The Nest is ever found here")
    add_channel(world, guild, "sketches")
    return guild


def _let_bot_into_private_channels(world: World, guild: Guild, bot: User) -> None:
    """It remembers the regulars' room and the private thread, so that one can see that only their members find what is
    there; the moderators' room stays theirs."""
    for channel in world.channels_of(guild):
        if channel.name == "regulars":
            channel.overwrites[bot.id] = Overwrite(bot.id, MEMBER, allow=VIEW_CHANNEL)
    for thread in world.threads_of(guild):
        if thread.thread is not None and thread.type is ChannelType.PRIVATE_THREAD:
            thread.thread.members[bot.id] = world.clock.now()
