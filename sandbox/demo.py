"""The demo data: two guilds, members with different permissions, channels of every kind."""

from __future__ import annotations

from sandbox.guild_ops import add_application, add_channel, add_guild, add_member, add_role, add_thread, add_user
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
from sandbox.state import Application, ChannelType, Guild, Overwrite, State, User

BOT_PERMISSIONS = 274_878_024_768
"""The permissions of the invitation link in the README."""
ROLE, MEMBER = 0, 1


def build_demo(state: State) -> Application:
    """Fills an empty state. Returns the application of the bot that is to connect."""
    ann = add_user(state, "ann", "Ann", note="Owns The Nest; sees everything there")
    bob = add_user(state, "bob", "Bob", note="Moderator of The Nest")
    cem = add_user(state, "cem", "Cem", note="Member; in the private planning thread")
    dora = add_user(state, "dora", "Dora 朵拉", note="Newcomer: no private channels; reads Chinese")
    emil = add_user(state, "emil", "Emil", note="Owns Second Branch; not in The Nest")
    dora.locale = "zh-CN"
    application = add_application(state, "Magpie", ann, message_content=True)
    bot = state.users[application.bot_id]
    nest = _nest(state, ann, bob, cem, dora)
    branch = _branch(state, emil, ann, cem)
    for guild in (nest, branch):
        role = add_role(state, guild, "Magpie", BOT_PERMISSIONS)
        add_member(state, guild, bot, role)
    _admit_bot_to_private_channels(state, nest, bot)
    return application


def _nest(state: State, ann: User, bob: User, cem: User, dora: User) -> Guild:
    guild = add_guild(state, "The Nest", ann)
    moderator = add_role(
        state, guild, "Moderator", MANAGE_MESSAGES | MANAGE_THREADS | MANAGE_CHANNELS | MANAGE_GUILD | KICK_MEMBERS
    )
    regular = add_role(state, guild, "Regular", color=0x3BA55D)
    add_member(state, guild, bob, moderator, regular)
    add_member(state, guild, cem, regular)
    add_member(state, guild, dora)
    hidden = Overwrite(guild.id, ROLE, deny=VIEW_CHANNEL)

    def only(*roles: int) -> list[Overwrite]:
        return [hidden, *(Overwrite(r, ROLE, allow=VIEW_CHANNEL) for r in roles)]

    lobby = add_channel(state, guild, "Lobby", ChannelType.CATEGORY)
    pictures = add_channel(state, guild, "pictures", topic="Post what you like", parent_id=lobby.id)
    add_channel(state, guild, "chat", topic="Talk", parent_id=lobby.id)
    add_channel(
        state,
        guild,
        "announcements",
        ChannelType.ANNOUNCEMENT,
        Overwrite(guild.id, ROLE, deny=SEND_MESSAGES),
        Overwrite(moderator.id, ROLE, allow=SEND_MESSAGES),
        topic="Read only, but for moderators",
        parent_id=lobby.id,
    )
    back = add_channel(state, guild, "Back rooms", ChannelType.CATEGORY)
    add_channel(state, guild, "regulars", ChannelType.TEXT, *only(regular.id), topic="Regulars only", parent_id=back.id)
    add_channel(
        state, guild, "moderators", ChannelType.TEXT, *only(moderator.id), topic="Moderators only", parent_id=back.id
    )
    add_channel(state, guild, "after-dark", topic="Age-restricted", nsfw=True, parent_id=back.id)
    add_channel(state, guild, "Hangout", ChannelType.VOICE, parent_id=back.id)
    add_channel(
        state,
        guild,
        "Regulars' voice",
        ChannelType.VOICE,
        Overwrite(guild.id, ROLE, deny=CONNECT),
        Overwrite(regular.id, ROLE, allow=CONNECT),
        parent_id=back.id,
    )
    add_thread(state, pictures, "cats only", ChannelType.PUBLIC_THREAD, cem)
    planning = add_thread(state, pictures, "party planning", ChannelType.PRIVATE_THREAD, ann)
    assert planning.thread is not None  # noqa: S101 - made one line above
    planning.thread.members[cem.id] = state.clock.now()
    return guild


def _branch(state: State, emil: User, ann: User, cem: User) -> Guild:
    guild = add_guild(state, "Second Branch", emil)
    admin = add_role(state, guild, "Admin", ADMINISTRATOR)
    add_member(state, guild, ann)
    add_member(state, guild, cem, admin)
    add_channel(state, guild, "general", topic="Another server: nothing from The Nest is ever found here")
    add_channel(state, guild, "sketches")
    return guild


def _admit_bot_to_private_channels(state: State, guild: Guild, bot: User) -> None:
    """Into the regulars' channel and the private thread, to show that only their members find the images posted there.
    The moderators' channel stays closed to the bot."""
    for channel in state.channels_of(guild):
        if channel.name == "regulars":
            channel.overwrites[bot.id] = Overwrite(bot.id, MEMBER, allow=VIEW_CHANNEL)
    for thread in state.threads_of(guild):
        if thread.thread is not None and thread.type is ChannelType.PRIVATE_THREAD:
            thread.thread.members[bot.id] = state.clock.now()
