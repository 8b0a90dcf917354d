"""`python -m benchmarks.town_server`: the sandbox with one large guild, and members who use /find.

A process of its own, so that its work does not count as the bot's. It writes lines of JSON: first `Facts`, then, for
each `{"number": 1, "ask": "a query"}` that it reads, the number and what the member saw. `{"number": 2, "post": 5}`
posts five images, one a channel in turn, and `{"number": 3, "delete": 5}` deletes five of those at random.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
from dataclasses import asdict, dataclass
from random import Random
from time import perf_counter

from benchmarks.material import ordinary_jpegs
from benchmarks.million import GUILD, places_of
from sandbox import sessions
from sandbox.demo import BOT_PERMISSIONS
from sandbox.drafts import Draft
from sandbox.guild_ops import add_channel, add_guild, add_member, add_role, add_user
from sandbox.interactions import COMMAND
from sandbox.permissions import VIEW_CHANNEL
from sandbox.server import BUNDLED_SAMPLES, Sandbox
from sandbox.server_state import Limits
from sandbox.sessions import Session
from sandbox.state import Attachment, Channel, ChannelType, Guild, Json, Message, MessageFlag, Overwrite, Role, User

ROLES = 20
ASKERS = 8
"""They take turns, because each may search 15 times in ten seconds."""
TIMEOUT_S = 180.0
_ROLE = 0
_STRING = 3


@dataclass(frozen=True, slots=True)
class Post:
    """A message with one image. readable: whether the asker may see its channel."""

    channel_id: int
    message_id: int
    attachment_id: int
    author_id: int
    readable: bool


@dataclass(frozen=True, slots=True)
class Facts:
    api: str
    gateway: str
    token: str
    readable: int
    posts: list[Post]


@dataclass(frozen=True, slots=True)
class Seen:
    """A response. seconds: from the command to the complete response, as the member sees it."""

    seconds: float
    images: int


class Photo(Attachment):
    """A file that differs from all others in its last bytes, which are added on demand: thousands need no memory."""

    @property
    def data(self) -> bytes:
        return self._photograph + self.id.to_bytes(8)

    @data.setter
    def data(self, photograph: bytes) -> None:
        self._photograph = photograph


class Asker(Session):
    """A member's client that only receives the responses to its commands."""

    def __init__(self, user: User) -> None:
        super().__init__(user)
        self.answers: asyncio.Queue[Json] = asyncio.Queue()

    def push(self, event: str, data: Json) -> None:
        if event == "MESSAGE_UPDATE" and not data["flags"] & MessageFlag.LOADING:
            self.answers.put_nowait(data)


