"""`Sandbox`: a running server, and what tests control it with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from sandbox.demo import build_demo
from sandbox.demo_world import DAY_S, FOUNDED_DAYS, WORLD, DemoPosts, enlarge
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.guild_ops import add_member, remove_member
from sandbox.http import build_application, is_loopback
from sandbox.interactions import Interactions
from sandbox.message_service import MessageService
from sandbox.previews import Previews, Samples
from sandbox.rest.request import Services
from sandbox.server_state import Limits, ServerState
from sandbox.state import Channel, Clock, Guild, State, User

BUNDLED_SAMPLES = Path(__file__).parent.parent / "clipcore" / "bundled" / "samples"
RECONNECT, INVALID_SESSION = 7, 9


class RefusedAddress(Exception):
    """Other machines could reach the address, and `beyond_loopback` was not given."""


class Sandbox:
    """Made by `Sandbox.serve`. Change `state` directly only while no client is connected: that sends no events."""

    def __init__(self, server: ServerState, samples: Samples, *, larger_world: bool = False) -> None:
        self.server = server
        self.samples = samples
        self.events = Events(server)
        self.messages = MessageService(server, self.events, Previews(server, samples))
        self.interactions = Interactions(server, self.messages)
        self.world_filled = asyncio.Event()
        """Set once the demo's posts are there: at once without the larger world, else when the bot has connected."""
        self._posts: DemoPosts | None = None
        if larger_world:
            with server.state.at(server.clock.now() - FOUNDED_DAYS * DAY_S):
                self.application = build_demo(server.state)
                enlarge(server.state)
            self._posts = DemoPosts(server, self.events, self.messages)
        else:
            self.application = build_demo(server.state)

    @classmethod
    @asynccontextmanager
    async def serve(
        cls,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        beyond_loopback: bool = False,
        samples_dir: Path = BUNDLED_SAMPLES,
        limits: Limits | None = None,
        bot_model: str | None = None,
        larger_world: bool = False,
    ) -> AsyncIterator[Sandbox]:
        """Listens until the block ends. `larger_world`: with weeks of posts, most of which come when the bot has
        connected. Raises RefusedAddress for other addresses than loopback's, OSError for a port in use.
        """
        if not is_loopback(host) and not beyond_loopback:
            raise RefusedAddress(
                f"The sandbox has no passwords and will not listen on {host}, where other machines could reach it; "
                "use 127.0.0.1, or add --bind-beyond-loopback if you mean it."
            )
        server = ServerState(limits or Limits(), bot_model=bot_model)
        sandbox = cls(server, Samples(samples_dir, WORLD), larger_world=larger_world)
        services = Services(server, sandbox.events, sandbox.messages, sandbox.interactions)
        application = build_application(services, sandbox.samples, beyond_loopback=beyond_loopback)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await runner.setup()
        filling: asyncio.Task[None] | None = None
        try:
            await web.TCPSite(runner, host, port).start()
            address, bound = runner.addresses[0][:2]
            server.base_url = server.signer.base_url = f"http://{_url_host(address)}:{bound}"
            if sandbox._posts is not None:
                sandbox._posts.before_the_bot_joined()
            filling = asyncio.create_task(sandbox._fill_the_world(), name="fill the world")
            yield sandbox
        finally:
            if filling is not None:
                filling.cancel()
                await asyncio.wait([filling])
            sandbox.interactions.close()
            await server.sessions.close()
            await runner.cleanup()

    async def _fill_the_world(self) -> None:
        if self._posts is not None:
            await self.server.sessions.wait_connected(self.application.bot_id)
            self._posts.since_the_bot_joined()
        self.world_filled.set()

    @property
    def url(self) -> str:
        return self.server.base_url

    @property
    def gateway_url(self) -> str:
        return f"{self.server.gateway_url}/gateway"

    @property
    def state(self) -> State:
        return self.server.state

    @property
    def clock(self) -> Clock:
        return self.server.clock

    @property
    def limits(self) -> Limits:
        return self.server.limits

    @property
    def faults(self) -> Faults:
        return self.server.faults

    @property
    def application_id(self) -> int:
        return self.application.id

    @property
    def bot_token(self) -> str:
        return self.state.users[self.application.bot_id].token

    @property
    def bot_settings(self) -> dict[str, str]:
        """The environment variables that connect the bot to this sandbox."""
        return {
            "DISCORD_TOKEN": self.bot_token,
            "DISCORD_API_BASE": f"{self.url}/api/v10",
            "DISCORD_GATEWAY": self.gateway_url,
            "DISCORD_CDN": self.url,
            "CDN_HOSTS": urlsplit(self.url).hostname or "127.0.0.1",
        }

    def user(self, username: str) -> User:
        return next(u for u in self.state.users.values() if u.username == username)

    def guild(self, name: str) -> Guild:
        return next(g for g in self.state.guilds.values() if g.name == name)

    def channel(self, name: str, guild: str | None = None) -> Channel:
        """By its name; `guild` decides where two guilds have one of that name."""
        wanted = None if guild is None else self.guild(guild).id
        return next(
            c for c in self.state.channels.values() if c.name == name and (wanted is None or c.guild_id == wanted)
        )

    async def bot_connected(self, timeout_s: float = 60) -> None:
        """Returns when the bot has identified. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await self.server.sessions.wait_connected(self.application.bot_id)

    def remove_bot(self, guild: Guild) -> None:
        """Kicks the bot: GUILD_DELETE without `unavailable`."""
        remove_member(self.state, self.events, guild, guild.members[self.application.bot_id])

    def invite_bot(self, guild: Guild) -> None:
        bot = self.state.users[self.application.bot_id]
        roles = [r for r in guild.roles.values() if r.name == self.application.name]
        member = add_member(self.state, guild, bot, *roles)
        self.events.guild_created(guild, bot.id)
        self.events.member("GUILD_MEMBER_ADD", guild, member)

    def outage(self, guild: Guild, *, over: bool = False) -> None:
        """Makes the guild unavailable, or available again."""
        guild.unavailable = not over
        self.events.guild_outage(guild)

    async def drop_gateway(self, user_id: int | None = None) -> None:
        """Breaks the connection of the bot (or of a user) without a close frame; the session can be resumed."""
        self.server.sessions.abort_connections(user_id or self.application.bot_id)

    async def ask_reconnect(self, user_id: int | None = None) -> None:
        await self.server.sessions.send_operation(user_id or self.application.bot_id, RECONNECT)

    async def invalidate_session(self, user_id: int | None = None) -> None:
        await self.server.sessions.send_operation(user_id or self.application.bot_id, INVALID_SESSION, False)


def _url_host(address: str) -> str:
    """For a browser on this machine: loopback for the any-address, brackets around IPv6."""
    any_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    address = any_address.get(address, address)
    return f"[{address}]" if ":" in address else address
