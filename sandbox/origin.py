"""Who may talk to a server that has no passwords: this machine's own browser pages, and no page of a stranger's site.

A site can point its own name at 127.0.0.1 (DNS rebinding) or simply send requests there. The first shows in `Host`,
which is then a name and not an address; the second in `Origin`, which is then not ours.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def host_allowed(host: str | None, *, beyond_loopback: bool) -> bool:
    """`localhost` or a literal address; of loopback, unless the server was told to listen beyond."""
    try:
        name = urlsplit(f"//{host or ''}").hostname
    except ValueError:
        return False
    if name is None:
        return False
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return beyond_loopback or address.is_loopback


def origin_allowed(origin: str | None, host: str | None) -> bool:
    """Absent (a bot, a script) or this very server."""
    return origin is None or origin.lower() == f"http://{(host or '').lower()}"


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
