"""Signed URLs that expire, like the CDN's: `ex` expiry and `is` issue time (hex seconds), `hm` signature."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from urllib.parse import quote

from sandbox.state import Attachment, Clock

_ATTACHMENT_PATH = re.compile(r"(?:/proxy)?/(?:ephemeral-)?attachments/\d+/(\d{1,20})/")
URL_LIFETIME_S = 24 * 3600
"""Discord documents no lifetime; one day has been observed since 2024."""


class Signer:
    """Makes and checks the CDN's URLs. `base_url` is set when the server listens."""

    def __init__(self, clock: Clock, lifetime_s: float = URL_LIFETIME_S) -> None:
        self.base_url = ""
        self.lifetime_s = lifetime_s
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def attachment_url(self, attachment: Attachment) -> str:
        return self._signed(attachment_path(attachment))

    def proxy_url(self, attachment: Attachment) -> str:
        return self._signed("/proxy" + attachment_path(attachment))

    def external_url(self, url: str) -> str:
        """The media proxy's URL for a previewed link."""
        return self._signed("/external/" + urlsafe_b64encode(url.encode()).decode())

    @staticmethod
    def external_target(name: str) -> str:
        """The link behind a proxy URL; empty where the name is not valid."""
        try:
            return urlsafe_b64decode(name).decode()
        except ValueError:
            return ""

    def attachment_in(self, url: str) -> int | None:
        """The id of the attachment that a URL of this server names, even if its signature has expired."""
        if not url.startswith(self.base_url):
            return None
        found = _ATTACHMENT_PATH.match(url, len(self.base_url))
        return None if found is None else int(found[1])

    def accepts(self, path: str, query: Mapping[str, str]) -> bool:
        expiry, issued = query.get("ex", ""), query.get("is", "")
        expected = self._signature(path, expiry, issued)
        if not hmac.compare_digest(expected.encode(), query.get("hm", "").encode(errors="replace")):
            return False
        return int(expiry, 16) > self._clock.now()

    def _signed(self, path: str) -> str:
        now = int(self._clock.now())
        issued, expiry = f"{now:x}", f"{int(now + self.lifetime_s):x}"
        signature = self._signature(path, expiry, issued)
        return f"{self.base_url}{path}?ex={expiry}&is={issued}&hm={signature}&"

    def _signature(self, path: str, expiry: str, issued: str) -> str:
        return hmac.new(self._key, f"{path}\n{expiry}\n{issued}".encode(errors="replace"), hashlib.sha256).hexdigest()


def attachment_path(attachment: Attachment) -> str:
    root = "ephemeral-attachments" if attachment.ephemeral else "attachments"
    return f"/{root}/{attachment.channel_id}/{attachment.id}/{quote(attachment.filename)}"


def safe_filename(name: str) -> str:
    """Keeps letters, digits, dots, dashes and underscores, as Discord does; spaces become `_`."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "", name.replace("\\", "/").rsplit("/", 1)[-1].replace(" ", "_"))
    return cleaned.lstrip(".")[:100] or "unknown"
