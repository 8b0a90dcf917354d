"""The sample scenes, and previews of links to them: like Discord, a message with a link gets an embed a moment later.

Only links to the samples are previewed: a server on loopback must not fetch URLs that messages contain.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from sandbox.image_headers import content_type_of, image_size, sniffed_type
from sandbox.server_state import ServerState
from sandbox.state import Json, Message, MessageFlag, Payload
from sandbox.video_headers import read_video

SAMPLES_PATH = "/sandbox/samples/"
SAMPLE_NAME = r"[A-Za-z0-9_-]+\.(?:png|jpg|jpeg|webp|gifv?|mp4)"
MAX_PREVIEWS = 5


class Samples:
    """The folder of sample scenes, and further folders whose files can be linked to as well."""

    def __init__(self, folder: Path, *further: Path) -> None:
        self._folder = folder
        self._folders = (folder, *further)

    def path(self, name: str) -> Path | None:
        """None for a name that is not a sample's. A `.gifv` is shown as the video of that name, as Imgur does."""
        if not re.fullmatch(SAMPLE_NAME, name):
            return None
        paths = (folder / name.replace(".gifv", ".mp4") for folder in self._folders)
        return next((path for path in paths if path.is_file()), None)

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
        folder = f"{self._server.base_url}{SAMPLES_PATH}"
        data = path.read_bytes()
        video = read_video(data)
        size = image_size(data) if video is None else (video.width, video.height)
        width, height = size or (None, None)
        media = {"url": folder + path.name, "width": width, "height": height}
        media["content_type"] = content_type_of(path.name, None)
        if video is None:
            return {"type": "image", "url": folder + name, "thumbnail": media}
        kind = "gifv" if name.endswith(".gifv") else "video"
        still = {**media, "content_type": sniffed_type(video.cover or b"")}
        return {"type": kind, "url": folder + name, "video": media, **({"thumbnail": still} if video.cover else {})}
