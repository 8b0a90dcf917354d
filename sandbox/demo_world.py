"""The demo's larger world: more channels and members than `demo.py` has, and weeks of posts from `world/posts.json`.

The posts of a trial are honest ones: they reach the bot as events, like any post, once it has connected. Only their ids
and times lie in the past. Some were posted before the bot joined, and it hears nothing of those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sandbox.drafts import UploadedFile, read_draft
from sandbox.events import Events
from sandbox.guild_ops import add_channel, add_emoji, add_member, add_sticker, add_thread, add_user
from sandbox.message_service import REPLY_TYPE, MessageService
from sandbox.previews import SAMPLES_PATH
from sandbox.server_state import ServerState
from sandbox.state import Channel, ChannelType, Json, Message, MessageFlag, State, User

WORLD = Path(__file__).parent / "world"
DAY_S = 24 * 3600.0
FOUNDED_DAYS = 63.0
BOT_JOINED_DAYS = 49.0


@dataclass(frozen=True, slots=True)
class PostedFile:
    name: str
    alt: str | None = None
    spoiler: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """days: before the present. place: a channel or thread. begins_in: the forum in which the post begins that thread.
    reply, forward: the key of an earlier post. archives: the thread, after this post."""

    days: float
    place: str
    author: str
    text: str = ""
    files: tuple[PostedFile, ...] = ()
    stickers: tuple[str, ...] = ()
    begins_in: str | None = None
    key: str | None = None
    reply: str | None = None
    forward: str | None = None
    reactions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    archives: bool = False
    before_bot: bool = False


def read_posts(path: Path = WORLD / "posts.json") -> list[Post]:
    """Oldest first."""
    posts = [_read_post(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return sorted(posts, key=lambda post: -post.days)


def enlarge(state: State) -> None:
    """Adds the members, channels, stickers and emojis of the larger world to the demo. Its bot joined weeks later."""
    nest = next(g for g in state.guilds.values() if g.name == "The Nest")
    ann, cem = (_user(state, name) for name in ("ann", "cem"))
    finn = add_user(state, "finn", "Finn", note="Member of The Nest; posts from the road")
    gita = add_user(state, "gita", "Gita", note="Regular of The Nest")
    add_member(state, nest, finn)
    add_member(state, nest, gita, *(r for r in nest.roles.values() if r.name == "Regular"))
    lobby = next(c for c in state.channels_of(nest) if c.name == "Lobby")
    add_channel(state, nest, "food", topic="What you eat and drink", parent_id=lobby.id)
    add_channel(state, nest, "on-the-road", topic="Where you are", parent_id=lobby.id)
    add_channel(state, nest, "collections", ChannelType.FORUM, topic="One thread for each", parent_id=lobby.id)
    pictures = next(c for c in state.channels_of(nest) if c.name == "pictures")
    add_thread(state, pictures, "summer fair", ChannelType.PUBLIC_THREAD, finn)
    for path in sorted(WORLD.glob("sticker-*.png")):
        add_sticker(state, nest, path.stem.removeprefix("sticker-"), path.read_bytes(), ann, tags=path.stem)
    for path in sorted(WORLD.glob("emoji-*.png")):
        add_emoji(state, nest, path.stem.removeprefix("emoji-"), path.read_bytes(), cem)
    for guild in state.guilds.values():
        for member in guild.members.values():
            if state.users[member.user_id].bot:
                member.joined_at = state.clock.now() + (FOUNDED_DAYS - BOT_JOINED_DAYS) * DAY_S


class DemoPosts:
    """Posts what `posts.json` says, each at its time. Call its methods in their order."""

    def __init__(self, server: ServerState, events: Events, messages: MessageService) -> None:
        self._server = server
        self._state = server.state
        self._events = events
        self._messages = messages
        self._posts = read_posts()
        self._by_key: dict[str, Message] = {}

    def before_the_bot_joined(self) -> None:
        self._post([post for post in self._posts if post.before_bot])

    def since_the_bot_joined(self) -> None:
        self._post([post for post in self._posts if not post.before_bot])
        for channel in self._state.channels.values():
            # Somebody may have posted already, at the present.
            channel.messages = dict(sorted(channel.messages.items()))
            channel.last_message_id = max(channel.messages, default=None)

    def _post(self, posts: list[Post]) -> None:
        now = self._server.clock.now()
        for post in posts:
            with self._state.at(now - post.days * DAY_S):
                message = self._posted(post)
            if post.key is not None:
                self._by_key[post.key] = message

    def _posted(self, post: Post) -> Message:
        author = _user(self._state, post.author)
        channel = self._begin_thread(post, author) if post.begins_in else self._channel(post.place)
        body: dict[str, object] = {
            "content": self._filled_in(post.text),
            "attachments": [
                {"id": n, "filename": file.name, "description": file.alt, "is_spoiler": file.spoiler}
                for n, file in enumerate(post.files)
            ],
            "sticker_ids": [str(s.id) for s in self._state.stickers.values() if s.name in post.stickers],
        }
        files = {n: UploadedFile(f.name, None, (WORLD / f.name).read_bytes()) for n, f in enumerate(post.files)}
        draft = read_draft(self._server, author, channel.id, body, files)
        message = self._messages.post(channel, author, draft, like=self._referring(post, channel, author))
        for emoji, names in post.reactions:
            emoji = self._filled_in(emoji)
            for name in names:
                message.reactions.setdefault(emoji, []).append(_user(self._state, name).id)
                self._events.reaction("MESSAGE_REACTION_ADD", message, _user(self._state, name).id, emoji)
        if channel.thread is not None:
            channel.thread.members.setdefault(author.id, self._server.clock.now())
            if post.archives:
                channel.thread.archived, channel.thread.archived_at = True, self._server.clock.now()
                self._events.thread("THREAD_UPDATE", channel)
        return message

    def _begin_thread(self, post: Post, author: User) -> Channel:
        forum = self._channel(post.begins_in or "")
        thread = add_thread(self._state, forum, post.place, ChannelType.PUBLIC_THREAD, author)
        self._events.thread("THREAD_CREATE", thread, newly_created=True)
        return thread

    def _referring(self, post: Post, channel: Channel, author: User) -> Message:
        message = Message(channel.id if post.begins_in else 0, channel.id, author.id)
        key = post.reply or post.forward
        if key is None:
            return message
        original = self._by_key[key]
        if post.forward:
            message.snapshot = self._messages.snapshot_of(original)
            message.flags |= MessageFlag.HAS_SNAPSHOT
        else:
            message.type = REPLY_TYPE
        message.reference = {
            "type": 1 if post.forward else 0,
            "guild_id": str(channel.guild_id),
            "channel_id": str(original.channel_id),
            "message_id": str(original.id),
        }
        return message

    def _filled_in(self, text: str) -> str:
        """With the address of the samples and the ids of the emojis."""
        text = text.replace("{samples}", self._server.base_url + SAMPLES_PATH)
        for emoji in self._state.emojis.values():
            text = text.replace(f"{{{emoji.name}}}", str(emoji.id))
        return text

    def _channel(self, name: str) -> Channel:
        return next(c for c in self._state.channels.values() if c.name == name)


def _user(state: State, name: str) -> User:
    return next(u for u in state.users.values() if u.username == name)


def _read_post(entry: Json) -> Post:
    files = tuple(PostedFile(f["file"], f.get("alt"), f.get("spoiler", False)) for f in entry.pop("files", ()))
    reactions = tuple((emoji, tuple(names)) for emoji, names in entry.pop("reactions", {}).items())
    stickers = tuple(entry.pop("stickers", ()))
    place, author = entry.pop("in"), entry.pop("by")
    return Post(place=place, author=author, files=files, reactions=reactions, stickers=stickers, **entry)
