"""The rules of select menus, in messages and modals, and of what users choose in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sandbox.state import Json
from sandbox.validation.forms import Form, as_snowflake

STRING_SELECT, USER_SELECT, ROLE_SELECT, MENTIONABLE_SELECT, CHANNEL_SELECT = 3, 5, 6, 7, 8
DEFAULT_TYPES: Mapping[int, tuple[str, ...]] = {
    USER_SELECT: ("user",),
    ROLE_SELECT: ("role",),
    MENTIONABLE_SELECT: ("user", "role"),
    CHANNEL_SELECT: ("channel",),
}
"""By the type of a select: what its default values may be."""
SELECTS = frozenset({STRING_SELECT, *DEFAULT_TYPES})
CHANNEL_TYPES = frozenset({0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16})
MAX_VALUES = 25


def check_select(form: Form, kind: int) -> None:
    """Adds errors to the form. The custom id is checked by the caller."""
    form.text("placeholder", high=150)
    low, high = check_bounds(form, MAX_VALUES)
    if kind == CHANNEL_SELECT:
        form.choices("channel_types", CHANNEL_TYPES)
    if kind == STRING_SELECT:
        name, defaults, low = "options", check_choices(form, low=1, high=MAX_VALUES), 0
    else:
        name, defaults = "default_values", _check_default_values(form, kind)
    # No default at all is allowed, whatever the bounds.
    if defaults and low is not None and high is not None and not low <= defaults <= high:
        form.add_error(name, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")


def check_bounds(form: Form, limit: int) -> tuple[int | None, int | None]:
    """min_values and max_values, both 1 unless given."""
    low = form.integer("min_values", high=limit, default=1)
    high = form.integer("max_values", low=1, high=limit, default=1)
    form.replace_value("min_values", low)
    form.replace_value("max_values", high)
    if low is not None and high is not None and low > high:
        form.add_error("min_values", "SELECT_COMPONENT_MIN_VALUES_EXCEEDS_MAX", "min_values exceeds max_values")
    return low, high


def check_choices(form: Form, *, low: int, high: int) -> int:
    """The `options`; returns how many are chosen by default."""
    values: set[str] = set()
    defaults = 0
    for option in form.forms("options", low=low, high=high, required=True) or []:
        option.text("label", low=1, high=100, required=True)
        option.text("description", high=100)
        value = option.text("value", low=1, high=100, required=True)
        defaults += option.boolean("default")
        emoji = option.form("emoji")
        if emoji is not None:
            emoji.text("name", high=32)
            emoji.snowflake("id")
        if value in values:
            option.add_error(
                "value", "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", "The specified option value is already used"
            )
        values.add(value or "")
    return defaults


def _check_default_values(form: Form, kind: int) -> int:
    defaults = form.forms("default_values", high=MAX_VALUES) or []
    for value in defaults:
        found = value.snowflake("id", required=True)
        value.replace_value("id", str(found))
        name = value.text("type", high=20, required=True)
        if name is not None and name not in DEFAULT_TYPES[kind]:
            listed = ", ".join(f"'{n}'" for n in DEFAULT_TYPES[kind])
            value.add_error("type", "BASE_TYPE_CHOICES", f"Value must be one of {{{listed}}}.")
    return len(defaults)


def are_choices(select: Mapping[str, Json], chosen: Collection[object], *, optional: bool = False) -> bool:
    """Whether a user may choose these values. `optional`: none at all may be chosen, whatever the minimum."""
    low, high = select.get("min_values", 1), select.get("max_values", 1)
    if not (low <= len(chosen) <= high or (optional and not chosen)) or len({str(c) for c in chosen}) < len(chosen):
        return False
    if not all(isinstance(c, str) for c in chosen):
        return False
    if select["type"] in DEFAULT_TYPES:
        return all(as_snowflake(c) is not None for c in chosen)
    return set(chosen) <= {o["value"] for o in select.get("options") or []}
