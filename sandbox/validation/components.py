"""The rules of message components: which may stand where, how many, how long; in rows alone, and in version 2."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sandbox.validation.forms import Form
from sandbox.world import Json

ROW, BUTTON, SELECT, TEXT_INPUT = 1, 2, 3, 4
ENTITY_SELECTS = frozenset({5, 6, 7, 8})
SECTION, TEXT, THUMBNAIL, GALLERY, FILE, SEPARATOR = 9, 10, 11, 12, 13, 14
CONTAINER, LABEL, FILE_UPLOAD, RADIO_GROUP, CHECKBOX_GROUP, CHECKBOX = 17, 18, 19, 21, 22, 23
SELECTS = ENTITY_SELECTS | {SELECT}

IN_CONTAINER = frozenset({ROW, SECTION, TEXT, GALLERY, FILE, SEPARATOR})
TOP_V2 = IN_CONTAINER | {CONTAINER}
TOP_MODAL = frozenset({ROW, TEXT, LABEL})
IN_LABEL = SELECTS | {TEXT_INPUT, FILE_UPLOAD, RADIO_GROUP, CHECKBOX_GROUP, CHECKBOX}
MAX_COMPONENTS = 40
MAX_TEXT = 4000
LINK_STYLE, PREMIUM_STYLE = 5, 6
CHANNEL_SELECT = 8
CHANNEL_TYPES = frozenset({0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16})
CHILD_FIELDS = {
    ROW: frozenset({"components"}),
    SECTION: frozenset({"components", "accessory"}),
    CONTAINER: frozenset({"components"}),
    LABEL: frozenset({"component"}),
}
NESTING_FIELDS = frozenset({"components", "accessory", "component"})
"""Where a type has no children, what came under these names is dropped: nobody has checked it."""


def check_message_components(form: Form, *, version_2: bool, files: Collection[str]) -> list[Json]:
    """The `components` of a message, ids filled in. `files`: the names that `attachment://` may refer to."""
    allowed, high = (TOP_V2, MAX_COMPONENTS) if version_2 else (frozenset({ROW}), 5)
    forms = form.forms("components", high=high) or []
    rules = _Rules(files)
    for child in forms:
        rules.check(child, allowed)
    tree = [child.body for child in forms]
    rules.check_totals(form, tree)
    if not form.errors:
        _number(tree)
        for node in walk(tree):
            _complete(node)
    return tree


def check_modal(form: Form) -> None:
    """The data of a modal: title, custom id, one to five rows or labels."""
    form.text("title", low=1, high=45, required=True)
    form.text("custom_id", low=1, high=100, required=True)
    children = form.forms("components", low=1, high=5, required=True) or []
    rules = _Rules(())
    for child in children:
        rules.check(child, TOP_MODAL, modal=True)
    _number([child.body for child in children])


def walk(tree: Json) -> Iterator[dict[str, Json]]:
    """Every component of a tree, parents first."""
    for node in tree if isinstance(tree, list) else [tree]:
        if not isinstance(node, dict):
            continue
        yield node
        yield from walk(node.get("components") or [])
        for key in ("accessory", "component"):
            if isinstance(node.get(key), dict):
                yield from walk(node[key])


class _Rules:
    def __init__(self, files: Collection[str]) -> None:
        self._files = files
        self._custom_ids: set[str] = set()

    def check(self, form: Form, allowed: Collection[int], modal: bool = False) -> None:
        kind = form.body.get("type")
        if type(kind) is not int or kind not in allowed:
            listed = ", ".join(str(a) for a in sorted(allowed)) + ("," if len(allowed) == 1 else "")
            form.complain("type", "UNION_TYPE_CHOICES", f'Value of field "type" must be one of ({listed}).')
            return
        for name in NESTING_FIELDS - CHILD_FIELDS.get(kind, frozenset()):
            form.body.pop(name, None)
        form.normalize("id", form.integer("id", high=(1 << 31) - 1))
        for name in ("disabled", "required", "spoiler"):
            form.boolean(name)
        match kind:
            case 1:
                self._row(form, modal)
            case 2:
                self._button(form)
            case 4:
                self._text_input(form)
            case 19 | 21 | 22 | 23:
                self._custom_id(form)
                self._bounds(form)
                form.forms("options", high=25)
            case 9:
                self._section(form)
            case 10:
                form.text("content", low=1, high=MAX_TEXT, required=True)
            case 11:
                self._described_media(form, "media")
            case 12:
                for item in form.forms("items", low=1, high=10, required=True) or []:
                    self._described_media(item, "media")
            case 13:
                self._media(form, "file", attachment_only=True)
            case 17:
                for child in form.forms("components", low=1, high=MAX_COMPONENTS, required=True) or []:
                    self.check(child, IN_CONTAINER)
            case 18:
                self._label(form)
            case kind if kind in SELECTS:
                self._select(form, kind)

    def check_totals(self, form: Form, tree: list[Json]) -> None:
        nodes = list(walk(tree))
        if len(nodes) > MAX_COMPONENTS:
            message = f"The total number of components in this message exceeds the maximum of {MAX_COMPONENTS}."
            form.complain("components", "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", message)
        text = sum(len(n["content"]) for n in nodes if n.get("type") == TEXT and isinstance(n.get("content"), str))
        if text > MAX_TEXT:
            message = f"The total displayable text in this message exceeds the maximum of {MAX_TEXT}."
            form.complain("components", "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", message)

    def _row(self, form: Form, modal: bool) -> None:
        children = form.forms("components", low=1, high=5, required=True) or []
        for child in children:
            self.check(child, {TEXT_INPUT} if modal else SELECTS | {BUTTON})
        if len(children) > 1 and any(c.body.get("type") != BUTTON for c in children):
            form.complain(
                "components", "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "The specified component exceeds the maximum width"
            )

    def _button(self, form: Form) -> None:
        style = form.choice("style", range(1, 7), required=True)
        label = form.text("label", high=80)
        if style == LINK_STYLE:
            self._web_address(form, "url")
        elif style == PREMIUM_STYLE:
            form.snowflake("sku_id", required=True)
        elif style is not None:
            if form.body.get("custom_id") is None:
                form.complain("custom_id", "BUTTON_COMPONENT_CUSTOM_ID_REQUIRED", "A custom id is required")
            else:
                self._custom_id(form)
        emoji = form.form("emoji")
        if emoji is not None:
            emoji.text("name", high=32)
            emoji.snowflake("id")
        if style != PREMIUM_STYLE and not label and not form.body.get("emoji"):
            form.complain("label", "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A label or emoji is required")

    def _select(self, form: Form, kind: int) -> None:
        self._custom_id(form)
        form.text("placeholder", high=150)
        self._bounds(form)
        if kind == CHANNEL_SELECT:
            form.choices("channel_types", CHANNEL_TYPES)
        if kind != SELECT:
            return
        values: set[str] = set()
        for option in form.forms("options", low=1, high=25, required=True) or []:
            option.text("label", low=1, high=100, required=True)
            option.text("description", high=100)
            value = option.text("value", low=1, high=100, required=True)
            if value in values:
                option.complain(
                    "value", "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", "The specified option value is already used"
                )
            values.add(value or "")

    def _bounds(self, form: Form) -> None:
        low = form.integer("min_values", high=25, default=1)
        high = form.integer("max_values", low=1, high=25, default=1)
        form.normalize("min_values", low)
        form.normalize("max_values", high)
        if low is not None and high is not None and low > high:
            form.complain("min_values", "SELECT_COMPONENT_MIN_VALUES_EXCEEDS_MAX", "min_values exceeds max_values")

    def _text_input(self, form: Form) -> None:
        self._custom_id(form)
        form.normalize("min_length", form.integer("min_length", high=4000))
        form.normalize("max_length", form.integer("max_length", low=1, high=4000))
        form.text("value", high=4000)
        form.text("placeholder", high=100)

    def _section(self, form: Form) -> None:
        for child in form.forms("components", low=1, high=3, required=True) or []:
            self.check(child, {TEXT})
        accessory = form.form("accessory", required=True)
        if accessory is not None:
            self.check(accessory, {BUTTON, THUMBNAIL})

    def _label(self, form: Form) -> None:
        form.text("label", low=1, high=45, required=True)
        form.text("description", high=100)
        child = form.form("component", required=True)
        if child is not None:
            self.check(child, IN_LABEL)

    def _custom_id(self, form: Form) -> None:
        custom_id = form.text("custom_id", low=1, high=100, required=True)
        if custom_id is None:
            return
        if custom_id in self._custom_ids:
            form.complain("custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
        self._custom_ids.add(custom_id)

    def _described_media(self, form: Form, name: str) -> None:
        form.text("description", high=1024)
        self._media(form, name)

    def _media(self, form: Form, name: str, attachment_only: bool = False) -> None:
        media = form.form(name, required=True)
        if media is None:
            return
        url = media.body.get("url")
        if isinstance(url, str) and url.startswith("attachment://"):
            if url.removeprefix("attachment://") not in self._files:
                code = "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND"
                media.complain("url", code, f"The referenced attachment '{url}' was not found")
        elif attachment_only:
            media.complain(
                "url", "UNFURLED_MEDIA_ITEM_ATTACHMENT_REQUIRED", "Only attachment:// references are allowed"
            )
        else:
            self._web_address(media, "url", high=2048)

    def _web_address(self, form: Form, name: str, high: int = 512) -> None:
        url = form.text(name, low=1, high=high, required=True)
        if url is not None and not url.startswith(("http://", "https://", "discord://")):
            message = "Scheme \"\" must be one of ('http', 'https', 'discord')."
            form.complain(name, "URL_TYPE_INVALID_SCHEME", message)


def _number(tree: list[Json]) -> None:
    """Discord numbers the components that came without an id."""
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
    """Discord gives back what was left out, with its defaults."""
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
