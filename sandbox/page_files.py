"""The page's files, from sandbox/page/, under a policy that lets nothing run but the page's own scripts."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
}
NOT_THERE = "<!doctype html><title>Magpie sandbox</title><p>The page is not installed; the API is at /api/v10.</p>"


async def index(request: web.Request) -> web.StreamResponse:
    if not (PAGE / "index.html").is_file():
        return web.Response(text=NOT_THERE, content_type="text/html", headers=_headers(request))
    return _file(request, "index.html")


async def page_file(request: web.Request) -> web.StreamResponse:
    return _file(request, request.match_info["name"])


def routes() -> list[web.AbstractRouteDef]:
    """Flat names, and one folder deep."""
    name = r"{name:[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)?\.(?:html|js|css|svg|png|ico|json)}"
    return [web.get("/" + name, page_file), web.get("/page/" + name, page_file)]


def _file(request: web.Request, name: str) -> web.StreamResponse:
    path = PAGE / name
    if not path.is_file():
        raise web.HTTPNotFound
    headers = _headers(request) | {"Content-Type": _TYPES[path.suffix]}
    return web.FileResponse(path, headers=headers)


def _headers(request: web.Request) -> dict[str, str]:
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src 'self' ws://{request.host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
