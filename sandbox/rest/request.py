"""One API request: authentication, body, and look-ups that fail with Discord's errors."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from sandbox.drafts import UploadedFile
from sandbox.events import Events
from sandbox.interactions import Interactions
from sandbox.message_payloads import Viewer
from sandbox.message_service import MessageService
from sandbox.permissions import READ_MESSAGE_HISTORY, guild_permissions, may, may_read
from sandbox.responses import ApiError, api_error, form_error
from sandbox.server_state import ServerState
from sandbox.state import Application, Channel, Guild, Member, Message, Payload, State, User
from sandbox.validation.forms import as_snowflake, parse_json

_FILE_PART = re.compile(r"files\[(\d{1,2})\]")


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with."""

    server: ServerState
    events: Events
    messages: MessageService
    interactions: Interactions


@dataclass(slots=True)
class Request:
    """An HTTP request and its caller. Handlers return JSON, or None for 204."""

    services: Services
    http: web.Request
    caller: User | None
    files: dict[int, UploadedFile] = field(default_factory=dict)

    @property
    def server(self) -> ServerState:
        return self.services.server

    @property
    def state(self) -> State:
        return self.services.server.state

    @property
    def events(self) -> Events:
        return self.services.events

    @property
    def messages(self) -> MessageService:
        return self.services.messages

    @property
    def user(self) -> User:
        """The caller. Raises 401 without one, which open endpoints allow."""
        if self.caller is None:
            raise ApiError(401, 0, "401: Unauthorized")
        return self.caller

    @property
    def application(self) -> Application:
        """The calling bot's application. Raises 20002 for people."""
        found = self.state.application_of_bot(self.user.id)
        if found is None:
            raise api_error(20002)
        return found

    @property
    def viewer(self) -> Viewer:
        """Over HTTP the portal's setting decides whether a bot reads content, not its intents."""
        application = self.state.application_of_bot(self.user.id)
        return Viewer(self.user.id, reads_content=application is None or application.message_content)

    def id(self, name: str) -> int:
        """An id in the path. Raises 50035 if it is not a snowflake."""
        raw = self.http.match_info[name]
        if raw == "@me":
            return self.user.id
        found = as_snowflake(raw)
        if found is None:
            raise form_error((name,), "NUMBER_TYPE_COERCE", f'Value "{raw}" is not snowflake.')
        return found

    async def body(self) -> Payload:
        """The JSON object of the body, empty if there is no body. Puts the files of a multipart body into `files`."""
        content = await self.json()
        if not isinstance(content, dict):
            raise form_error((), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return content

    async def json(self) -> object:
        if self.http.content_type == "multipart/form-data":
            try:
                return await self._read_multipart()
            except (ValueError, AssertionError, HttpProcessingError):
                # aiohttp raises different errors for a missing boundary and for missing parts.
                raise api_error(50109) from None
        raw = await self.http.read()
        if not raw:
            return {}
        return _parse(raw)

    async def _read_multipart(self) -> object:
        payload: object = {}
        limit = self.server.limits.request_bytes
        async for part in await self.http.multipart():
            if not isinstance(part, BodyPartReader):
                raise api_error(50109)
            data = await _read_part(part, limit)
            limit -= len(data)
            slot = _FILE_PART.fullmatch(part.name or "")
            if part.name == "payload_json":
                payload = _parse(data)
            elif part.filename is not None:
                number = int(slot[1]) if slot is not None else len(self.files)
                self.files[number] = UploadedFile(part.filename, part.headers.get("Content-Type"), data)
        return payload

    # Look-ups that raise Discord's errors

    def guild(self) -> tuple[Guild, Member]:
        """The path's guild and the caller's membership. Raises 10004 if the caller is not a member."""
        guild = self.state.guilds.get(self.id("guild_id"))
        member = None if guild is None else guild.members.get(self.user.id)
        if guild is None or member is None:
            raise api_error(10004)
        return guild, member

    def managed_guild(self, permissions: int) -> Guild:
        """The path's guild. Raises 50013 if the caller lacks the permissions there."""
        guild, member = self.guild()
        if guild_permissions(guild, member, self.server.clock.now()) & permissions != permissions:
            raise api_error(50013)
        return guild

    def member_of(self, guild: Guild) -> Member:
        """The path's user as a member. Raises 10007."""
        member = guild.members.get(self.id("user_id"))
        if member is None:
            raise api_error(10007)
        return member

    def channel(self, permissions: int = 0) -> Channel:
        """The path's channel. Raises 10003 unknown, 50001 not visible to the caller, 50013 permissions missing."""
        return self.check_channel(self.id("channel_id"), permissions)

    def check_channel(self, channel_id: int, permissions: int = 0) -> Channel:
        channel = self.state.channels.get(channel_id)
        if channel is None:
            raise api_error(10003)
        if not may_read(self.state, channel, self.user.id):
            raise api_error(50001)
        self.require(channel, permissions)
        return channel

    def require(self, channel: Channel, permissions: int) -> None:
        if not may(self.state, channel, self.user.id, permissions):
            raise api_error(50013)

    def can(self, channel: Channel, permissions: int) -> bool:
        return may(self.state, channel, self.user.id, permissions)

    def message(self, channel: Channel, *, history: bool = True) -> Message:
        """The path's message. Raises 10008. `history`: reading it needs READ_MESSAGE_HISTORY."""
        if history and not self.can(channel, READ_MESSAGE_HISTORY):
            raise api_error(50001)
        message = channel.messages.get(self.id("message_id"))
        if message is None:
            raise api_error(10008)
        return message

    def message_json(self, message: Message) -> Payload:
        return self.server.payloads.message(message, self.viewer)


Handler = Callable[[Request], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route below /api/v10. `open`: needs no Authorization header. `status`: of a response with a body."""

    method: str
    path: str
    handler: Handler
    open: bool = False
    status: int = 200


def authenticate(state: State, header: str | None) -> User | None:
    """The user of an Authorization header: `Bot <token>` for bots, the bare token for people."""
    if not header:
        return None
    user = state.user_of_token(header.removeprefix("Bot ").strip())
    return user if user is not None and user.bot == header.startswith("Bot ") else None


async def _read_part(part: BodyPartReader, limit: int) -> bytes:
    """In pieces, so that an endless body is refused before it fills the memory."""
    data = bytearray()
    while chunk := await part.read_chunk(1 << 16):
        data += chunk
        if len(data) > limit:
            raise api_error(40005)
    return bytes(data)


def _parse(raw: bytes) -> object:
    try:
        return parse_json(raw)
    except ValueError:
        raise api_error(50109) from None
