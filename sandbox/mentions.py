"""Who a text pings: Discord's mention syntax, held back by `allowed_mentions` and by the author's rights."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.validation.components import TEXT, walk
from sandbox.validation.forms import Form
from sandbox.world import Guild, Json

_USER = re.compile(r"<@!?(\d{1,20})>")
_ROLE = re.compile(r"<@&(\d{1,20})>")
_EVERYONE = re.compile(r"@(everyone|here)\b")


@dataclass(frozen=True, slots=True)
class AllowedMentions:
    """None for a list: all of that kind."""

    everyone: bool = True
    users: frozenset[int] | None = None
    roles: frozenset[int] | None = None
    replied_user: bool = True


@dataclass(frozen=True, slots=True)
class Mentions:
    users: tuple[int, ...] = ()
    roles: tuple[int, ...] = ()
    everyone: bool = False


def read_allowed_mentions(form: Form) -> AllowedMentions:
    inner = form.form("allowed_mentions")
    if inner is None:
        return AllowedMentions()
    parse = inner.array("parse", high=3) or []
    users = inner.snowflakes("users")
    roles = inner.snowflakes("roles")
    for name, ids in (("users", users), ("roles", roles)):
        if ids and name in parse:
            message = f'parse:["{name}"] and {name}: [ids...] are mutually exclusive.'
            inner.complain(name, "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", message)
    return AllowedMentions(
        everyone="everyone" in parse,
        users=None if "users" in parse else frozenset(users or ()),
        roles=None if "roles" in parse else frozenset(roles or ()),
        replied_user=inner.boolean("replied_user"),
    )


def find_mentions(
    content: str, components: list[Json], allowed: AllowedMentions, guild: Guild | None, *, may_everyone: bool
) -> Mentions:
    """`may_everyone`: the author holds MENTION_EVERYONE, which also covers roles that are not mentionable."""
    texts = [content, *(str(c.get("content", "")) for c in walk(components) if c.get("type") == TEXT)]
    text = "\n".join(texts)
    users = dict.fromkeys(int(u) for u in _USER.findall(text))
    roles = dict.fromkeys(int(r) for r in _ROLE.findall(text))
    return Mentions(
        users=tuple(u for u in users if allowed.users is None or u in allowed.users),
        roles=tuple(
            r
            for r in roles
            if guild is not None
            and r in guild.roles
            and (guild.roles[r].mentionable or may_everyone)
            and (allowed.roles is None or r in allowed.roles)
        ),
        everyone=allowed.everyone and may_everyone and _EVERYONE.search(text) is not None,
    )
