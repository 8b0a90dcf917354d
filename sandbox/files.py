"""Files over HTTP: the CDN's attachments, the upload slots, the media proxy, the sample scenes and the page."""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import web

from sandbox.image_headers import content_type_of, sniffed_type
from sandbox.previews import SAMPLES_PATH, Samples
from sandbox.responses import api_error, error_response
from sandbox.server_state import SERVER
from sandbox.video_headers import read_video

PAGE = Path(__file__).parent / "page"
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"})
PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
}
EXPRESSION = re.compile(r"/(?P<kind>stickers|emojis)/(?P<id>\d{1,20})\.[a-z]+(?:\?|$)")
NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
ATTACHMENT_HEADERS = {
    **NO_SNIFFING,
    # Members' files are served from the page's origin: they must never run there.
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600",
}


def routes(samples: Samples) -> list[web.AbstractRouteDef]:
    attachment = r"attachments/{channel_id:\d{1,20}}/{attachment_id:\d{1,20}}/{name}"
    page_file = r"/{name:[A-Za-z0-9_-]+\.(?:html|js|css|svg|png|ico|json)}"

    async def sample(request: web.Request) -> web.StreamResponse:
        return _sample_response(samples.path(request.match_info["name"]))

    async def proxied(request: web.Request) -> web.StreamResponse:
        """The media proxy for links: signed URLs, and only of samples, stickers and emojis."""
        server = request.app[SERVER]
        if not server.signer.accepts(request.rel_url.raw_path, request.query):
            raise web.HTTPNotFound
        url = server.signer.external_target(request.match_info["name"])
        if url.startswith(server.base_url) and (found := EXPRESSION.match(url, len(server.base_url))):
            expressions = server.state.stickers if found["kind"] == "stickers" else server.state.emojis
            expression = expressions.get(int(found["id"]))
            return _expression_response(None if expression is None else expression.data)
        path = samples.path(url.removeprefix(server.base_url + SAMPLES_PATH))
        if path is not None and "format" in request.query and (video := read_video(path.read_bytes())) is not None:
            return _still_response(video.cover)
        return _sample_response(path)

    return [
        *(web.get(root + attachment, get_attachment) for root in ("/", "/ephemeral-", "/proxy/", "/proxy/ephemeral-")),
        web.get(r"/stickers/{id:\d{1,20}}.{suffix:png|gif|json|webp}", get_sticker),
        web.get(r"/emojis/{id:\d{1,20}}.{suffix:png|gif|webp|jpg}", get_emoji),
        web.put("/uploads/{key}/{name}", put_upload),
        web.get("/external/{name}", proxied),
        web.get(SAMPLES_PATH + "{name}", sample),
        web.get(page_file, get_page_file),
    ]


async def get_attachment(request: web.Request) -> web.Response:
    """404 for a deleted file and for a wrong or expired signature. The proxy's size parameters are ignored.

    With `format`, the proxy shows a still picture of a video; 415 for what is neither image, video nor sound.
    """
    server = request.app[SERVER]
    found = server.state.attachments.get(int(request.match_info["attachment_id"]))
    signed = server.signer.accepts(request.rel_url.raw_path, request.query)
    if not signed or found is None or found.filename != request.match_info["name"]:
        return web.Response(status=404, text="This content is no longer available.", headers=ATTACHMENT_HEADERS)
    if request.path.startswith("/proxy/"):
        kind = (found.content_type or "").partition("/")[0]
        if kind == "video" and "format" in request.query:
            return _still_response(found.cover)
        if kind != "audio" and (kind not in ("image", "video") or not found.width):
            return web.Response(status=415, text="Unsupported Media Type", headers=ATTACHMENT_HEADERS)
    inline = found.content_type in INLINE_TYPES
    headers = {
        **ATTACHMENT_HEADERS,
        "Content-Type": found.content_type if inline and found.content_type else "application/octet-stream",
        "Content-Disposition": f'{"inline" if inline else "attachment"}; filename="{found.filename}"',
    }
    return web.Response(body=found.data, headers=headers)


def _still_response(picture: bytes | None) -> web.Response:
    """In its own format, whichever was asked for: the sandbox converts nothing."""
    if picture is None:
        return web.Response(status=415, text="Unsupported Media Type", headers=ATTACHMENT_HEADERS)
    kind = sniffed_type(picture) or "application/octet-stream"
    return web.Response(body=picture, headers={**ATTACHMENT_HEADERS, "Content-Type": kind})


async def get_sticker(request: web.Request) -> web.Response:
    """Unsigned, as with Discord."""
    found = request.app[SERVER].state.stickers.get(int(request.match_info["id"]))
    return _expression_response(None if found is None else found.data)


async def get_emoji(request: web.Request) -> web.Response:
    found = request.app[SERVER].state.emojis.get(int(request.match_info["id"]))
    return _expression_response(None if found is None else found.data)


def _expression_response(data: bytes | None) -> web.Response:
    """The file as it was added, whatever the suffix and the parameters: the sandbox converts nothing."""
    if data is None:
        raise web.HTTPNotFound
    kind = sniffed_type(data) or "application/json"
    return web.Response(body=data, headers={**ATTACHMENT_HEADERS, "Content-Type": kind})


async def put_upload(request: web.Request) -> web.Response:
    """`PUT upload_url` with the file's bytes. The unguessable URL is the only permission needed."""
    server = request.app[SERVER]
    upload = server.state.uploads.get(f"{request.match_info['key']}/{request.match_info['name']}")
    if upload is None:
        return web.Response(status=403, text="no such upload slot")
    data = await request.read()
    if len(data) > server.limits.file_bytes:
        return error_response(api_error(40005))
    if len(data) != upload.size:
        return web.Response(status=400, text="the size differs from the one announced")
    upload.data, upload.content_type = data, request.headers.get("Content-Type")
    return web.Response()


async def get_page_file(request: web.Request) -> web.StreamResponse:
    return page_response(request, request.match_info["name"])


def page_response(request: web.Request, name: str) -> web.StreamResponse:
    """A file of the page, under a policy that allows only the page's own scripts and styles."""
    path = PAGE / name
    if not path.is_file():
        raise web.HTTPNotFound
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src 'self' ws://{request.host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        **NO_SNIFFING,
        "Content-Type": PAGE_TYPES[path.suffix],
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return web.FileResponse(path, headers=headers)


def _sample_response(path: Path | None) -> web.StreamResponse:
    """Read at once: a FileResponse leaves its file open where the client ends in the middle."""
    if path is None:
        raise web.HTTPNotFound
    data = path.read_bytes()
    return web.Response(
        body=data, headers={**NO_SNIFFING, "Content-Type": content_type_of(path.name, None) or "image/png"}
    )
