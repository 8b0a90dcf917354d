"""The gateway websocket: HELLO, IDENTIFY, heartbeats, RESUME, and Discord's close codes."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import WSMsgType, web

from sandbox.events import GUILD_MEMBERS, GUILD_PRESENCES, GUILDS, MESSAGE_CONTENT
from sandbox.payloads import application_flags, full_guild_json, own_user_json
from sandbox.server_state import SERVER, ServerState
from sandbox.sessions import Session
from sandbox.state import Payload, User
from sandbox.validation.forms import parse_json

log = logging.getLogger(__name__)

HEARTBEAT, IDENTIFY, RESUME, INVALID_SESSION, HELLO, ACK = 1, 2, 6, 9, 10, 11
IGNORED = frozenset({3, 4, 8, 13, 14, 31, 36, 37, 40, 41})
"""Presence, voice state, member requests, and what people's apps send about their windows."""
UNKNOWN_OPCODE, DECODE_ERROR, NOT_AUTHENTICATED, BAD_TOKEN, ALREADY_AUTHENTICATED = 4001, 4002, 4003, 4004, 4005
TIMED_OUT, BAD_SHARD, BAD_INTENTS, DISALLOWED_INTENTS = 4009, 4010, 4013, 4014
KNOWN_INTENTS = (1 << 26) - 1
FRAME_BYTES = 16 * 1024
ACK_AFTER_S = 0.02
"""discord.py 2.7.1 records the time of a heartbeat after sending it. An immediate ACK arrives before that and counts
for the previous heartbeat; discord.py then warns "websocket is 41s behind"."""


async def connect(request: web.Request) -> web.WebSocketResponse:
    """One connection, from HELLO to close."""
    socket = web.WebSocketResponse(max_msg_size=FRAME_BYTES, compress=False)
    await socket.prepare(request)
    connection = _Connection(request.app[SERVER], socket, request.transport)
    await connection.run()
    return socket


