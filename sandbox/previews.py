"""Link previews: a message that names one of the sample pictures gets an embed a moment later, as links do on Discord.

Only the sandbox's own samples are previewed: a server on loopback must not fetch what a message tells it to.
"""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import web

from sandbox.pictures import content_type_of, dimensions
from sandbox.realm import REALM, Realm
from sandbox.world import Json, Message, MessageFlag

SAMPLES_PATH = "/sandbox/samples/"
SAMPLE_NAME = r"[A-Za-z0-9_-]+\.(?:png|jpg|jpeg|webp|gif)"
MAX_PREVIEWS = 5


class Samples:
    """The tray of sample scenes: a folder of pictures, or nothing where it is not installed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def path(self, name: str) -> Path | None:
        if self._folder is None or not re.fullmatch(SAMPLE_NAME, name):
            return None
        path = self._folder / name
        return path if path.is_file() else None

    def names(self) -> list[str]:
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted(p.name for p in self._folder.iterdir() if re.fullmatch(SAMPLE_NAME, p.name))

    @property
    def listing(self) -> Path | None:
        listing = None if self._folder is None else self._folder / "samples.json"
        return listing if listing is not None and listing.is_file() else None


class Previews:
    """Finds links to samples in messages and describes them as embeds."""

    def __init__(self, realm: Realm, samples: Samples) -> None:
        self._realm = realm
        self._samples = samples

    def embeds_for(self, message: Message) -> list[Json]:
        """What a message without embeds of its own would show; empty where there is nothing to preview."""
        if message.embeds or message.flags & (MessageFlag.SUPPRESS_EMBEDS | MessageFlag.COMPONENTS_V2):
            return []
        pattern = re.escape(self._realm.base_url + SAMPLES_PATH) + f"({SAMPLE_NAME})"
        names = dict.fromkeys(re.findall(pattern, message.content))
        found = [(name, self._samples.path(name)) for name in names]
        return [self._embed(name, path) for name, path in found if path is not None][:MAX_PREVIEWS]

    def _embed(self, name: str, path: Path) -> Json:
        url = f"{self._realm.base_url}{SAMPLES_PATH}{name}"
        size = dimensions(path.read_bytes()) or (None, None)
        picture = {"url": url, "width": size[0], "height": size[1], "content_type": content_type_of(name, None)}
        return {"type": "image", "url": url, "thumbnail": picture}


def external(samples: Samples) -> web.RouteDef:
    """The media proxy for previewed links: a signed address, and behind it nothing but samples."""

    async def serve(request: web.Request) -> web.StreamResponse:
        realm = request.app[REALM]
        url = realm.signer.external_target(request.match_info["name"])
        path = samples.path(url.removeprefix(realm.base_url + SAMPLES_PATH))
        if not realm.signer.accepts(request.rel_url.raw_path, request.query) or path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"X-Content-Type-Options": "nosniff"})

    return web.get("/external/{name}", serve)
