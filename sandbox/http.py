"""The one web application: API, gateway, CDN, page; and the checks that every request passes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from sandbox import cdn, control, gateway, page_files
from sandbox.errors import ApiError, method_not_allowed, not_found, refusal, unauthorized
from sandbox.faults import Fault
from sandbox.origin import host_allowed, origin_allowed
from sandbox.previews import Samples, external
from sandbox.realm import REALM, Realm
from sandbox.rest import (
    applications,
    attachments,
    channels,
    commands,
    guilds,
    interactions,
    members,
    messages,
    reactions,
    threads,
    users,
    webhooks,
)
from sandbox.rest.call import Api, Call, Endpoint, answer, caller_of, error_answer

log = logging.getLogger(__name__)

VERSIONS = ("/api/v10", "/api/v9")
ENDPOINTS: tuple[Endpoint, ...] = (
    *users.ENDPOINTS,
    *applications.ENDPOINTS,
    *guilds.ENDPOINTS,
    *members.ENDPOINTS,
    *channels.ENDPOINTS,
    *threads.ENDPOINTS,
    *messages.ENDPOINTS,
    *reactions.ENDPOINTS,
    *attachments.ENDPOINTS,
    *commands.ENDPOINTS,
    *interactions.ENDPOINTS,
    *webhooks.ENDPOINTS,
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_application(api: Api, *, beyond_loopback: bool, samples: Samples) -> web.Application:
    """Everything on one port. `beyond_loopback`: other addresses than loopback's are accepted in `Host`."""
    realm = api.realm
    application = web.Application(
        middlewares=[_guard(beyond_loopback), _answer_errors, _misbehave(realm)],
        client_max_size=realm.limits.request_bytes + 64 * 1024,
    )
    application[REALM] = realm
    application.add_routes(_api_routes(ENDPOINTS, api))
    application.add_routes([web.get("/gateway", gateway.gateway), web.get("/gateway/", gateway.gateway)])
    application.add_routes([web.get("/", _page_or_gateway), web.put("/uploads/{key}/{name}", attachments.put_upload)])
    application.add_routes(cdn.routes())
    application.add_routes([*control.routes(samples), external(samples)])
    application.add_routes(page_files.routes())
    return application


def _api_routes(endpoints: Iterable[Endpoint], api: Api) -> list[web.RouteDef]:
    return [
        web.route(endpoint.method, version + endpoint.path, _handler(endpoint, api))
        for endpoint in endpoints
        for version in VERSIONS
    ]


def _handler(endpoint: Endpoint, api: Api) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = caller_of(api.realm, request.headers.get("Authorization"))
        if caller is None and not endpoint.open:
            raise unauthorized()
        return answer(await endpoint.handler(Call(api, request, caller)))

    return handle


async def _page_or_gateway(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await gateway.gateway(request)
    return await page_files.index(request)


def _guard(beyond_loopback: bool) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        if not host_allowed(host, beyond_loopback=beyond_loopback):
            return web.Response(status=403, text="The sandbox answers to its own address alone, e.g. 127.0.0.1.")
        if not origin_allowed(request.headers.get("Origin"), host):
            return web.Response(status=403, text="The sandbox does not answer to pages of other sites.")
        return await handler(request)

    return guard


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals in Discord's JSON, also those of the router and of the body reader."""
    try:
        return await handler(request)
    except ApiError as error:
        return error_answer(error)
    except web.HTTPRequestEntityTooLarge:
        return error_answer(refusal(40005))
    except (web.RequestPayloadError, HttpProcessingError):
        return error_answer(refusal(50109))
    except web.HTTPNotFound:
        if request.path.startswith(VERSIONS):
            return error_answer(not_found())
        raise
    except web.HTTPMethodNotAllowed:
        return error_answer(method_not_allowed())
    except web.HTTPException:
        raise
    except Exception:
        # A mistake of the sandbox's own: it must stay up, and the client gets what Discord would answer.
        log.exception("the sandbox failed on %s %s", request.method, request.match_info.route.resource)
        return error_answer(ApiError(500, 0, "500: Internal Server Error"))


def _misbehave(realm: Realm) -> Middleware:
    @web.middleware
    async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        if path.startswith("/sandbox"):
            return await handler(request)
        for version in VERSIONS:
            path = path.removeprefix(version)
        is_bot = request.headers.get("Authorization", "Bot ").startswith("Bot ")
        fault = realm.faults.for_request(request.method, path, is_bot)
        if fault is None:
            return await handler(request)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
            return await handler(request)
        return await _strike(fault, request)

    return misbehave


async def _strike(fault: Fault, request: web.Request) -> web.StreamResponse:
    if fault.kind == "drop":
        if request.transport is not None:
            request.transport.close()
        return web.Response(status=500)
    await request.read()
    if fault.kind == "server_error":
        return answer({"message": f"{fault.status}: Server Error", "code": 0}, fault.status)
    body = {"message": "You are being rate limited.", "retry_after": fault.seconds, "global": fault.is_global}
    response = answer(body, 429)
    response.headers.update(
        {
            # Without Via, libraries take a 429 for a ban by the proxy in front of Discord.
            "Via": "1.1 sandbox",
            "Retry-After": str(max(1, round(fault.seconds))),
            "X-RateLimit-Scope": "global" if fault.is_global else fault.scope,
        }
    )
    if fault.is_global:
        response.headers["X-RateLimit-Global"] = "true"
    return response
