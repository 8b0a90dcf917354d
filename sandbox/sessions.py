"""Gateway sessions: numbered events, kept for a resume and sent by the socket that is attached."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Iterator

from aiohttp import web

from sandbox.faults import Faults
from sandbox.state import Application, User

REPLAY_LIMIT = 2000
"""Events kept for a resume; a client further behind must identify again."""
DETACHED_LIMIT = 64
"""Sessions without a socket that are kept for a resume."""


class Session:
    """One client's stream of events. It outlives its socket, so that another socket can resume it."""

    def __init__(
        self,
        user: User,
        application: Application | None = None,
        intents: int = 0,
        shard: tuple[int, int] | None = None,
    ) -> None:
        self.id = secrets.token_hex(16)
        self.user = user
        self.application = application
        self.intents = intents
        self.shard = shard
        """(shard id, number of shards)"""
        self.sequence = 0
        self.socket: web.WebSocketResponse | None = None
        self.transport: asyncio.BaseTransport | None = None
        self.wake = asyncio.Event()
        self.replay: deque[tuple[int, str]] = deque(maxlen=REPLAY_LIMIT)

    def wants(self, intent: int) -> bool:
        """Users receive every event; bots those of their intents (0: no intent needed)."""
        return not self.user.bot or not intent or bool(self.intents & intent)

    def has_guild(self, guild_id: int) -> bool:
        """By Discord's sharding formula."""
        return self.shard is None or (guild_id >> 22) % self.shard[1] == self.shard[0]

    def push(self, event: str, data: object) -> None:
        self.sequence += 1
        frame = json.dumps({"op": 0, "t": event, "s": self.sequence, "d": data}, separators=(",", ":"))
        self.replay.append((self.sequence, frame))
        self.wake.set()

    def can_replay(self, seen: int) -> bool:
        oldest = self.replay[0][0] if self.replay else self.sequence + 1
        return oldest - 1 <= seen <= self.sequence


class Sessions:
    """All gateway sessions. Owns the timers of delayed events."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._by_id: dict[str, Session] = {}
        self._delayed: set[asyncio.TimerHandle] = set()
        self._connected = asyncio.Condition()

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    async def open(self, session: Session) -> None:
        detached = [s for s in self._by_id.values() if s.socket is None]
        for stale in detached[: max(0, len(detached) - DETACHED_LIMIT)]:
            del self._by_id[stale.id]
        self._by_id[session.id] = session
        async with self._connected:
            self._connected.notify_all()

    def find(self, session_id: str) -> Session | None:
        return self._by_id.get(session_id)

    def remove(self, session: Session) -> None:
        self._by_id.pop(session.id, None)

    def of_user(self, user_id: int, guild_id: int | None = None) -> list[Session]:
        """With `guild_id`: only the sessions whose shard has that guild."""
        mine = [s for s in self._by_id.values() if s.user.id == user_id]
        return [s for s in mine if guild_id is None or s.has_guild(guild_id)]

    def is_connected(self, user_id: int) -> bool:
        return any(s.socket is not None for s in self.of_user(user_id))

    async def wait_connected(self, user_id: int) -> None:
        """Returns when a client of the user has identified."""
        async with self._connected:
            await self._connected.wait_for(lambda: self.is_connected(user_id))

    def dispatch(self, session: Session, event: str, data: object) -> None:
        fault = self._faults.for_event(event, session.user.bot)
        if fault is None:
            session.push(event, data)
        elif fault.kind == "double_event":
            session.push(event, data)
            session.push(event, data)
        elif fault.kind == "late_event":
            self._push_later(fault.seconds, session, event, data)

    def send_to_user(self, user_id: int, event: str, data: object, guild_id: int | None = None) -> None:
        for session in self.of_user(user_id, guild_id):
            self.dispatch(session, event, data)

    def _push_later(self, seconds: float, session: Session, event: str, data: object) -> None:
        def push() -> None:
            self._delayed.discard(handle)
            session.push(event, data)

        handle = asyncio.get_running_loop().call_later(seconds, push)
        self._delayed.add(handle)

    async def send_operation(self, user_id: int, op: int, data: object = None) -> None:
        """Sends op 7 (reconnect) or 9 (invalid session; `data` False also removes it) to the user's clients."""
        for session in self.of_user(user_id):
            if op == 9 and data is False:
                self.remove(session)
            if session.socket is not None:
                await session.socket.send_json({"op": op, "d": data})

    def abort_connections(self, user_id: int) -> None:
        """Breaks the user's connections without a close frame."""
        for session in self.of_user(user_id):
            if session.socket is not None and isinstance(session.transport, asyncio.WriteTransport):
                session.transport.abort()

    async def close(self) -> None:
        for handle in self._delayed:
            handle.cancel()
        for session in self:
            if session.socket is not None:
                await session.socket.close(code=1001)
