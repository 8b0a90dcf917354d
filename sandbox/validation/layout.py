"""The rules of message components (rows, and components V2) and of embeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sandbox.state import Json
from sandbox.validation.forms import Form
from sandbox.validation.selects import SELECTS, check_select

ROW, BUTTON = 1, 2
SECTION, TEXT, THUMBNAIL, GALLERY, FILE, SEPARATOR = 9, 10, 11, 12, 13, 14
CONTAINER = 17

IN_CONTAINER = frozenset({ROW, SECTION, TEXT, GALLERY, FILE, SEPARATOR})
AT_TOP = IN_CONTAINER | {CONTAINER}
MAX_COMPONENTS = 40
MAX_TEXT = 4000
LINK_STYLE, PREMIUM_STYLE = 5, 6
CHILD_FIELDS = {
    ROW: frozenset({"components"}),
    SECTION: frozenset({"components", "accessory"}),
    CONTAINER: frozenset({"components"}),
}
NESTING_FIELDS = frozenset({"components", "accessory", "component"})
"""Dropped from types that have no children, because these would not be validated."""

MAX_EMBED_CHARACTERS = 6000
MAX_EMBED_URL = 2048
LINK_SCHEMES, IMAGE_SCHEMES = ("http://", "https://"), ("http://", "https://", "attachment://")
EMBED_CONTENT = ("title", "description", "fields", "image", "thumbnail", "footer", "author")


def check_message_components(form: Form, *, version_2: bool, files: Collection[str]) -> list[Json]:
    """The `components` of a message, with ids and defaults. `files`: the names that `attachment://` may refer to."""
    allowed, high = (AT_TOP, MAX_COMPONENTS) if version_2 else (frozenset({ROW}), 5)
    forms = form.forms("components", high=high) or []
    rules = _Rules(files)
    for child in forms:
        rules.check(child, allowed)
    tree = [child.body for child in forms]
    rules.check_totals(form, tree)
    if not form.errors:
        number(tree)
        for node in walk(tree):
            _complete(node)
    return tree


def walk(tree: Json) -> Iterator[dict[str, Json]]:
    """Every component of a tree, parents first."""
    for node in tree if isinstance(tree, list) else [tree]:
        if not isinstance(node, dict):
            continue
        yield node
        yield from walk(node.get("components") or [])
        for name in ("accessory", "component"):
            if isinstance(node.get(name), dict):
                yield from walk(node[name])


class _Rules:
    def __init__(self, files: Collection[str]) -> None:
        self._files = files
        self._custom_ids: set[str] = set()

    def check(self, form: Form, allowed: Collection[int]) -> None:
        kind = form.body.get("type")
        if type(kind) is not int or kind not in allowed:
            listed = ", ".join(str(a) for a in sorted(allowed)) + ("," if len(allowed) == 1 else "")
            form.add_error("type", "UNION_TYPE_CHOICES", f'Value of field "type" must be one of ({listed}).')
            return
        for name in NESTING_FIELDS - CHILD_FIELDS.get(kind, frozenset()):
            form.body.pop(name, None)
        form.replace_value("id", form.integer("id", high=(1 << 31) - 1))
        for name in ("disabled", "spoiler"):
            form.boolean(name)
        match kind:
            case 1:
                self._row(form)
            case 2:
                self._button(form)
            case 9:
                self._section(form)
            case 10:
                form.text("content", low=1, high=MAX_TEXT, required=True)
            case 11:
                self._described_media(form)
            case 12:
                for item in form.forms("items", low=1, high=10, required=True) or []:
                    self._described_media(item)
            case 13:
                self._media(form, "file", attachment_only=True)
            case 17:
                for child in form.forms("components", low=1, high=MAX_COMPONENTS, required=True) or []:
                    self.check(child, IN_CONTAINER)
            case _ if kind in SELECTS:
                self._custom_id(form)
                check_select(form, kind)

    def check_totals(self, form: Form, tree: list[Json]) -> None:
        nodes = list(walk(tree))
        if len(nodes) > MAX_COMPONENTS:
            message = f"The total number of components in this message exceeds the maximum of {MAX_COMPONENTS}."
            form.add_error("components", "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", message)
        text = sum(len(n["content"]) for n in nodes if n.get("type") == TEXT and isinstance(n.get("content"), str))
        if text > MAX_TEXT:
            message = f"The total displayable text in this message exceeds the maximum of {MAX_TEXT}."
            form.add_error("components", "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", message)

    def _row(self, form: Form) -> None:
        children = form.forms("components", low=1, high=5, required=True) or []
        for child in children:
            self.check(child, SELECTS | {BUTTON})
        if len(children) > 1 and any(c.body.get("type") != BUTTON for c in children):
            form.add_error(
                "components", "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "The specified component exceeds the maximum width"
            )

    def _button(self, form: Form) -> None:
        style = form.choice("style", range(1, 7), required=True)
        label = form.text("label", high=80)
        if style == LINK_STYLE:
            _check_url(form, "url")
        elif style == PREMIUM_STYLE:
            form.snowflake("sku_id", required=True)
        elif style is not None:
            if form.body.get("custom_id") is None:
                form.add_error("custom_id", "BUTTON_COMPONENT_CUSTOM_ID_REQUIRED", "A custom id is required")
            else:
                self._custom_id(form)
        emoji = form.form("emoji")
        if emoji is not None:
            emoji.text("name", high=32)
            emoji.snowflake("id")
        if style != PREMIUM_STYLE and not label and not form.body.get("emoji"):
            form.add_error("label", "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A label or emoji is required")

    def _section(self, form: Form) -> None:
        for child in form.forms("components", low=1, high=3, required=True) or []:
            self.check(child, {TEXT})
        accessory = form.form("accessory", required=True)
        if accessory is not None:
            self.check(accessory, {BUTTON, THUMBNAIL})

    def _custom_id(self, form: Form) -> None:
        custom_id = form.text("custom_id", low=1, high=100, required=True)
        if custom_id is None:
            return
        if custom_id in self._custom_ids:
            form.add_error("custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
        self._custom_ids.add(custom_id)

    def _described_media(self, form: Form) -> None:
        form.text("description", high=1024)
        self._media(form, "media")

    def _media(self, form: Form, name: str, attachment_only: bool = False) -> None:
        media = form.form(name, required=True)
        if media is None:
            return
        url = media.body.get("url")
        if isinstance(url, str) and url.startswith("attachment://"):
            if url.removeprefix("attachment://") not in self._files:
                code = "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND"
                media.add_error("url", code, f"The referenced attachment '{url}' was not found")
        elif attachment_only:
            media.add_error(
                "url", "UNFURLED_MEDIA_ITEM_ATTACHMENT_REQUIRED", "Only attachment:// references are allowed"
            )
        else:
            _check_url(media, "url", high=2048)


def _check_url(form: Form, name: str, high: int = 512) -> None:
    url = form.text(name, low=1, high=high, required=True)
    if url is not None and not url.startswith(("http://", "https://", "discord://")):
        message = "Scheme \"\" must be one of ('http', 'https', 'discord')."
        form.add_error(name, "URL_TYPE_INVALID_SCHEME", message)


def number(tree: list[Json]) -> None:
    """Like Discord, numbers the components that have no id."""
    nodes = list(walk(tree))
    taken = {n["id"] for n in nodes if isinstance(n.get("id"), int) and n["id"]}
    following = 1
    for node in nodes:
        if node.get("id"):
            continue
        while following in taken:
            following += 1
        node["id"] = following
        taken.add(following)


def _complete(node: dict[str, Json]) -> None:
    """Adds the defaults that Discord adds."""
    match node["type"]:
        case 3 | 5 | 6 | 7 | 8:
            node.update({"min_values": 1, "max_values": 1, "disabled": False} | node)
        case 11:
            node.update({"description": None, "spoiler": False} | node)
        case 12:
            for item in node["items"]:
                item.update({"description": None, "spoiler": False} | item)
        case 13:
            node.update({"spoiler": False} | node)
        case 14:
            node.update({"spacing": 1, "divider": True} | node)
        case 17:
            node.update({"accent_color": None, "spoiler": False} | node)


def check_embeds(form: Form) -> list[Json]:
    """The `embeds` of a message as Discord returns them: of type rich, without unknown fields."""
    embeds = [_Embed(embed) for embed in form.forms("embeds", high=10) or []]
    if sum(embed.length for embed in embeds) > MAX_EMBED_CHARACTERS:
        message = f"Embed size exceeds maximum size of {MAX_EMBED_CHARACTERS}"
        form.add_error("embeds", "MAX_EMBED_SIZE_EXCEEDED", message)
    return [embed.body for embed in embeds]


class _Embed:
    """`length`: the characters that count towards the total."""

    def __init__(self, form: Form) -> None:
        self.length = 0
        self.body: dict[str, Json] = {"type": "rich"}
        self._keep("title", self._text(form, "title", 256))
        self._keep("description", self._text(form, "description", 4096))
        self._keep("url", _embed_url(form, "url", LINK_SCHEMES))
        if form.timestamp("timestamp") is not None:
            self.body["timestamp"] = form.body["timestamp"]
        self._keep("color", form.integer("color", high=0xFFFFFF))
        self._keep("footer", self._part(form, "footer", "text", 2048))
        self._keep("author", self._part(form, "author", "name", 256))
        self._keep("image", _image(form, "image"))
        self._keep("thumbnail", _image(form, "thumbnail"))
        self._keep("fields", [self._field(f) for f in form.forms("fields", high=25) or []] or None)
        if all(form.body.get(name) in (None, "", []) for name in EMBED_CONTENT):
            form.add_error("description", "BASE_TYPE_REQUIRED", "This field is required")

    def _keep(self, name: str, value: Json) -> None:
        if value not in (None, ""):
            self.body[name] = value

    def _text(self, form: Form, name: str, high: int, *, required: bool = False) -> str | None:
        text = form.text(name, low=int(required), high=high, required=required)
        self.length += len(text or "")
        return text

    def _part(self, form: Form, name: str, text: str, high: int) -> dict[str, Json] | None:
        """The footer or the author: a text with an icon and a link."""
        inner = form.form(name)
        if inner is None:
            return None
        found = {
            text: self._text(inner, text, high, required=True),
            "icon_url": _embed_url(inner, "icon_url", IMAGE_SCHEMES),
            "url": _embed_url(inner, "url", LINK_SCHEMES),
        }
        return {key: value for key, value in found.items() if value}

    def _field(self, field: Form) -> dict[str, Json]:
        return {
            "name": self._text(field, "name", 256, required=True),
            "value": self._text(field, "value", 1024, required=True),
            "inline": field.boolean("inline"),
        }


def _image(form: Form, name: str) -> dict[str, Json] | None:
    inner = form.form(name)
    if inner is None:
        return None
    url = _embed_url(inner, "url", IMAGE_SCHEMES, required=True)
    return None if url is None else {"url": url}


def _embed_url(form: Form, name: str, schemes: tuple[str, ...], *, required: bool = False) -> str | None:
    url = form.text(name, low=int(required), high=MAX_EMBED_URL, required=required)
    if not url or url.lower().startswith(schemes):
        return url or None
    listed = ", ".join(f"'{scheme.removesuffix('://')}'" for scheme in schemes)
    form.add_error(name, "URL_TYPE_INVALID_SCHEME", f"Scheme must be one of ({listed}).")
    return None
