"""The sample scenes, and previews of links to them: like Discord, a message with a link gets an embed a moment later.

Only links to the samples are previewed: a server on loopback must not fetch URLs that messages contain.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from sandbox.image_headers import content_type_of, image_size
from sandbox.server_state import ServerState
from sandbox.state import Json, Message, MessageFlag, Payload

SAMPLES_PATH = "/sandbox/samples/"
SAMPLE_NAME = r"[A-Za-z0-9_-]+\.(?:png|jpg|jpeg|webp|gif)"
MAX_PREVIEWS = 5


class Samples:
    """The folder of sample scenes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path | None:
        """None for a name that is not a sample's."""
        path = self._folder / name
        return path if re.fullmatch(SAMPLE_NAME, name) and path.is_file() else None

    def entries(self) -> list[Payload]:
        """`{"file", "url", "en", "zh"}` for each, in the order of the page's tray."""
        listing = self._folder / "samples.json"
        entries = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
        return [{**entry, "url": SAMPLES_PATH + entry["file"]} for entry in entries]


class Previews:
    """Finds links to samples in messages and makes embeds of them."""

    def __init__(self, server: ServerState, samples: Samples) -> None:
        self._server = server
        self._samples = samples

    def embeds_for(self, message: Message) -> list[Json]:
        """Empty where the message has its own embeds, suppresses them, or links to no sample."""
        if message.embeds or message.flags & (MessageFlag.SUPPRESS_EMBEDS | MessageFlag.COMPONENTS_V2):
            return []
        pattern = re.escape(self._server.base_url + SAMPLES_PATH) + f"({SAMPLE_NAME})"
        names = dict.fromkeys(re.findall(pattern, message.content))
        found = [(name, self._samples.path(name)) for name in names]
        return [self._embed(name, path) for name, path in found if path is not None][:MAX_PREVIEWS]

    def _embed(self, name: str, path: Path) -> Payload:
        url = f"{self._server.base_url}{SAMPLES_PATH}{name}"
        width, height = image_size(path.read_bytes()) or (None, None)
        image = {"url": url, "width": width, "height": height, "content_type": content_type_of(name, None)}
        return {"type": "image", "url": url, "thumbnail": image}
