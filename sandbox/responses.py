"""JSON responses, and Discord's errors: HTTP status, numeric code and message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from aiohttp import web

from sandbox.state import Json


class ApiError(Exception):
    """Sent as JSON `{"message", "code"}` (and `errors` for a malformed body)."""

    def __init__(self, status: int, code: int, message: str, *, errors: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors


def json_response(content: object, status: int = 200) -> web.Response:
    """None: 204. The content type has no charset: discord.py compares it literally and would read text otherwise."""
    if content is None:
        return web.Response(status=204)
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json"})


def error_response(error: ApiError) -> web.Response:
    details = {} if error.errors is None else {"errors": dict(error.errors)}
    return json_response({"message": error.message, "code": error.code, **details}, error.status)


_KNOWN: dict[int, tuple[int, str]] = {
    10002: (404, "Unknown Application"),
    10003: (404, "Unknown Channel"),
    10004: (404, "Unknown Guild"),
    10006: (404, "Unknown Invite"),
    10007: (404, "Unknown Member"),
    10008: (404, "Unknown Message"),
    10009: (404, "Unknown permission overwrite"),
    10011: (404, "Unknown Role"),
    10013: (404, "Unknown User"),
    10014: (400, "Unknown Emoji"),
    10015: (404, "Unknown Webhook"),
    10060: (404, "Unknown sticker"),
    10062: (404, "Unknown interaction"),
    10063: (404, "Unknown application command"),
    20001: (403, "Bots cannot use this endpoint"),
    20002: (403, "Only bots can use this endpoint"),
    20012: (403, "You are not authorized to perform this action on this application"),
    30010: (400, "Maximum number of reactions reached (20)"),
    40005: (413, "Request entity too large"),
    40060: (400, "Interaction has already been acknowledged."),
    50001: (403, "Missing Access"),
    50003: (403, "Cannot execute action on a DM channel"),
    50005: (403, "Cannot edit a message authored by another user"),
    50006: (400, "Cannot send an empty message"),
    50008: (400, "Cannot send messages in a non-text channel"),
    50013: (403, "Missing Permissions"),
    50016: (
        400,
        "Provided too few or too many messages to delete. "
        "Must provide at least 2 and fewer than 100 messages to delete",
    ),
    50021: (403, "Cannot execute action on a system message"),
    50024: (400, "Cannot execute action on this channel type"),
    50027: (401, "Invalid Webhook Token"),
    50034: (400, "You can only bulk delete messages that are under 14 days old."),
    50081: (400, "Invalid sticker sent"),
    50083: (400, "Thread is archived"),
    50109: (400, "The request body contains invalid JSON."),
    50600: (400, "You do not have permission to send this message"),
    160002: (400, "Cannot reply without permission to read message history"),
    160004: (400, "A thread has already been created for this message"),
    40333: (403, "internal network error"),
}


def api_error(code: int) -> ApiError:
    """The error with this code. KeyError for one that is not in the table."""
    status, message = _KNOWN[code]
    return ApiError(status, code, message)


class FormErrors:
    """Collects the errors of a body, field by field."""

    def __init__(self) -> None:
        self._tree: dict[str, Json] = {}

    def add(self, path: Sequence[str | int], code: str, message: str) -> None:
        node = self._tree
        for step in path:
            node = node.setdefault(str(step), {})
        node.setdefault("_errors", []).append({"code": code, "message": message})

    def __bool__(self) -> bool:
        return bool(self._tree)

    def as_api_error(self) -> ApiError:
        return ApiError(400, 50035, "Invalid Form Body", errors=self._tree)

    def raise_if_any(self) -> None:
        """Raises 50035 with all errors."""
        if self:
            raise self.as_api_error()


def form_error(path: Sequence[str | int], code: str, message: str) -> ApiError:
    errors = FormErrors()
    errors.add(path, code, message)
    return errors.as_api_error()
