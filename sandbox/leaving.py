"""A member goes, by themselves or sent away: the one way out of a server."""

from __future__ import annotations

from sandbox.announce import Announcer
from sandbox.world import Guild, Member, World


def leave(world: World, announcer: Announcer, guild: Guild, member: Member) -> None:
    """Out of the server and of its threads, private ones included: whoever comes back is in none of them."""
    announcer.guild_left(guild, member.user_id)
    del guild.members[member.user_id]
    for thread in world.threads_of(guild):
        if thread.thread is not None:
            thread.thread.members.pop(member.user_id, None)
    announcer.member("GUILD_MEMBER_REMOVE", guild, member)