class _Close(Exception):
    """Ends the connection with a close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Connection:
    def __init__(
        self, server: ServerState, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None
    ) -> None:
        self._server = server
        self._socket = socket
        self._transport = transport
        self._session: Session | None = None
        self._writer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        interval = self._server.limits.heartbeat_interval_s
        try:
            await self._send(HELLO, {"heartbeat_interval": int(interval * 1000)})
            while True:
                async with asyncio.timeout(interval * 2):
                    message = await self._socket.receive()
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    return
                await self._handle(message.data)
        except _Close as close:
            await self._socket.close(code=close.code)
        except TimeoutError:
            await self._socket.close(code=TIMED_OUT)
        except ConnectionError:
            log.debug("gateway: connection lost")
        finally:
            await self._detach()

    async def _handle(self, raw: str | bytes) -> None:
        try:
            frame = parse_json(raw)
        except ValueError:
            raise _Close(DECODE_ERROR) from None
        if not isinstance(frame, dict) or not isinstance(frame.get("op"), int):
            raise _Close(DECODE_ERROR)
        op, data = frame["op"], frame.get("d")
        if op == HEARTBEAT:
            await asyncio.sleep(ACK_AFTER_S)
            await self._send(ACK)
        elif op == IDENTIFY:
            await self._identify(data)
        elif op == RESUME:
            await self._resume(data)
        elif self._session is None:
            raise _Close(NOT_AUTHENTICATED)
        elif op not in IGNORED:
            raise _Close(UNKNOWN_OPCODE)

    async def _identify(self, data: object) -> None:
        if self._session is not None:
            raise _Close(ALREADY_AUTHENTICATED)
        if not isinstance(data, dict):
            raise _Close(DECODE_ERROR)
        user = self._server.state.user_of_token(str(data.get("token", "")).removeprefix("Bot "))
        if user is None:
            raise _Close(BAD_TOKEN)
        fault = self._server.faults.for_identify(user.bot)
        if fault is not None:
            raise _Close(fault.close_code)
        session = self._new_session(user, data)
        self._send_ready(session)
        self._attach(session, sent=0)
        await self._server.sessions.open(session)
        log.info("gateway: user %s identified", user.id)

    def _new_session(self, user: User, data: dict[str, object]) -> Session:
        application = self._server.state.application_of_bot(user.id)
        intents = data.get("intents", 0)
        if application is None:
            return Session(user)
        if not isinstance(intents, int) or "intents" not in data or not 0 <= intents <= KNOWN_INTENTS:
            raise _Close(BAD_INTENTS)
        privileged_intents = (
            (MESSAGE_CONTENT, application.message_content),
            (GUILD_MEMBERS, application.guild_members),
            (GUILD_PRESENCES, application.guild_presences),
        )
        if any(intents & intent and not enabled for intent, enabled in privileged_intents):
            raise _Close(DISALLOWED_INTENTS)
        return Session(user, application, intents, _read_shard(data.get("shard")))

    def _send_ready(self, session: Session) -> None:
        """READY. A bot's guilds follow one by one; a user's are in it."""
        server, user = self._server, session.user
        guilds = [g for g in server.state.guilds_of(user.id) if session.has_guild(g.id)]
        body: Payload = {
            "v": 10,
            "user": own_user_json(user),
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": f"{server.gateway_url}/gateway",
            "private_channels": [],
        }
        if session.application is not None:
            body["application"] = {
                "id": str(session.application.id),
                "flags": application_flags(session.application),
            }
            body["guilds"] = [{"id": str(g.id), "unavailable": True} for g in guilds]
            if session.shard is not None:
                body["shard"] = list(session.shard)
        else:
            body["guilds"] = [full_guild_json(server.state, g, user) for g in guilds]
        session.push("READY", body)
        if session.application is not None and session.wants(GUILDS):
            for guild in guilds:
                if not guild.unavailable:
                    session.push("GUILD_CREATE", full_guild_json(server.state, guild, user))

    async def _resume(self, data: object) -> None:
        if self._session is not None:
            raise _Close(ALREADY_AUTHENTICATED)
        if not isinstance(data, dict):
            raise _Close(DECODE_ERROR)
        session = self._server.sessions.find(str(data.get("session_id")))
        token = str(data.get("token", "")).removeprefix("Bot ")
        seen = data.get("seq")
        if session is None or session.user.token != token or not isinstance(seen, int) or not session.can_replay(seen):
            await self._send(INVALID_SESSION, False)
            return
        if session.socket is not None:
            await session.socket.close(code=4000)
        session.push("RESUMED", {"_trace": []})
        self._attach(session, sent=seen)
        log.info("gateway: user %s resumed", session.user.id)

    def _attach(self, session: Session, sent: int) -> None:
        self._session = session
        session.socket, session.transport = self._socket, self._transport
        self._writer = asyncio.create_task(self._write(session, sent), name=f"gateway-writer-{session.id}")

    async def _write(self, session: Session, sent: int) -> None:
        """Sends the events that this socket has not sent; closes it when some are no longer kept."""
        try:
            while True:
                session.wake.clear()
                if not session.can_replay(sent):
                    await self._socket.close(code=4000)
                    return
                for sequence, frame in list(session.replay):
                    if sequence > sent:
                        await self._socket.send_str(frame)
                        sent = sequence
                if session.sequence == sent:
                    await session.wake.wait()
        except ConnectionError:
            log.debug("gateway: connection lost while sending")

    async def _detach(self) -> None:
        """The session first: aiohttp cancels what waits here once the client has gone."""
        session = self._session
        if session is not None and session.socket is self._socket:
            session.socket = session.transport = None
            if self._socket.close_code in (1000, 1001):
                self._server.sessions.remove(session)
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])

    async def _send(self, op: int, data: object = None) -> None:
        await self._socket.send_json({"op": op, "d": data})


def _read_shard(shard: object) -> tuple[int, int] | None:
    if shard is None:
        return None
    if not isinstance(shard, list) or len(shard) != 2 or not all(isinstance(n, int) for n in shard) or shard[1] < 1:
        raise _Close(BAD_SHARD)
    return shard[0], shard[1]
