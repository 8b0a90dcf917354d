"""The CDN: files at signed, expiring addresses, and the media proxy for them and for previewed links."""

from __future__ import annotations

from aiohttp import web

from sandbox.realm import REALM

SHOWN_INLINE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"})
HEADERS = {
    # What members post is served from the page's own origin: it must never run there.
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=3600",
}
GONE = b"This content is no longer available."


async def attachment(request: web.Request) -> web.Response:
    """404 for what is deleted, and where the signature is wrong or past. The proxy's size parameters change nothing."""
    realm = request.app[REALM]
    if not realm.signer.accepts(request.rel_url.raw_path, request.query):
        return _gone()
    found = realm.world.attachments.get(int(request.match_info["attachment_id"]))
    if found is None or found.filename != request.match_info["name"]:
        return _gone()
    content_type = found.content_type or "application/octet-stream"
    inline = content_type in SHOWN_INLINE
    headers = {**HEADERS, "Content-Type": content_type if inline else "application/octet-stream"}
    headers["Content-Disposition"] = f'{"inline" if inline else "attachment"}; filename="{found.filename}"'
    return web.Response(body=found.data, headers=headers)


def routes() -> list[web.AbstractRouteDef]:
    place = r"/{channel_id:\d+}/{attachment_id:\d+}/{name}"
    roots = ("/attachments", "/ephemeral-attachments", "/proxy/attachments", "/proxy/ephemeral-attachments")
    return [web.get(root + place, attachment) for root in roots]


def _gone() -> web.Response:
    return web.Response(status=404, body=GONE, headers={**HEADERS, "Content-Type": "text/plain"})
