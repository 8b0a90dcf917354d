"""The HTTP server of /metrics and /healthz. It is unauthenticated."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.aiohttp import make_aiohttp_handler

from bot.errors import StartupError
from bot.logging import get_logger
from bot.monitoring.health import Status

log = get_logger(__name__)


@asynccontextmanager
async def serve_status(host: str, port: int, status: Status) -> AsyncIterator[str]:
    """Serves until the block ends; gives the base URL. Raises StartupError where it cannot listen on the address."""
    runner = web.AppRunner(_application(status, host), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        address, bound_port = runner.addresses[0][:2]
        url = f"http://{f'[{address}]' if ':' in address else address}:{bound_port}"
        log.info("serving /metrics and /healthz", url=url)
        if not all(is_loopback(address) for address, *_ in runner.addresses):
            log.warning("/metrics and /healthz are unauthenticated and can be reached from other machines", url=url)
        yield url
    finally:
        await runner.cleanup()
        await status.close()


def _application(status: Status, host: str) -> web.Application:
    scrape = make_aiohttp_handler()

    async def metrics(request: web.Request) -> web.StreamResponse:
        await status.refresh()
        return await scrape(request)

    async def healthz(_: web.Request) -> web.Response:
        report = await status.health.report()
        code = 200 if report.status == "ok" else 503
        return web.json_response(asdict(report), status=code, headers={"Cache-Control": "no-store"})

    application = web.Application(middlewares=[_refuse_foreign_hosts] if is_loopback(host) else [])
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", healthz)
    return application


@web.middleware
async def _refuse_foreign_hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Else a web page whose name resolves to this machine could read the figures in its visitor's browser."""
    if not is_loopback(request.url.host or ""):
        raise web.HTTPForbidden(text="Ask for localhost or 127.0.0.1.")
    return await handler(request)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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
            "STATUS_HOST is not an address of this machine: use 127.0.0.1 for this machine only, 0.0.0.0 for all "
            "networks."
        ) from error
