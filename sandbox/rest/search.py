"""Message search: which messages of a guild match a query, as far as the caller may read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import urlsplit

from sandbox.payloads import channel_json, thread_member_json
from sandbox.permissions import READ_MESSAGE_HISTORY, may, may_read
from sandbox.responses import api_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Channel, ChannelType, Guild, Json, Message, MessageFlag, Payload, State
from sandbox.validation.forms import Form

MAX_LIMIT, MAX_OFFSET = 25, 9975
LINK = re.compile(r"https?://[^\s<>]+")
WORD = re.compile(r"\w+")
ARRAYS = {
    "channel_id": 500,
    "author_id": 100,
    "mentions": 100,
    "mentions_role_id": 100,
    "replied_to_user_id": 100,
    "replied_to_message_id": 100,
    "author_type": 6,
    "has": 18,
    "embed_type": 5,
    "embed_provider": 100,
    "link_hostname": 100,
    "attachment_filename": 100,
    "attachment_extension": 100,
}
"""The parameters that may be repeated, and how often."""
SNOWFLAKES = (
    "channel_id",
    "author_id",
    "mentions",
    "mentions_role_id",
    "replied_to_user_id",
    "replied_to_message_id",
)
AUTHOR_TYPES = frozenset({"user", "bot", "webhook"})
EMBED_TYPES = {"image": "image", "video": "video", "gif": "gifv", "sound": "sound", "article": "article"}
"""The search's names of embed types, and Discord's own."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Query:
    """Empty sets and None: any. Discord does not document how several values of `has` combine: here all must hold, so
    that a client which works with either reading works.
    """

    ids: Mapping[str, frozenset[int]]
    """By the parameters in SNOWFLAKES."""
    has: frozenset[str] = frozenset()
    author_types: frozenset[str] = frozenset()
    embed_types: frozenset[str] = frozenset()
    embed_providers: frozenset[str] = frozenset()
    link_hosts: frozenset[str] = frozenset()
    file_names: frozenset[str] = frozenset()
    file_extensions: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    min_id: int | None = None
    max_id: int | None = None
    pinned: bool | None = None
    mention_everyone: bool | None = None
    include_nsfw: bool = False
    by_relevance: bool = False
    oldest_first: bool = False
    limit: int = MAX_LIMIT
    offset: int = 0

    def matches(self, message: Message, state: State) -> bool:
        found = self.ids
        names = {a.filename.lower() for a in message.attachments}
        reply = message.reference if message.type == 19 else None
        replied_to = None if reply is None else state.message(message.channel_id, int(reply["message_id"]))
        return (
            (self.min_id is None or message.id > self.min_id)
            and (self.max_id is None or message.id < self.max_id)
            and _any_of(found["author_id"], {message.author_id})
            and _any_of(found["mentions"], set(message.mentions))
            and _any_of(found["mentions_role_id"], set(message.mention_roles))
            and _any_of(found["replied_to_message_id"], set() if reply is None else {int(reply["message_id"])})
            and _any_of(found["replied_to_user_id"], set() if replied_to is None else {replied_to.author_id})
            and self.pinned in (None, message.pinned)
            and self.mention_everyone in (None, message.mention_everyone)
            and _signed(self.author_types, lambda kind: _author_type(message, state) == kind, every=False)
            and _signed(self.has, lambda kind: HAS[kind](message), every=True)
            and _any_of(self.embed_types, {str(e.get("type")) for e in _embeds(message)})
            and _any_of(self.embed_providers, {str((e.get("provider") or {}).get("name")) for e in _embeds(message)})
            and _any_of(self.link_hosts, {urlsplit(link).hostname for link in LINK.findall(message.content)})
            and _any_of(self.file_names, names)
            and _any_of(self.file_extensions, {PurePosixPath(n).suffix.removeprefix(".") for n in names})
            and self.words <= set(_words(message.content))
        )

    def sort_key(self, message: Message) -> tuple[float, int]:
        if self.by_relevance:
            words = _words(message.content)
            return -sum(w in self.words for w in words) / max(1, len(words)), -message.id
        return 0, message.id if self.oldest_first else -message.id


