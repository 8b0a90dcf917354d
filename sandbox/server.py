"""`Sandbox`: a running small Discord, and the hand on it for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from sandbox.announce import Announcer
from sandbox.building import add_member
from sandbox.demo import build_demo
from sandbox.faults import Faults
from sandbox.http import build_application
from sandbox.interactions import Interactions
from sandbox.leaving import leave
from sandbox.origin import is_loopback
from sandbox.posting import Poster
from sandbox.previews import Previews, Samples
from sandbox.realm import Limits, Realm
from sandbox.rest.call import Api
from sandbox.world import Channel, Guild, User, World

BUNDLED_SAMPLES = Path(__file__).parent.parent / "clipcore" / "bundled" / "samples"
RECONNECT, INVALID_SESSION = 7, 9


class RefusedAddress(Exception):
    """The address is reachable from other machines, and nobody said that this is wanted."""


class Sandbox:
    """Made by `Sandbox.serve`. `world` may be changed directly while nobody is connected; then by methods and REST."""

    def __init__(self, limits: Limits | None = None, samples: Samples | None = None) -> None:
        self.realm = Realm(limits=limits or Limits())
        self.announcer = Announcer(self.realm)
        self.samples = samples or Samples(BUNDLED_SAMPLES)
        self.poster = Poster(self.realm, self.announcer, Previews(self.realm, self.samples))
        self.interactions = Interactions(self.realm, self.poster)
        self.application = build_demo(self.realm.world)

    @classmethod
    @asynccontextmanager
    async def serve(
        cls,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        beyond_loopback: bool = False,
        samples_dir: Path | None = None,
        limits: Limits | None = None,
    ) -> AsyncIterator[Sandbox]:
        """Listens until the block ends. Raises RefusedAddress for other machines' ears, OSError for a port in use."""
        if not is_loopback(host) and not beyond_loopback:
            raise RefusedAddress(
                f"The sandbox has no passwords and will not listen on {host}, where other machines could reach it; "
                "use 127.0.0.1, or say --bind-beyond-loopback if you mean it."
            )
        sandbox = cls(limits, None if samples_dir is None else Samples(samples_dir))
        api = Api(sandbox.realm, sandbox.announcer, sandbox.poster, sandbox.interactions)
        application = build_application(api, beyond_loopback=beyond_loopback, samples=sandbox.samples)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            address, bound = runner.addresses[0][:2]
            sandbox._listen_at(f"http://{_shown(address)}:{bound}")
            yield sandbox
        finally:
            sandbox.interactions.close()
            await sandbox.realm.hub.close()
            await runner.cleanup()

    @property
    def url(self) -> str:
        return self.realm.base_url

    @property
    def gateway_url(self) -> str:
        """For clients that are told the address: a bot's DEFAULT_GATEWAY."""
        return f"{self.realm.gateway_url}/gateway"

    @property
    def world(self) -> World:
        return self.realm.world

    @property
    def faults(self) -> Faults:
        return self.realm.faults

    @property
    def application_id(self) -> int:
        return self.application.id

    @property
    def bot_token(self) -> str:
        return self.world.users[self.application.bot_id].token

    def user(self, username: str) -> User:
        return next(u for u in self.world.users.values() if u.username == username)

    def guild(self, name: str) -> Guild:
        return next(g for g in self.world.guilds.values() if g.name == name)

    def channel(self, name: str, guild: str | None = None) -> Channel:
        """By name; in the named server where two share it."""
        wanted = None if guild is None else self.guild(guild).id
        return next(
            c for c in self.world.channels.values() if c.name == name and (wanted is None or c.guild_id == wanted)
        )

    async def bot_connected(self, timeout_s: float = 60) -> None:
        """Returns once the bot has identified. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await self.realm.hub.wait_connected(self.application.bot_id)

    def remove_bot(self, guild: Guild) -> None:
        """Kicked: GUILD_DELETE without `unavailable`."""
        leave(self.world, self.announcer, guild, guild.members[self.application.bot_id])

    def invite_bot(self, guild: Guild) -> None:
        bot = self.world.users[self.application.bot_id]
        roles = [r for r in guild.roles.values() if r.name == self.application.name]
        member = add_member(self.world, guild, bot, *roles)
        self.announcer.guild_created(guild, bot.id)
        self.announcer.member("GUILD_MEMBER_ADD", guild, member)

    def outage(self, guild: Guild, *, over: bool = False) -> None:
        """The server becomes unavailable, or is back: nothing in it is lost."""
        guild.unavailable = not over
        self.announcer.guild_outage(guild)

    async def drop_gateway(self, user_id: int | None = None) -> None:
        """The bot's (or someone's) connection breaks without a goodbye; the session may be resumed."""
        self.realm.hub.cut_sockets(user_id or self.application.bot_id)

    async def ask_reconnect(self, user_id: int | None = None) -> None:
        await self.realm.hub.send_operation(user_id or self.application.bot_id, RECONNECT)

    async def invalidate_session(self, user_id: int | None = None) -> None:
        await self.realm.hub.send_operation(user_id or self.application.bot_id, INVALID_SESSION, False)

    def _listen_at(self, url: str) -> None:
        self.realm.base_url = self.realm.signer.base_url = url


def _shown(address: str) -> str:
    """What a browser of this machine is to be given: loopback for "every address", brackets around IPv6."""
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    address = every.get(address, address)
    return f"[{address}]" if ":" in address else address
