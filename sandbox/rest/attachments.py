"""Upload slots: a client asks for addresses, puts the bytes there, and names them in a message."""

from __future__ import annotations

import secrets

from aiohttp import web

from sandbox.errors import refusal
from sandbox.permissions import ATTACH_FILES
from sandbox.realm import REALM
from sandbox.rest.call import Call, Endpoint, error_answer
from sandbox.signing import safe_filename
from sandbox.validation.forms import Form
from sandbox.world import Json, Upload


async def request_slots(call: Call) -> Json:
    channel = call.channel(ATTACH_FILES)
    form = Form(await call.body())
    slots: list[Json] = []
    opened: dict[str, Upload] = {}
    for position, item in enumerate(form.forms("files", low=1, high=10, required=True) or []):
        name = item.text("filename", low=1, high=1024, required=True)
        size = item.integer("file_size", low=1, required=True)
        if size is not None and size > call.realm.limits.file_bytes:
            raise refusal(40005)
        if name is None or size is None:
            continue
        key = f"{secrets.token_urlsafe(24)}/{safe_filename(name)}"
        opened[key] = Upload(key, call.user.id, channel.id, name, size)
        slots.append(
            {
                "id": item.body.get("id", str(position)),
                "upload_url": f"{call.realm.base_url}/uploads/{key}",
                "upload_filename": key,
            }
        )
    form.settle()
    call.world.uploads |= opened
    while len(call.world.uploads) > call.realm.limits.open_uploads:
        del call.world.uploads[next(iter(call.world.uploads))]
    return {"attachments": slots}


async def put_upload(request: web.Request) -> web.Response:
    """`PUT upload_url` with the file's bytes; the address itself is the permission."""
    realm = request.app[REALM]
    upload = realm.world.uploads.get(f"{request.match_info['key']}/{request.match_info['name']}")
    if upload is None:
        return web.Response(status=403, text="no such upload slot")
    data = await request.read()
    if len(data) > realm.limits.file_bytes:
        return error_answer(refusal(40005))
    if len(data) != upload.size:
        return web.Response(status=400, text="the size differs from the one announced")
    upload.data, upload.content_type = data, request.headers.get("Content-Type")
    return web.Response()


ENDPOINTS = (Endpoint("POST", "/channels/{channel_id}/attachments", request_slots),)