async def search(request: Request) -> Payload:
    """Newest first. Raises 50001 for a bot without the message content intent and for channels that the caller may not
    read, 50013 where it may read no channel's history."""
    guild, _ = request.guild()
    query = read_query(Form(_parameters(request)))
    if not request.viewer.reads_content:
        raise api_error(50001)
    channels = _channels(request, guild, query)
    found = [m for c in channels for m in c.messages.values() if query.matches(m, request.state)]
    found.sort(key=query.sort_key)
    page = found[query.offset : query.offset + query.limit]
    places = {m.channel_id for m in page}
    threads = [c for c in channels if c.id in places and c.thread is not None]
    joined = [t for t in threads if t.thread is not None and request.user.id in t.thread.members]
    return {
        "doing_deep_historical_index": False,
        "total_results": len(found),
        "messages": [[_hit(request, m)] for m in page],
        "threads": [channel_json(request.state, t, request.user) for t in threads],
        "members": [thread_member_json(t, request.user.id) for t in joined],
    }


def read_query(form: Form) -> Query:
    """Raises 50035 with all errors."""
    ids = {name: frozenset(form.snowflakes(name, high=ARRAYS[name]) or ()) for name in SNOWFLAKES}
    has = _names(form, "has", [*HAS, *(f"-{kind}" for kind in HAS)])
    author_types = _names(form, "author_type", [*AUTHOR_TYPES, *(f"-{kind}" for kind in AUTHOR_TYPES)])
    embed_types = _names(form, "embed_type", EMBED_TYPES)
    form.integer("slop", high=100)
    order = _name(form, "sort_order", ("asc", "desc"))
    query = Query(
        ids=ids,
        has=has,
        author_types=author_types,
        embed_types=frozenset(EMBED_TYPES[t] for t in embed_types),
        embed_providers=_texts(form, "embed_provider", 256),
        link_hosts=_texts(form, "link_hostname", 256),
        file_names=frozenset(n.lower() for n in _texts(form, "attachment_filename", 1024)),
        file_extensions=frozenset(e.lower() for e in _texts(form, "attachment_extension", 256)),
        words=frozenset(_words(form.text("content", high=1024) or "")),
        min_id=form.snowflake("min_id"),
        max_id=form.snowflake("max_id"),
        pinned=_boolean(form, "pinned"),
        mention_everyone=_boolean(form, "mention_everyone"),
        include_nsfw=_boolean(form, "include_nsfw") or False,
        by_relevance=_name(form, "sort_by", ("timestamp", "relevance")) == "relevance",
        oldest_first=order == "asc",
        limit=form.integer("limit", low=1, high=MAX_LIMIT, default=MAX_LIMIT) or MAX_LIMIT,
        offset=form.integer("offset", high=MAX_OFFSET, default=0) or 0,
    )
    form.raise_if_invalid()
    return query


def _parameters(request: Request) -> dict[str, object]:
    given = request.http.query
    return {name: given.getall(name) if name in ARRAYS else given[name] for name in given}


def _channels(request: Request, guild: Guild, query: Query) -> list[Channel]:
    """Those to search, in which the caller may read the history. A private thread counts only for its members."""
    state, user = request.state, request.user.id
    wanted = query.ids["channel_id"]
    for channel_id in wanted:
        if channel_id not in guild.channel_ids:
            raise api_error(10003)
        if not _searchable(state, state.channels[channel_id], user):
            raise api_error(50001)
    everywhere = (state.channels[c] for c in guild.channel_ids)
    readable = [c for c in everywhere if _searchable(state, c, user)]
    if not readable:
        raise api_error(50013)
    chosen = [c for c in readable if not wanted or c.id in wanted]
    return [c for c in chosen if query.include_nsfw or not _age_restricted(state, c)]


