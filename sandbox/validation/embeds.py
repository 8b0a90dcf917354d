"""The rules of classic embeds: what may be in them, how long, and which addresses they may name."""

from __future__ import annotations

from sandbox.validation.forms import Form
from sandbox.world import Json

MAX_TOTAL = 6000
MAX_URL = 2048
LINKS, PICTURES = ("http://", "https://"), ("http://", "https://", "attachment://")
CONTENT = ("title", "description", "fields", "image", "thumbnail", "footer", "author")


def check_embeds(form: Form) -> list[Json]:
    """The `embeds` of a message as Discord gives them back: marked as rich, without what it does not know."""
    embeds = [_Embed(embed) for embed in form.forms("embeds", high=10) or []]
    if sum(embed.length for embed in embeds) > MAX_TOTAL:
        message = f"Embed size exceeds maximum size of {MAX_TOTAL}"
        form.complain("embeds", "MAX_EMBED_SIZE_EXCEEDED", message)
    return [embed.body for embed in embeds]


class _Embed:
    """One embed, read. `length`: its characters that count towards the total."""

    def __init__(self, form: Form) -> None:
        self.length = 0
        self.body: dict[str, Json] = {"type": "rich"}
        self._keep("title", self._text(form, "title", 256))
        self._keep("description", self._text(form, "description", 4096))
        self._keep("url", _address(form, "url", LINKS))
        if form.timestamp("timestamp") is not None:
            self.body["timestamp"] = form.body["timestamp"]
        self._keep("color", form.integer("color", high=0xFFFFFF))
        self._keep("footer", self._part(form, "footer", "text", 2048))
        self._keep("author", self._part(form, "author", "name", 256))
        self._keep("image", _picture(form, "image"))
        self._keep("thumbnail", _picture(form, "thumbnail"))
        self._keep("fields", [self._field(f) for f in form.forms("fields", high=25) or []] or None)
        if all(form.body.get(name) in (None, "", []) for name in CONTENT):
            form.complain("description", "BASE_TYPE_REQUIRED", "This field is required")

    def _keep(self, name: str, value: Json) -> None:
        if value not in (None, ""):
            self.body[name] = value

    def _text(self, form: Form, name: str, high: int, *, required: bool = False) -> str | None:
        text = form.text(name, low=int(required), high=high, required=required)
        self.length += len(text or "")
        return text

    def _part(self, form: Form, name: str, text: str, high: int) -> dict[str, Json] | None:
        """The footer or the author: a text with a picture, perhaps with a link."""
        inner = form.form(name)
        if inner is None:
            return None
        found = {
            text: self._text(inner, text, high, required=True),
            "icon_url": _address(inner, "icon_url", PICTURES),
            "url": _address(inner, "url", LINKS),
        }
        return {key: value for key, value in found.items() if value}

    def _field(self, field: Form) -> dict[str, Json]:
        return {
            "name": self._text(field, "name", 256, required=True),
            "value": self._text(field, "value", 1024, required=True),
            "inline": field.boolean("inline"),
        }


def _picture(form: Form, name: str) -> dict[str, Json] | None:
    inner = form.form(name)
    if inner is None:
        return None
    url = _address(inner, "url", PICTURES, required=True)
    return None if url is None else {"url": url}


def _address(form: Form, name: str, schemes: tuple[str, ...], *, required: bool = False) -> str | None:
    url = form.text(name, low=int(required), high=MAX_URL, required=required)
    if not url or url.lower().startswith(schemes):
        return url or None
    listed = ", ".join(f"'{scheme.removesuffix('://')}'" for scheme in schemes)
    form.complain(name, "URL_TYPE_INVALID_SCHEME", f"Scheme must be one of ({listed}).")
    return None
