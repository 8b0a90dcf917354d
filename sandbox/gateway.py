"""The gateway's websocket: hello, identify, heartbeats, resume; closes with Discord's codes."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import WSMsgType, web

from sandbox.announce import GUILD_MEMBERS, GUILD_PRESENCES, GUILDS, MESSAGE_CONTENT
from sandbox.hub import Session
from sandbox.payloads import application_flags, channel_json, full_guild_json, member_json, own_user_json
from sandbox.realm import REALM, Realm
from sandbox.validation.forms import Form, as_snowflake
from sandbox.validation.parsing import parse_json
from sandbox.world import ChannelType, Json, User

log = logging.getLogger(__name__)

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, REQUEST_MEMBERS, INVALID_SESSION, HELLO, ACK = 0, 1, 2, 6, 8, 9, 10, 11
IGNORED = frozenset({3, 4, 13, 14, 31, 36, 37, 40, 41})
"""Presence, voice state and what people's apps send about their windows."""
UNKNOWN_OPCODE, DECODE_ERROR, NOT_AUTHENTICATED, BAD_TOKEN, ALREADY_AUTHENTICATED = 4001, 4002, 4003, 4004, 4005
TIMED_OUT, BAD_SHARD, BAD_INTENTS, DISALLOWED_INTENTS = 4009, 4010, 4013, 4014
KNOWN_INTENTS = (1 << 26) - 1
FRAME_BYTES = 16 * 1024
ACK_AFTER_S = 0.02
"""discord.py 2.7.1 notes when it sent a heartbeat only after sending it; an answer without any way to travel arrives
before that, and is taken for the answer to the heartbeat before (it then warns "websocket is 41s behind")."""


async def gateway(request: web.Request) -> web.WebSocketResponse:
    """One connection, from HELLO to close."""
    socket = web.WebSocketResponse(max_msg_size=FRAME_BYTES, compress=False)
    await socket.prepare(request)
    connection = _Connection(request.app[REALM], socket, request.transport)
    await connection.run()
    return socket


