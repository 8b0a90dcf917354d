"""Parses request bodies: JSON within bounds, and the fields of objects with Discord's error codes and messages."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime

from sandbox.responses import FormErrors
from sandbox.state import iso

MAX_DEPTH = 64
"""Far below Python's recursion limit, so that recursive functions are safe; Discord's bodies need about 12."""
Path = tuple[str | int, ...]


def parse_json(raw: bytes | str) -> object:
    """Raises ValueError for broken JSON, NaN and infinity, lone surrogates (not valid UTF-8) and deep nesting."""
    try:
        content = json.loads(raw)
        # Fails for NaN, infinity and lone surrogates.
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
    if level:
        raise ValueError("nested too deep")
    return content


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


class Form:
    """Reads the fields of one object and collects all errors, so that one response names all of them.

    The methods return None (or the default) for a field that is absent, null or invalid; `raise_if_invalid` raises for
    invalid ones.
    """

    def __init__(self, body: dict[str, object], errors: FormErrors | None = None, path: Path = ()) -> None:
        self.body = body
        self.errors = errors if errors is not None else FormErrors()
        self.path = path

    def raise_if_invalid(self) -> None:
        self.errors.raise_if_any()

    def has(self, name: str) -> bool:
        return name in self.body

    def add_error(self, name: str, code: str, message: str) -> None:
        self.errors.add((*self.path, name), code, message)

    def text(self, name: str, *, low: int = 0, high: int, required: bool = False) -> str | None:
        value = self._value(name, required)
        if value is None:
            return None
        if not isinstance(value, str):
            self.add_error(name, "STRING_TYPE_CONVERT", f'Could not interpret "{value}" as string.')
            return None
        if low <= len(value) <= high:
            return value
        if low:
            self.add_error(name, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")
        else:
            self.add_error(name, "BASE_TYPE_MAX_LENGTH", f"Must be {high} or fewer in length.")
        return None

    def snowflake(self, name: str, *, required: bool = False) -> int | None:
        value = self._value(name, required)
        if value is None:
            return None
        found = as_snowflake(value)
        if found is None:
            self.add_error(name, "NUMBER_TYPE_COERCE", f'Value "{value}" is not snowflake.')
        return found

    def replace_value(self, name: str, value: object) -> None:
        """Replaces what the client sent, which may be a number in quotation marks, by what was read."""
        if name in self.body:
            self.body[name] = value

    def snowflakes(self, name: str, *, high: int = 100) -> list[int] | None:
        values = self.array(name, high=high)
        if values is None:
            return None
        found = []
        for position, value in enumerate(values):
            snowflake = as_snowflake(value)
            if snowflake is None:
                message = f'Value "{value}" is not snowflake.'
                self.errors.add((*self.path, name, position), "NUMBER_TYPE_COERCE", message)
            else:
                found.append(snowflake)
        return found

    def integer(
        self, name: str, *, low: int = 0, high: int = (1 << 53) - 1, required: bool = False, default: int | None = None
    ) -> int | None:
        value = self._value(name, required)
        if value is None:
            return default
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.add_error(name, "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
            return default
        if value < low:
            self.add_error(name, "NUMBER_TYPE_MIN", f"int value should be greater than or equal to {low}.")
            return default
        if value > high:
            self.add_error(name, "NUMBER_TYPE_MAX", f"int value should be less than or equal to {high}.")
            return default
        return value

    def number(self, name: str) -> float | None:
        """An int or a float."""
        value = self._value(name, required=False)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        self.add_error(name, "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number.')
        return None

    def timestamp(self, name: str) -> float | None:
        """An ISO 8601 time as Unix seconds."""
        text = self.text(name, high=64)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
            seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
            iso(seconds)
        except (ValueError, OverflowError):
            self.add_error(name, "DATETIME_TYPE_CONVERT", f"{text} is not a valid ISO8601 datetime")
            return None
        return seconds

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.add_error(name, "BOOLEAN_TYPE_CONVERT", "Must be either true or false.")
            return default
        return value

    def choice(self, name: str, choices: Collection[int], *, required: bool = False) -> int | None:
        value = self._value(name, required)
        if value is None:
            return None
        if type(value) is not int or value not in choices:
            listed = ", ".join(str(c) for c in sorted(choices))
            self.add_error(name, "BASE_TYPE_CHOICES", f"Value must be one of {{{listed}}}.")
            return None
        return value

    def choices(self, name: str, choices: Collection[int], *, low: int = 0) -> list[int] | None:
        values = self.array(name, low=low, high=len(choices))
        if values is None:
            return None
        chosen = [v for v in values if type(v) is int and v in choices]
        if chosen != values:
            listed = ", ".join(str(c) for c in sorted(choices))
            self.add_error(name, "BASE_TYPE_CHOICES", f"Value must be one of {{{listed}}}.")
            return None
        return chosen

    def array(self, name: str, *, low: int = 0, high: int, required: bool = False) -> list[object] | None:
        value = self._value(name, required)
        if value is None:
            return None
        if not isinstance(value, list):
            self.add_error(name, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
            return None
        if not low <= len(value) <= high:
            self.add_error(name, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length.")
            return None
        return value

    def mapping(self, name: str, *, required: bool = False) -> dict[str, object] | None:
        value = self._value(name, required)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.add_error(name, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
            return None
        return value

    def forms(self, name: str, *, low: int = 0, high: int, required: bool = False) -> list[Form] | None:
        """A list of objects, each as a Form with its own path in the errors."""
        values = self.array(name, low=low, high=high, required=required)
        if values is None:
            return None
        found = []
        for position, value in enumerate(values):
            place = (*self.path, name, position)
            if isinstance(value, dict):
                found.append(Form(value, self.errors, place))
            else:
                self.errors.add(place, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return found

    def form(self, name: str, *, required: bool = False) -> Form | None:
        value = self.mapping(name, required=required)
        return None if value is None else Form(value, self.errors, (*self.path, name))

    def _value(self, name: str, required: bool) -> object:
        value = self.body.get(name)
        if value is None and required:
            self.add_error(name, "BASE_TYPE_REQUIRED", "This field is required")
        return value


def as_snowflake(value: object) -> int | None:
    """The id in a string of digits or a 63-bit integer; None for any other value."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < 1 << 63 else None
