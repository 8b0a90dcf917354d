"""The web application: REST API, gateway, CDN and page on one port, and the checks that every request passes."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from sandbox import control, files, gateway
from sandbox.faults import Fault
from sandbox.previews import Samples
from sandbox.responses import ApiError, api_error, error_response, json_response
from sandbox.rest import (
    applications,
    channels,
    expressions,
    guilds,
    interaction_responses,
    interactions,
    messages,
    search,
    threads,
)
from sandbox.rest.request import Endpoint, Request, Services, authenticate
from sandbox.server_state import SERVER

log = logging.getLogger(__name__)

# Bots use v10; people's apps still use v9.
API_PREFIX = re.compile(r"/api/v(?:9|10)(?=/|$)")
ENDPOINTS: tuple[Endpoint, ...] = (
    *applications.ENDPOINTS,
    *guilds.ENDPOINTS,
    *channels.ENDPOINTS,
    *threads.ENDPOINTS,
    *messages.ENDPOINTS,
    *expressions.ENDPOINTS,
    *search.ENDPOINTS,
    *interactions.ENDPOINTS,
    *interaction_responses.ENDPOINTS,
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_application(services: Services, samples: Samples, *, beyond_loopback: bool) -> web.Application:
    """`beyond_loopback`: also accept `Host` headers with other addresses than loopback's."""
    server = services.server
    application = web.Application(
        middlewares=[_check_host(beyond_loopback), _answer_errors, _inject_faults],
        client_max_size=server.limits.request_bytes + 64 * 1024,
    )
    application[SERVER] = server
    for endpoint in ENDPOINTS:
        application.router.add_route(
            endpoint.method, "/api/{version:v9|v10}" + endpoint.path, _handler(endpoint, services)
        )
    application.add_routes([web.get("/", _page_or_gateway), web.get(r"/gateway{slash:/?}", gateway.connect)])
    application.add_routes([*files.routes(samples), *control.routes(samples)])
    return application


def _handler(endpoint: Endpoint, services: Services) -> Handler:
    async def handle(http: web.Request) -> web.StreamResponse:
        caller = authenticate(services.server.state, http.headers.get("Authorization"))
        if caller is None and not endpoint.open:
            raise ApiError(401, 0, "401: Unauthorized")
        return json_response(await endpoint.handler(Request(services, http, caller)), endpoint.status)

    return handle


async def _page_or_gateway(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await gateway.connect(request)
    return files.page_response(request, "index.html")


def _check_host(beyond_loopback: bool) -> Middleware:
    """Refuses requests that pages of other sites cause: the server has no passwords.

    A site can point its own name at 127.0.0.1 (DNS rebinding): then `Host` is a name and not an address. Or its pages
    can send requests to 127.0.0.1: then `Origin` is not this server.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        if not host_allowed(host, beyond_loopback=beyond_loopback):
            return web.Response(status=403, text="The sandbox only answers to its own address, such as 127.0.0.1.")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{(host or '').lower()}":
            return web.Response(status=403, text="The sandbox does not answer to pages of other sites.")
        return await handler(request)

    return check


def host_allowed(host: str | None, *, beyond_loopback: bool) -> bool:
    """`localhost` or an IP address; without `beyond_loopback` only loopback addresses."""
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
        return is_loopback(name) or (beyond_loopback and bool(ipaddress.ip_address(name)))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers errors as Discord's JSON, those of the router and of the body reader included."""
    try:
        return await handler(request)
    except ApiError as error:
        return error_response(error)
    except web.HTTPRequestEntityTooLarge:
        return error_response(api_error(40005))
    except (web.RequestPayloadError, HttpProcessingError):
        return error_response(api_error(50109))
    except web.HTTPNotFound:
        if API_PREFIX.match(request.path):
            return error_response(ApiError(404, 0, "404: Not Found"))
        raise
    except web.HTTPMethodNotAllowed:
        return error_response(ApiError(405, 0, "405: Method Not Allowed"))
    except web.HTTPException:
        raise
    except Exception:
        # A bug of the sandbox must not end it; the client gets what Discord would answer.
        log.exception("the sandbox failed on %s %s", request.method, request.match_info.route.resource)
        return error_response(ApiError(500, 0, "500: Internal Server Error"))


@web.middleware
async def _inject_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    server = request.app[SERVER]
    is_bot = request.headers.get("Authorization", "Bot ").startswith("Bot ")
    fault = None
    if not request.path.startswith("/sandbox"):
        fault = server.faults.for_request(request.method, API_PREFIX.sub("", request.path), is_bot)
    if fault is None:
        return await handler(request)
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
        return await handler(request)
    if fault.kind == "half":
        response = await handler(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            response.body = response.body[: len(response.body) // 2]
        return response
    if fault.kind == "short_page":
        response = await handler(request)
        return _shortened(response) if isinstance(response, web.Response) and response.status == 200 else response
    return await _fault_response(fault, request)


def _shortened(response: web.Response) -> web.Response:
    """A page of search results without its last half, as Discord's are where it cannot load what it found."""
    body = json.loads(response.body) if isinstance(response.body, bytes) else {}
    found = body["messages"]
    return json_response({**body, "messages": found[: (len(found) + 1) // 2]})


async def _fault_response(fault: Fault, request: web.Request) -> web.StreamResponse:
    if fault.kind == "drop":
        if request.transport is not None:
            request.transport.close()
        return web.Response(status=500)
    await request.read()
    if fault.kind == "html":
        return web.Response(text="<!doctype html><title>Maintenance</title>", content_type="text/html")
    if fault.kind == "not_indexed":
        return json_response(
            {
                "message": "Index not yet available. Try again later",
                "code": 110000,
                "documents_indexed": 0,
                "retry_after": round(fault.seconds),
            },
            202,
        )
    if fault.kind == "server_error":
        return json_response({"message": f"{fault.status}: Server Error", "code": 0}, fault.status)
    body = {"message": "You are being rate limited.", "retry_after": fault.seconds, "global": fault.is_global}
    response = json_response(body, 429)
    response.headers.update(
        {
            # Without Via, discord.py takes a 429 for a Cloudflare ban.
            "Via": "1.1 sandbox",
            "Retry-After": str(max(1, round(fault.seconds))),
            "X-RateLimit-Scope": "global" if fault.is_global else fault.scope,
        }
    )
    if fault.is_global:
        response.headers["X-RateLimit-Global"] = "true"
    return response