class _Refused(Exception):
    """Ends the connection with a close code."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class _Connection:
    def __init__(self, realm: Realm, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self._realm = realm
        self._socket = socket
        self._transport = transport
        self._session: Session | None = None
        self._writer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        interval = self._realm.limits.heartbeat_interval_s
        try:
            await self._send(HELLO, {"heartbeat_interval": int(interval * 1000)})
            while True:
                async with asyncio.timeout(interval * 2):
                    message = await self._socket.receive()
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    return
                await self._handle(message.data)
        except _Refused as refused:
            await self._socket.close(code=refused.code)
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
            raise _Refused(DECODE_ERROR) from None
        op = frame.get("op") if isinstance(frame, dict) else None
        if not isinstance(op, int):
            raise _Refused(DECODE_ERROR)
        data = frame.get("d")
        if op == HEARTBEAT:
            await asyncio.sleep(ACK_AFTER_S)
            await self._send(ACK)
        elif op == IDENTIFY:
            await self._identify(data)
        elif op == RESUME:
            await self._resume(data)
        elif self._session is None:
            raise _Refused(NOT_AUTHENTICATED)
        elif op == REQUEST_MEMBERS:
            self._send_members(self._session, data)
        elif op not in IGNORED:
            raise _Refused(UNKNOWN_OPCODE)

    async def _identify(self, data: Json) -> None:
        if self._session is not None:
            raise _Refused(ALREADY_AUTHENTICATED)
        if not isinstance(data, dict):
            raise _Refused(DECODE_ERROR)
        user = self._realm.world.user_of_token(str(data.get("token", "")).removeprefix("Bot "))
        if user is None:
            raise _Refused(BAD_TOKEN)
        session = self._new_session(user, data)
        self._greet(session, data.get("shard"))
        self._attach(session, sent=0)
        await self._realm.hub.open(session)
        log.info("gateway: user %s identified", user.id)

    def _new_session(self, user: User, data: dict[str, Json]) -> Session:
        application = self._realm.world.application_of_bot(user.id)
        intents = data.get("intents", 0)
        if application is None:
            return Session(user, None, 0)
        if not isinstance(intents, int) or "intents" not in data or not 0 <= intents <= KNOWN_INTENTS:
            raise _Refused(BAD_INTENTS)
        privileged = (
            (MESSAGE_CONTENT, application.message_content),
            (GUILD_MEMBERS, application.guild_members),
            (GUILD_PRESENCES, application.guild_presences),
        )
        if any(intents & intent and not switched_on for intent, switched_on in privileged):
            raise _Refused(DISALLOWED_INTENTS)
        return Session(user, application, intents)

    def _greet(self, session: Session, shard: Json) -> None:
        """READY; a bot's servers follow one by one, a person's are in it."""
        realm, user = self._realm, session.user
        guilds = [g for g in realm.world.guilds_of(user.id) if _on_shard(g.id, shard)]
        body: dict[str, Json] = {
            "v": 10,
            "user": own_user_json(user),
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": f"{realm.gateway_url}/gateway",
            "private_channels": [],
            "relationships": [],
            "presences": [],
        }
        if session.application is not None:
            body["application"] = {
                "id": str(session.application.id),
                "flags": application_flags(session.application),
            }
            body["guilds"] = [{"id": str(g.id), "unavailable": True} for g in guilds]
            if shard is not None:
                body["shard"] = shard
        else:
            direct = (c for c in realm.world.channels.values() if c.type == ChannelType.DM and user.id in c.recipients)
            body["private_channels"] = [channel_json(realm.world, c, user.id) for c in direct]
            body["guilds"] = [full_guild_json(realm.world, g, user) for g in guilds]
        session.push("READY", body)
        if session.application is not None and session.wants(GUILDS):
            for guild in guilds:
                if not guild.unavailable:
                    session.push("GUILD_CREATE", full_guild_json(realm.world, guild, user))

    async def _resume(self, data: Json) -> None:
        if self._session is not None:
            raise _Refused(ALREADY_AUTHENTICATED)
        if not isinstance(data, dict):
            raise _Refused(DECODE_ERROR)
        session = self._realm.hub.find(str(data.get("session_id")))
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

    def _send_members(self, session: Session, data: Json) -> None:
        """GUILD_MEMBERS_CHUNK for a query by ids or by the beginning of a name."""
        world = self._realm.world
        guild_id = data.get("guild_id") if isinstance(data, dict) else None
        if isinstance(guild_id, list):
            guild_id = guild_id[0] if guild_id else None
        guild = world.guilds.get(as_snowflake(guild_id) or 0)
        if guild is None or session.user.id not in guild.members:
            return
        form = Form(data)
        start, limit = (form.text("query", high=100) or "").lower(), form.integer("limit", default=0) or 0
        wanted, nonce = data.get("user_ids"), form.text("nonce", high=32)
        if form.errors or (wanted is None and not (start or limit) and not session.wants(GUILD_MEMBERS)):
            log.info("gateway: a request for members was malformed, or asked for all without GUILD_MEMBERS")
            return
        if wanted is not None:
            ids = {str(u) for u in (wanted if isinstance(wanted, list) else [wanted])}
            found = [m for m in guild.members.values() if str(m.user_id) in ids]
        else:
            found = [m for m in guild.members.values() if world.users[m.user_id].username.lower().startswith(start)]
        body: dict[str, Json] = {
            "guild_id": str(guild.id),
            "members": [member_json(world, m) for m in found[: limit or 1000]],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [],
        }
        if nonce:
            body["nonce"] = nonce
        session.push("GUILD_MEMBERS_CHUNK", body)

    def _attach(self, session: Session, sent: int) -> None:
        self._session = session
        session.socket, session.transport = self._socket, self._transport
        self._writer = asyncio.create_task(self._write(session, sent), name=f"gateway-writer-{session.id}")

    async def _write(self, session: Session, sent: int) -> None:
        """Sends what the session has and this socket has not; ends the connection when events are already gone."""
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
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        session = self._session
        if session is None or session.socket is not self._socket:
            return
        session.socket = session.transport = None
        if self._socket.close_code in (1000, 1001):
            self._realm.hub.forget(session)

    async def _send(self, op: int, data: Json = None) -> None:
        await self._socket.send_json({"op": op, "d": data})


def _on_shard(guild_id: int, shard: Json) -> bool:
    if shard is None:
        return True
    if not isinstance(shard, list) or len(shard) != 2 or not all(isinstance(n, int) for n in shard) or shard[1] < 1:
        raise _Refused(BAD_SHARD)
    return (guild_id >> 22) % int(shard[1]) == int(shard[0])
