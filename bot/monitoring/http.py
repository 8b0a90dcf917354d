"""The two pages: /metrics for Prometheus, /healthz for whoever restarts or alerts. Nothing here asks for a password."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from ipaddress import ip_address

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from bot.errors import StartupError
from bot.monitoring.health import Health
from bot.settings import LOOPBACK_HOSTS

log = logging.getLogger(__name__)

Refresh = Callable[[], Awaitable[None]]


@asynccontextmanager
async def serving(host: str, port: int, health: Health, refresh: Refresh) -> AsyncIterator[str]:
    """The address of the server, which answers until the block ends. refresh: called before each scrape.

    Raises StartupError where the address cannot be listened on.
    """
    runner = web.AppRunner(_application(health, refresh), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        address, bound = runner.addresses[0][:2]
        url = f"http://{f'[{address}]' if ':' in address else address}:{bound}"
        log.info("status at %s/metrics and %s/healthz", url, url)
        if not _is_loopback(host):
            log.warning("whoever reaches %s reads the status: nothing there asks for a password", url)
        yield url
    finally:
        await runner.cleanup()


def _application(health: Health, refresh: Refresh) -> web.Application:
    scrape = make_aiohttp_handler()

    async def metrics(request: web.Request) -> web.StreamResponse:
        await refresh()
        return await scrape(request)

    async def healthz(_: web.Request) -> web.Response:
        report = await health.report()
        return web.json_response(
            asdict(report), status=200 if report.ok else 503, headers={"Cache-Control": "no-store"}
        )

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", healthz)
    return application


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(
                f"STATUS_PORT {port} is taken by another program: choose another, or leave it empty."
            ) from error
        if error.errno == errno.EACCES:
            raise StartupError(f"STATUS_PORT {port} may not be used by this user: choose one above 1023.") from error
        raise StartupError(
            "STATUS_HOST is no address of this machine: 127.0.0.1 is for this machine alone, 0.0.0.0 for all networks."
        ) from error


def _is_loopback(host: str) -> bool:
    if host in LOOPBACK_HOSTS:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
