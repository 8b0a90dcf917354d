"""`python -m benchmarks.town_server`: a small Discord with one large server, and somebody in it who asks.

A process of its own, so that what it does is not counted as the bot's. It speaks in lines of JSON: first a `Facts`,
then for each question that it reads, `{"number": 1, "ask": "…"}`, the number again with what the asker saw.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
from dataclasses import asdict, dataclass
from time import perf_counter

from benchmarks.material import ordinary_jpegs
from benchmarks.million import GUILD, places_of
from sandbox.demo import BOT_PERMISSIONS
from sandbox.guild_ops import add_member, add_role, add_user
from sandbox.interactions import COMMAND
from sandbox.permissions import EVERYONE_DEFAULT, VIEW_CHANNEL
from sandbox.server import Sandbox
from sandbox.server_state import Limits
from sandbox.sessions import Session
from sandbox.state import Attachment, Channel, ChannelType, Guild, Json, Message, MessageFlag, Overwrite, Role, User

ROLES = 20
ASKERS = 8
"""They take turns: each may ask 15 questions in ten seconds."""
PATIENCE_S = 30.0
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
    """What became of a question. seconds: from asking to the whole answer, at the asker's end."""

    seconds: float
    images: int


class Photo(Attachment):
    """A file that differs from every other by its end, made when it is asked for: many thousands need no memory."""

    @property
    def data(self) -> bytes:
        return self._photograph + self.id.to_bytes(8)

    @data.setter
    def data(self, photograph: bytes) -> None:
        self._photograph = photograph


class Asker(Session):
    """A person's client that only waits for answers to its questions."""

    def __init__(self, user: User) -> None:
        super().__init__(user, None, 0)
        self.answers: asyncio.Queue[Json] = asyncio.Queue()

    def push(self, event: str, data: Json) -> None:
        if event == "MESSAGE_UPDATE" and not data["flags"] & MessageFlag.LOADING:
            self.answers.put_nowait(data)


class Town:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._world = sandbox.state

    async def build(self, channels: int, posts: int) -> Facts:
        """A server of so many channels, of which the askers may see every second one, and a post in each in turn."""
        guild, seeing = self._server()
        places = [self._channel(guild, id_, seeing, at) for at, (id_, _) in enumerate(places_of(channels))]
        self._askers = itertools.cycle([await self._asker(guild, seeing, at) for at in range(ASKERS)])
        self._where = places[0]
        author = add_user(self._world, "author", "Author")
        add_member(self._world, guild, author)
        photographs = ordinary_jpegs() or [b""]
        made = [
            self._post(places[at % channels], author, photographs[at % len(photographs)], at % channels % 2 == 0)
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
            COMMAND, application, asker.user, self._where, data, nonce=None, session_id=asker.id, locale="en-US"
        )
        async with asyncio.timeout(PATIENCE_S):
            answer = await asker.answers.get()
        return Seen(perf_counter() - began, json.dumps(answer["components"]).count('"accessory"'))

    def _server(self) -> tuple[Guild, list[Role]]:
        """One server instead of those on trial. Its ids are the ones that the database of benchmarks has."""
        world = self._world
        for known in list(world.guilds.values()):
            for channel_id in known.channel_ids:
                del world.channels[channel_id]
            del world.guilds[known.id]
        owner = add_user(world, "owner", "Owner")
        guild = Guild(GUILD, "The Town", owner.id, world.clock.now())
        guild.roles[GUILD] = Role(GUILD, "@everyone", EVERYONE_DEFAULT)
        world.guilds[GUILD] = guild
        add_member(world, guild, owner)
        seeing = [add_role(world, guild, f"role {at}") for at in range(ROLES)]
        self._bot_role = add_role(world, guild, "Magpie", BOT_PERMISSIONS)
        add_member(world, guild, world.users[self._sandbox.application.bot_id], self._bot_role)
        return guild, seeing

    def _channel(self, guild: Guild, channel_id: int, seeing: list[Role], at: int) -> Channel:
        """Hidden from everyone, open to the bot and to three roles; every second channel to roles that askers have."""
        mine = seeing[: ROLES // 2] if at % 2 == 0 else seeing[ROLES // 2 :]
        allowed = [self._bot_role, *(mine[(at // 2 + step) % len(mine)] for step in range(3))]
        overwrites = [Overwrite(guild.id, _ROLE, deny=VIEW_CHANNEL)]
        overwrites += [Overwrite(role.id, _ROLE, allow=VIEW_CHANNEL) for role in allowed]
        by_target = {one.target_id: one for one in overwrites}
        channel = Channel(channel_id, ChannelType.TEXT, f"c{at}", guild.id, position=at, overwrites=by_target)
        self._world.channels[channel_id] = channel
        guild.channel_ids.append(channel_id)
        return channel

    async def _asker(self, guild: Guild, seeing: list[Role], at: int) -> Asker:
        user = add_user(self._world, f"asker{at}", "Asker")
        add_member(self._world, guild, user, *seeing[: ROLES // 2])
        asker = Asker(user)
        await self._sandbox.server.sessions.open(asker)
        return asker

    def _post(self, channel: Channel, author: User, photograph: bytes, readable: bool) -> Post:
        ids = self._world.ids
        photo = Photo(ids.next(), channel.id, "photo.jpg", "image/jpeg", photograph, 640, 480)
        message = Message(ids.next(), channel.id, author.id, attachments=[photo])
        photo.holders.add(message.id)
        self._world.attachments[photo.id] = photo
        channel.messages[message.id] = message
        channel.last_message_id = message.id
        return Post(channel.id, message.id, photo.id, author.id, readable)


async def serve(channels: int, posts: int, heartbeat_s: float) -> None:
    """Until there is nothing more to read."""
    async with Sandbox.serve(limits=Limits(heartbeat_interval_s=heartbeat_s, messages_per_channel=10**9)) as sandbox:
        town = Town(sandbox)
        _say(asdict(await town.build(channels, posts)))
        lines = await _lines()
        asking: set[asyncio.Task[None]] = set()
        while line := await lines.readline():
            task = asyncio.create_task(_answer(town, json.loads(line)))
            asking.add(task)
            task.add_done_callback(asking.discard)


async def _answer(town: Town, wanted: dict[str, Json]) -> None:
    try:
        _say({"number": wanted["number"], **asdict(await town.ask(wanted["ask"]))})
    except Exception as error:  # whoever asked must hear of it, or waits for ever
        _say({"number": wanted["number"], "error": type(error).__name__})


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(what: dict[str, Json]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--posts", type=int, required=True)
    parser.add_argument("--heartbeat", type=float, required=True, help="seconds between heartbeats")
    return parser.parse_args()


if __name__ == "__main__":
    options = _options()
    asyncio.run(serve(options.channels, options.posts, options.heartbeat))