class Town:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._state = sandbox.state
        self._posted: list[Message] = []
        self._random = Random(1)  # noqa: S311 - a choice that can be repeated

    async def build(self, channels: int, posts: int, askers: int) -> Facts:
        """A guild with these channels, of which the askers see every second one, and posts in each in turn."""
        guild, seeing = self._add_guild()
        places = [self._add_channel(guild, id_, seeing, at) for at, (id_, _) in enumerate(places_of(channels))]
        self._askers = itertools.cycle([await self._add_asker(guild, seeing, at) for at in range(askers)])
        self._channel = places[0]
        self._next_channel = itertools.cycle(places)
        self._author = author = add_user(self._state, "author", "Author")
        add_member(self._state, guild, author)
        photographs = ordinary_jpegs() or [b""]
        self._photographs = itertools.cycle(_scenes() + photographs)
        made = [
            self._add_post(places[at % channels], author, photographs[at % len(photographs)], at % channels % 2 == 0)
            for at in range(posts)
        ]
        sandbox = self._sandbox
        api = f"{sandbox.url}/api/v10"
        return Facts(api, sandbox.gateway_url, sandbox.bot_token, (channels + 1) // 2, made)

    async def ask(self, question: str) -> Seen:
        asker, application = next(self._askers), self._sandbox.application
        command = next(one for one in application.commands.values() if one.name == "find")
        data: dict[str, Json] = {
            "id": str(command.id),
            "version": str(command.version),
            "name": "find",
            "type": 1,
            "options": [{"type": _STRING, "name": "query", "value": question}],
        }
        began = perf_counter()
        self._sandbox.interactions.begin(
            COMMAND, application, asker.user, self._channel, data, nonce=None, session_id=asker.id, locale="en-US"
        )
        async with asyncio.timeout(TIMEOUT_S):
            answer = await asker.answers.get()
        return Seen(perf_counter() - began, json.dumps(answer["components"]).count('"media"'))

    def post(self, count: int) -> None:
        """One image a message, a fifth of them scenes that the bundled model knows."""
        for _ in range(count):
            channel = next(self._next_channel)
            photo = self._new_photo(channel, next(self._photographs))
            self._posted.append(self._sandbox.messages.post(channel, self._author, Draft(attachments=[photo])))

    def delete(self, count: int) -> None:
        for _ in range(min(count, len(self._posted))):
            self._sandbox.messages.delete(self._posted.pop(self._random.randrange(len(self._posted))))

    def _add_guild(self) -> tuple[Guild, list[Role]]:
        """In place of the demo guilds. Its ids are those of the benchmarks' database."""
        state = self._state
        state.guilds.clear()
        state.channels.clear()
        guild = add_guild(state, "The Town", add_user(state, "owner", "Owner"), guild_id=GUILD)
        seeing = [add_role(state, guild, f"role {at}") for at in range(ROLES)]
        self._bot_role = add_role(state, guild, "Magpie", BOT_PERMISSIONS)
        add_member(state, guild, state.users[self._sandbox.application.bot_id], self._bot_role)
        return guild, seeing

    def _add_channel(self, guild: Guild, channel_id: int, seeing: list[Role], at: int) -> Channel:
        """Visible to the bot and to three roles: of every second channel, to roles that askers have."""
        mine = seeing[: ROLES // 2] if at % 2 == 0 else seeing[ROLES // 2 :]
        allowed = [self._bot_role, *(mine[(at // 2 + step) % len(mine)] for step in range(3))]
        overwrites = [Overwrite(guild.id, _ROLE, deny=VIEW_CHANNEL)]
        overwrites += [Overwrite(role.id, _ROLE, allow=VIEW_CHANNEL) for role in allowed]
        return add_channel(self._state, guild, f"c{at}", ChannelType.TEXT, *overwrites, channel_id=channel_id)

    async def _add_asker(self, guild: Guild, seeing: list[Role], at: int) -> Asker:
        user = add_user(self._state, f"asker{at}", "Asker")
        add_member(self._state, guild, user, *seeing[: ROLES // 2])
        asker = Asker(user)
        await self._sandbox.server.sessions.open(asker)
        return asker

    def _add_post(self, channel: Channel, author: User, photograph: bytes, readable: bool) -> Post:
        photo = self._new_photo(channel, photograph)
        message = Message(self._state.ids.next(), channel.id, author.id, attachments=[photo])
        photo.holders.add(message.id)
        self._state.attachments[photo.id] = photo
        channel.messages[message.id] = message
        channel.last_message_id = message.id
        return Post(channel.id, message.id, photo.id, author.id, readable)

    def _new_photo(self, channel: Channel, photograph: bytes) -> Photo:
        return Photo(self._state.ids.next(), channel.id, "photo.jpg", "image/jpeg", photograph, 640, 480)


def _scenes() -> list[bytes]:
    return [path.read_bytes() for path in sorted(BUNDLED_SAMPLES.glob("*.png"))]


async def serve(channels: int, posts: int, askers: int, heartbeat_s: float) -> None:
    """Until the standard input is closed."""
    sessions.DETACHED_LIMIT += askers  # they have no socket
    async with Sandbox.serve(limits=Limits(heartbeat_interval_s=heartbeat_s, messages_per_channel=10**9)) as sandbox:
        town = Town(sandbox)
        _write(asdict(await town.build(channels, posts, askers)))
        lines = await _lines()
        asking: set[asyncio.Task[None]] = set()
        while line := await lines.readline():
            task = asyncio.create_task(_answer(town, json.loads(line)))
            asking.add(task)
            task.add_done_callback(asking.discard)


async def _answer(town: Town, wanted: dict[str, Json]) -> None:
    try:
        seen = await town.ask(wanted["ask"]) if "ask" in wanted else Seen(0.0, 0)
        town.post(wanted.get("post", 0))
        town.delete(wanted.get("delete", 0))
        _write({"number": wanted["number"], **asdict(seen)})
    except Exception as error:  # otherwise the benchmark would wait for ever
        _write({"number": wanted["number"], "error": type(error).__name__})


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _write(line: dict[str, Json]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--posts", type=int, required=True)
    parser.add_argument("--askers", type=int, default=ASKERS)
    parser.add_argument("--heartbeat", type=float, required=True, help="seconds between heartbeats")
    return parser.parse_args()


if __name__ == "__main__":
    options = _options()
    asyncio.run(serve(options.channels, options.posts, options.askers, options.heartbeat))