def _searchable(state: State, channel: Channel, user_id: int) -> bool:
    private = channel.thread is not None and channel.type == ChannelType.PRIVATE_THREAD
    if private and channel.thread is not None and user_id not in channel.thread.members:
        return False
    return may_read(state, channel, user_id) and may(state, channel, user_id, READ_MESSAGE_HISTORY)


def _age_restricted(state: State, channel: Channel) -> bool:
    parent = state.channels.get(channel.parent_id or 0) if channel.thread is not None else channel
    return parent is not None and parent.nsfw


def _hit(request: Request, message: Message) -> Payload:
    body = request.message_json(message)
    body.pop("reactions", None)
    return {**body, "hit": True}


def _has_file(message: Message, kind: str) -> bool:
    return any((a.content_type or "").startswith(kind) for a in message.attachments)


def _embeds(message: Message) -> list[Json]:
    suppressed = message.flags & MessageFlag.SUPPRESS_EMBEDS
    return [] if suppressed else [*message.embeds, *message.previews]


HAS: dict[str, Callable[[Message], bool]] = {
    "link": lambda m: LINK.search(m.content) is not None,
    "embed": lambda m: bool(_embeds(m)),
    "file": lambda m: bool(m.attachments),
    "image": lambda m: _has_file(m, "image/") or any(e.get("image") or e.get("type") == "image" for e in _embeds(m)),
    "video": lambda m: _has_file(m, "video/") or any(e.get("type") in ("video", "gifv") for e in _embeds(m)),
    "sound": lambda m: _has_file(m, "audio/"),
    "sticker": lambda m: bool(m.stickers),
    "poll": lambda m: False,
    "snapshot": lambda m: m.snapshot is not None,
}


def _author_type(message: Message, state: State) -> str:
    """Responses to interactions have a webhook id as well, and count as the bot's."""
    return "bot" if state.users[message.author_id].bot else "user"


def _any_of(wanted: frozenset[_T], present: set[_T]) -> bool:
    return not wanted or not wanted.isdisjoint(present)


def _signed(kinds: frozenset[str], holds: Callable[[str], bool], *, every: bool) -> bool:
    """None of the kinds with a minus may hold; of the others, every one or at least one."""
    wanted = [holds(kind) for kind in kinds if not kind.startswith("-")]
    unwanted = [holds(kind.removeprefix("-")) for kind in kinds if kind.startswith("-")]
    return not any(unwanted) and (all(wanted) if every else not wanted or any(wanted))


def _words(text: str) -> list[str]:
    return [word.casefold() for word in WORD.findall(text)]


def _texts(form: Form, name: str, high: int) -> frozenset[str]:
    values = [v for v in form.array(name, high=ARRAYS[name]) or [] if isinstance(v, str)]
    if any(len(v) > high for v in values):
        form.add_error(name, "BASE_TYPE_MAX_LENGTH", f"Must be {high} or fewer in length.")
    return frozenset(values)


def _names(form: Form, name: str, choices: Mapping[str, object] | list[str]) -> frozenset[str]:
    values = _texts(form, name, 256)
    if not values <= set(choices):
        _add_choice_error(form, name, choices)
        return frozenset()
    return values


def _name(form: Form, name: str, choices: tuple[str, ...]) -> str | None:
    value = form.text(name, high=256)
    if value is not None and value not in choices:
        _add_choice_error(form, name, choices)
    return value


def _add_choice_error(form: Form, name: str, choices: Mapping[str, object] | list[str] | tuple[str, ...]) -> None:
    listed = ", ".join(f"'{c}'" for c in sorted(choices))
    form.add_error(name, "BASE_TYPE_CHOICES", f"Value must be one of {{{listed}}}.")


def _boolean(form: Form, name: str) -> bool | None:
    """A query string's: true, True or 1; false, False or 0."""
    value = form.text(name, high=256)
    if value is not None and value not in ("true", "True", "1", "false", "False", "0"):
        form.add_error(name, "BOOLEAN_TYPE_CONVERT", "Must be either true or false.")
    return None if value is None else value in ("true", "True", "1")


ENDPOINTS = (Endpoint("GET", "/guilds/{guild_id}/messages/search", search),)
