"""One API request and its answer: authentication, body, look-ups that refuse as Discord does."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from sandbox.announce import Announcer
from sandbox.drafts import IncomingFile
from sandbox.errors import ApiError, form_error, refusal, unauthorized
from sandbox.interactions import Interactions
from sandbox.message_payloads import Viewer
from sandbox.permissions import READ_MESSAGE_HISTORY, may, may_read, permissions_in
from sandbox.posting import Poster
from sandbox.realm import Realm
from sandbox.validation.forms import as_snowflake
from sandbox.validation.parsing import parse_json
from sandbox.world import Application, Channel, Guild, Json, Member, Message, User, World

_FILE_PART = re.compile(r"files\[(\d{1,2})\]")


@dataclass(frozen=True, slots=True)
class Api:
    """The services that handlers work with."""

    realm: Realm
    announcer: Announcer
    poster: Poster
    interactions: Interactions


@dataclass(slots=True)
class Call:
    """A request with its caller. Handlers return JSON, or None for 204."""

    api: Api
    request: web.Request
    caller: User | None
    files: dict[int, IncomingFile] = field(default_factory=dict)

    @property
    def realm(self) -> Realm:
        return self.api.realm

    @property
    def world(self) -> World:
        return self.api.realm.world

    @property
    def user(self) -> User:
        """The caller. Raises 401 where a route is open and nobody signed in."""
        if self.caller is None:
            raise unauthorized()
        return self.caller

    @property
    def application(self) -> Application:
        """The calling bot's application. Raises 20002 for people."""
        found = self.world.application_of_bot(self.user.id)
        if found is None:
            raise refusal(20002)
        return found

    @property
    def viewer(self) -> Viewer:
        """Over HTTP the portal's switch decides what a bot reads, whatever its intents."""
        application = self.world.application_of_bot(self.user.id)
        return Viewer(self.user.id, reads_content=application is None or application.message_content)

    def require_members_intent(self) -> None:
        """Bots list members only with the portal's GUILD_MEMBERS switch. Raises 50001."""
        application = self.world.application_of_bot(self.user.id)
        if application is not None and not application.guild_members:
            raise refusal(50001)

    def id(self, name: str) -> int:
        """An id in the path. Raises 50035 for what is no snowflake."""
        raw = self.request.match_info[name]
        if raw == "@me":
            return self.user.id
        found = as_snowflake(raw)
        if found is None:
            raise form_error((name,), "NUMBER_TYPE_COERCE", f'Value "{raw}" is not snowflake.')
        return found

    async def body(self) -> dict[str, Json]:
        """The JSON object, also of a multipart body, whose files land in `files`. An absent body is an empty object."""
        content = await self.json()
        if not isinstance(content, dict):
            raise form_error((), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return content

    async def json(self) -> Json:
        if self.request.content_type == "multipart/form-data":
            try:
                return await self._read_multipart()
            except (ValueError, AssertionError, HttpProcessingError):
                # No boundary, or no parts between boundaries: aiohttp complains of each in its own way.
                raise refusal(50109) from None
        raw = await self.request.read()
        if not raw:
            return {}
        return _parse(raw)

    async def _read_multipart(self) -> Json:
        payload: Json = {}
        limit = self.realm.limits.request_bytes
        async for part in await self.request.multipart():
            if not isinstance(part, BodyPartReader):
                raise refusal(50109)
            data = await _read_part(part, limit)
            limit -= len(data)
            slot = _FILE_PART.fullmatch(part.name or "")
            if part.name == "payload_json":
                payload = _parse(data)
            elif part.filename is not None:
                number = int(slot[1]) if slot is not None else len(self.files)
                self.files[number] = IncomingFile(part.filename, part.headers.get("Content-Type"), data)
        return payload

    # Look-ups that refuse as Discord does

    def guild(self) -> tuple[Guild, Member]:
        """The path's server, with the caller's membership. 10004 for strangers."""
        guild = self.world.guilds.get(self.id("guild_id"))
        member = None if guild is None else guild.members.get(self.user.id)
        if guild is None or member is None:
            raise refusal(10004)
        return guild, member

    def channel(self, wanted: int = 0, *, name: str = "channel_id") -> Channel:
        """The path's channel. 10003 unknown, 50001 not visible to the caller, 50013 without the rights `wanted`."""
        return self.check_channel(self.id(name), wanted)

    def check_channel(self, channel_id: int, wanted: int = 0) -> Channel:
        channel = self.world.channels.get(channel_id)
        if channel is None:
            raise refusal(10003)
        if not may_read(self.world, channel, self.user.id):
            raise refusal(50001)
        self.require(channel, wanted)
        return channel

    def require(self, channel: Channel, wanted: int) -> None:
        if not may(self.world, channel, self.user.id, wanted):
            raise refusal(50013)

    def can(self, channel: Channel, wanted: int) -> bool:
        return bool(permissions_in(self.world, channel, self.user.id) & wanted == wanted)

    def message(self, channel: Channel, *, history: bool = True) -> Message:
        """The path's message. 10008 when it is gone. `history`: reading it asks for READ_MESSAGE_HISTORY."""
        if history and not self.can(channel, READ_MESSAGE_HISTORY):
            raise refusal(50001)
        message = channel.messages.get(self.id("message_id"))
        if message is None:
            raise refusal(10008)
        return message

    def message_json(self, message: Message) -> dict[str, Json]:
        return self.realm.payloads.message(message, self.viewer)


Handler = Callable[[Call], Awaitable[Json]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route below /api/v10. `open`: needs no Authorization (webhook tokens and public facts)."""

    method: str
    path: str
    handler: Handler
    open: bool = False


def answer(content: Json, status: int = 200) -> web.Response:
    """JSON with the bare content type: clients compare it literally, a charset would make them see text."""
    if content is None:
        return web.Response(status=204)
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json"})


def error_answer(error: ApiError) -> web.Response:
    return answer(error.body(), error.status)


def caller_of(realm: Realm, header: str | None) -> User | None:
    """The user of an Authorization header: `Bot token` for bots, the bare token for people."""
    if not header:
        return None
    as_bot = header.startswith("Bot ")
    user = realm.world.user_of_token(header.removeprefix("Bot ").strip())
    return user if user is not None and user.bot == as_bot else None


async def _read_part(part: BodyPartReader, limit: int) -> bytes:
    """Piece by piece, so that a body without end is refused before it fills the memory."""
    data = bytearray()
    while piece := await part.read_chunk(1 << 16):
        data += piece
        if len(data) > limit:
            raise refusal(40005)
    return bytes(data)


def _parse(raw: bytes) -> Json:
    try:
        return parse_json(raw)
    except ValueError:
        raise refusal(50109) from None
