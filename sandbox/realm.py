"""What every part of the server shares: the world, who is connected, how things are signed, and the limits in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from sandbox.clock import Clock
from sandbox.faults import Faults
from sandbox.hub import Hub
from sandbox.message_payloads import MessagePayloads
from sandbox.signing import Signer
from sandbox.world import World


@dataclass(slots=True)
class Limits:
    """Discord's own figures where it has them; bytes, seconds, counts. Tests shorten the times."""

    interaction_deadline_s: float = 3.0
    interaction_token_s: float = 15 * 60.0
    heartbeat_interval_s: float = 41.25
    file_bytes: int = 10 * 1024 * 1024
    request_bytes: int = 25 * 1024 * 1024
    messages_per_channel: int = 20_000
    attachment_bytes: int = 1024 * 1024 * 1024
    """All pictures together; beyond it the oldest messages with files go."""
    open_uploads: int = 200
    interactions_kept: int = 2_000


@dataclass(slots=True)
class Realm:
    """One running sandbox. Handlers reach it through the application."""

    clock: Clock = field(default_factory=Clock)
    limits: Limits = field(default_factory=Limits)
    faults: Faults = field(default_factory=Faults)
    world: World = field(init=False)
    hub: Hub = field(init=False)
    signer: Signer = field(init=False)
    payloads: MessagePayloads = field(init=False)
    base_url: str = ""

    def __post_init__(self) -> None:
        self.world = World(self.clock)
        self.hub = Hub(self.faults)
        self.signer = Signer(self.clock)
        self.payloads = MessagePayloads(self.world, self.signer)

    @property
    def gateway_url(self) -> str:
        return "ws" + self.base_url.removeprefix("http")


REALM = web.AppKey("realm", Realm)
