"""The rules of modals: what a bot may ask in one, and what a user may answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sandbox.state import Json
from sandbox.validation.forms import Form
from sandbox.validation.layout import ROW, TEXT, number
from sandbox.validation.selects import SELECTS, are_choices, check_bounds, check_choices, check_select

TEXT_INPUT, LABEL, FILE_UPLOAD = 4, 18, 19
RADIO_GROUP, CHECKBOX_GROUP, CHECKBOX = 21, 22, 23
IN_LABEL = SELECTS | {TEXT_INPUT, FILE_UPLOAD, RADIO_GROUP, CHECKBOX_GROUP, CHECKBOX}
AT_TOP = frozenset({ROW, TEXT, LABEL})
MAX_ITEMS = 5
"""Of a modal. Discord's clients show no more; its description allows 40 components."""
MAX_INPUT = 4000


def check_modal(form: Form) -> dict[str, Json]:
    """`{"custom_id", "title", "components"}` with ids and defaults. Adds errors to the form."""
    modal: dict[str, Json] = {
        "custom_id": form.text("custom_id", low=1, high=100, required=True),
        "title": form.text("title", low=1, high=45, required=True),
    }
    custom_ids: set[str] = set()
    items = form.forms("components", low=1, high=MAX_ITEMS, required=True) or []
    for item in items:
        kind = _kind(item, AT_TOP)
        item.replace_value("id", item.integer("id", high=(1 << 31) - 1))
        if kind == TEXT:
            item.text("content", low=1, high=4000, required=True)
        elif kind == LABEL:
            item.text("label", low=1, high=45, required=True)
            item.text("description", low=1, high=100)
            inner = item.form("component", required=True)
            if inner is not None:
                _check_input(inner, IN_LABEL, custom_ids)
        elif kind == ROW:
            for inner in item.forms("components", low=1, high=1, required=True) or []:
                _check_input(inner, SELECTS | {TEXT_INPUT}, custom_ids)
                if inner.body.get("type") == TEXT_INPUT:
                    inner.text("label", low=1, high=45, required=True)
    modal["components"] = [item.body for item in items]
    if not form.errors:
        number(modal["components"])
    return modal


def inputs_of(modal: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    for item in modal["components"]:
        if item["type"] == LABEL:
            yield item["component"]
        elif item["type"] == ROW:
            yield from item["components"]


def check_answers(form: Form, modal: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    """By custom id: what the user entered, as `{"value"}` or `{"values"}`. Adds errors to the form."""
    entered = [inner for item in form.forms("components", high=40) or [] for inner in _inner(item)]
    given = {str(inner.body.get("custom_id")): inner for inner in entered}
    answers: dict[str, dict[str, Json]] = {}
    for asked in inputs_of(modal):
        inner = given.get(asked["custom_id"]) or Form({}, form.errors, (*form.path, "components"))
        answers[asked["custom_id"]] = _answer(inner, asked)
    return answers


def submitted(modal: Mapping[str, Json], answers: Mapping[str, Mapping[str, Json]]) -> list[dict[str, Json]]:
    """The `components` that the bot receives: the modal's structure with what was entered."""

    def answered(asked: Mapping[str, Json]) -> dict[str, Json]:
        custom_id = asked["custom_id"]
        return {"type": asked["type"], "id": asked["id"], "custom_id": custom_id, **answers[custom_id]}

    found: list[dict[str, Json]] = []
    for item in modal["components"]:
        about = {"type": item["type"], "id": item["id"]}
        if item["type"] == LABEL:
            about["component"] = answered(item["component"])
        elif item["type"] == ROW:
            about["components"] = [answered(inner) for inner in item["components"]]
        found.append(about)
    return found


def _kind(form: Form, allowed: frozenset[int]) -> int | None:
    kind = form.body.get("type")
    if type(kind) is int and kind in allowed:
        return kind
    listed = ", ".join(str(a) for a in sorted(allowed))
    form.add_error("type", "UNION_TYPE_CHOICES", f'Value of field "type" must be one of ({listed}).')
    return None


def _check_input(form: Form, allowed: frozenset[int], custom_ids: set[str]) -> None:
    kind = _kind(form, allowed)
    form.replace_value("id", form.integer("id", high=(1 << 31) - 1))
    custom_id = form.text("custom_id", low=1, high=100, required=True)
    if custom_id in custom_ids:
        form.add_error("custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
    custom_ids.add(custom_id or "")
    if form.boolean("disabled"):
        form.add_error("disabled", "COMPONENT_CANNOT_BE_DISABLED", "Components in modals cannot be disabled")
    required = form.boolean("required", default=True)
    if kind != CHECKBOX:
        form.body["required"] = required
    match kind:
        case 4:
            _check_text_input(form)
        case 19:
            low, high = check_bounds(form, 10)
            form.body |= {"min_values": low, "max_values": high}
        case 21:
            if check_choices(form, low=2, high=10) > 1:
                form.add_error("options", "BASE_TYPE_BAD_LENGTH", "Only one option can be the default.")
        case 22:
            check_choices(form, low=1, high=10)
            offered = form.array("options", high=10) or []
            form.body["max_values"] = form.integer("max_values", low=1, high=10) or len(offered)
            form.body["min_values"] = form.integer("min_values", high=10, default=int(required))
        case 23:
            form.body["default"] = form.boolean("default")
        case _ if kind in SELECTS:
            check_select(form, kind)
            form.body.setdefault("min_values", 1)
            form.body.setdefault("max_values", 1)


def _check_text_input(form: Form) -> None:
    form.choice("style", (1, 2), required=True)
    form.text("placeholder", high=100)
    low = form.integer("min_length", high=MAX_INPUT)
    high = form.integer("max_length", low=1, high=MAX_INPUT)
    form.text("value", high=high or MAX_INPUT)
    if low is not None and high is not None and low > high:
        form.add_error("min_length", "BASE_TYPE_BAD_LENGTH", "min_length exceeds max_length")


def _inner(item: Form) -> list[Form]:
    component = item.form("component")
    return [component] if component is not None else item.forms("components", high=1) or []


def _answer(form: Form, asked: Mapping[str, Json]) -> dict[str, Json]:
    kind = asked["type"]
    required = asked.get("required", True)
    if kind == TEXT_INPUT:
        return {"value": _text_answer(form, asked)}
    if kind == CHECKBOX:
        return {"value": form.boolean("value")}
    if kind == RADIO_GROUP:
        value = form.text("value", high=100)
        if (value is None and required) or (value is not None and value not in {o["value"] for o in asked["options"]}):
            _reject(form, "value")
        return {"value": value}
    values = form.array("values", high=25) or []
    if kind == FILE_UPLOAD:
        asked = {**asked, "options": [{"value": v} for v in values]}
    if not are_choices(asked, values, optional=not required):
        _reject(form, "values")
    return {"values": values}


def _text_answer(form: Form, asked: Mapping[str, Json]) -> str:
    low = max(asked.get("min_length") or 0, int(asked.get("required", True)))
    high = asked.get("max_length") or MAX_INPUT
    value = form.body.get("value")
    if value in (None, "") and not asked.get("required", True):
        return ""
    return form.text("value", low=low, high=high, required=True) or ""


def _reject(form: Form, name: str) -> None:
    form.add_error(name, "COMPONENT_VALIDATION_FAILED", "Component validation failed")
