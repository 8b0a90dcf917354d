"""What the parts of one running server share: the data, the sessions, the URL signer, the faults and the limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from sandbox.faults import Faults
from sandbox.message_payloads import MessagePayloads
from sandbox.sessions import Sessions
from sandbox.signed_urls import Signer
from sandbox.state import Clock, State


@dataclass(slots=True)
class Limits:
    """Bytes, seconds, counts; Discord's values where it has them. Tests shorten the times."""

    interaction_deadline_s: float = 3.0
    interaction_token_s: float = 15 * 60.0
    heartbeat_interval_s: float = 41.25
    shards: int = 1
    """The number that GET /gateway/bot recommends."""
    file_bytes: int = 10 * 1024 * 1024
    request_bytes: int = 25 * 1024 * 1024
    messages_per_channel: int = 20_000
    attachment_bytes: int = 1024 * 1024 * 1024
    """All attachments together; beyond it the oldest messages with files are deleted."""
    open_uploads: int = 200
    interactions_kept: int = 2_000


@dataclass(slots=True)
class ServerState:
    limits: Limits = field(default_factory=Limits)
    base_url: str = ""
    bot_model: str | None = None
    """The CLIP_MODEL of the bot on trial; None where it is not known."""
    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    state: State = field(init=False)
    sessions: Sessions = field(init=False)
    signer: Signer = field(init=False)
    payloads: MessagePayloads = field(init=False)

    def __post_init__(self) -> None:
        self.state = State(self.clock)
        self.sessions = Sessions(self.faults)
        self.signer = Signer(self.clock)
        self.payloads = MessagePayloads(self.state, self.signer)

    @property
    def gateway_url(self) -> str:
        return "ws" + self.base_url.removeprefix("http")


SERVER = web.AppKey("server", ServerState)
