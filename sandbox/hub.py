"""Gateway sessions: numbered events kept for a resume, sent by whichever socket is attached at the moment."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Iterator

from aiohttp import web

from sandbox.faults import Faults
from sandbox.world import Application, Json, User

REPLAY_LIMIT = 2000
"""Events kept for a resume; a client further behind must identify afresh."""
DETACHED_LIMIT = 64


class Session:
    """One client's stream of events. Outlives its socket, so that the next one can resume."""

    def __init__(self, user: User, application: Application | None, intents: int) -> None:
        self.id = secrets.token_hex(16)
        self.user = user
        self.application = application
        self.intents = intents
        self.sequence = 0
        self.socket: web.WebSocketResponse | None = None
        self.transport: asyncio.BaseTransport | None = None
        self.wake = asyncio.Event()
        self.replay: deque[tuple[int, str]] = deque(maxlen=REPLAY_LIMIT)

    def wants(self, intent: int) -> bool:
        """People's clients get everything; a bot what its intents ask for (0: always)."""
        return not self.user.bot or not intent or bool(self.intents & intent)

    def push(self, event: str, data: Json) -> None:
        self.sequence += 1
        frame = json.dumps({"op": 0, "t": event, "s": self.sequence, "d": data}, separators=(",", ":"))
        self.replay.append((self.sequence, frame))
        self.wake.set()

    def can_replay(self, seen: int) -> bool:
        oldest = self.replay[0][0] if self.replay else self.sequence + 1
        return oldest - 1 <= seen <= self.sequence


class Hub:
    """All sessions. Owns the timers of late events."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._sessions: dict[str, Session] = {}
        self._late: set[asyncio.TimerHandle] = set()
        self._connected = asyncio.Condition()

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    async def open(self, session: Session) -> None:
        detached = [s for s in self._sessions.values() if s.socket is None]
        for stale in detached[: max(0, len(detached) - DETACHED_LIMIT)]:
            del self._sessions[stale.id]
        self._sessions[session.id] = session
        async with self._connected:
            self._connected.notify_all()

    def find(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def forget(self, session: Session) -> None:
        self._sessions.pop(session.id, None)

    def sessions_of(self, user_id: int) -> list[Session]:
        return [s for s in self._sessions.values() if s.user.id == user_id]

    def is_connected(self, user_id: int) -> bool:
        return any(s.socket is not None for s in self.sessions_of(user_id))

    async def wait_connected(self, user_id: int) -> None:
        """Returns once a client of that user has identified."""
        async with self._connected:
            await self._connected.wait_for(lambda: self.is_connected(user_id))

    def dispatch(self, session: Session, event: str, data: Json) -> None:
        fault = self._faults.for_event(event, session.user.bot)
        if fault is None:
            session.push(event, data)
        elif fault.kind == "double_event":
            session.push(event, data)
            session.push(event, data)
        elif fault.kind == "late_event":
            self._push_later(fault.seconds, session, event, data)

    def to_user(self, user_id: int, event: str, data: Json) -> None:
        for session in self.sessions_of(user_id):
            self.dispatch(session, event, data)

    def _push_later(self, seconds: float, session: Session, event: str, data: Json) -> None:
        def push() -> None:
            self._late.discard(handle)
            session.push(event, data)

        handle = asyncio.get_running_loop().call_later(seconds, push)
        self._late.add(handle)

    async def send_operation(self, user_id: int, op: int, data: Json = None) -> None:
        """Op 7 (reconnect) or 9 (session invalid; `data` False also forgets it) to every client of that user."""
        for session in self.sessions_of(user_id):
            if op == 9 and data is False:
                self.forget(session)
            if session.socket is not None:
                await session.socket.send_json({"op": op, "d": data})

    def cut_sockets(self, user_id: int) -> None:
        """The connection breaks: no close frame, no goodbye."""
        for session in self.sessions_of(user_id):
            if session.socket is not None and isinstance(session.transport, asyncio.WriteTransport):
                session.transport.abort()

    async def close(self) -> None:
        for handle in self._late:
            handle.cancel()
        for session in self:
            if session.socket is not None:
                await session.socket.close(code=1001)
