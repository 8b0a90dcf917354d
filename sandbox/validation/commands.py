"""The rules of application commands: names, descriptions, options, choices and their numbers."""

from __future__ import annotations

import unicodedata

from sandbox.validation.components import CHANNEL_TYPES
from sandbox.validation.forms import Form
from sandbox.world import Json

SLASH, USER_MENU, MESSAGE_MENU = 1, 2, 3
SUBCOMMAND, GROUP = 1, 2
OPTION_TYPES = frozenset(range(1, 12))
CHOICE_TYPES = frozenset({3, 4, 10})
MAX_OPTIONS = 25
MAX_CHARACTERS = 8000
MAX_OF_TYPE = {SLASH: 100, USER_MENU: 15, MESSAGE_MENU: 15}


def check_command(form: Form) -> dict[str, Json]:
    """A command's body with Discord's defaults filled in, without id and version. Complaints land in the form."""
    kind = form.choice("type", (1, 2, 3)) or SLASH
    name = form.text("name", low=1, high=32, required=True)
    if kind == SLASH:
        if name is not None and not is_slash_name(name):
            form.complain("name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
        description = form.text("description", low=1, high=100, required=True)
        _check_options(form, depth=0)
    else:
        description = ""
        if form.body.get("description"):
            message = "Context menu commands cannot have description"
            form.complain("description", "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION", message)
        if form.body.get("options"):
            message = "Context menu commands cannot have options"
            form.complain("options", "APPLICATION_COMMAND_CONTEXT_MENU_OPTIONS", message)
    body: dict[str, Json] = {
        "type": kind,
        "name": name,
        "description": description or "",
        "default_member_permissions": _permissions(form),
        "nsfw": form.boolean("nsfw"),
        "dm_permission": form.boolean("dm_permission", default=True),
        "contexts": form.choices("contexts", (0, 1, 2), low=1),
        "integration_types": form.choices("integration_types", (0, 1), low=1) or [0],
        **_localizations(form),
    }
    if kind == SLASH and form.body.get("options"):
        body["options"] = form.body["options"]
    if kind == SLASH and not form.errors:
        _check_size(form)
    return body


def check_counts(form: Form, commands: list[dict[str, Json]]) -> None:
    """How many of a type there may be, and that none has its name twice."""
    seen: set[tuple[int, str]] = set()
    for position, command in enumerate(commands):
        key = (command["type"], command["name"])
        if key in seen:
            message = "Application command names must be unique"
            form.errors.add((position,), "APPLICATION_COMMANDS_DUPLICATE_NAME", message)
        seen.add(key)
    for kind, high in MAX_OF_TYPE.items():
        if sum(c["type"] == kind for c in commands) > high:
            form.errors.add((), "APPLICATION_COMMANDS_MAX", f"Maximum number of application commands reached ({high}).")


def is_slash_name(name: str) -> bool:
    """`^[-_'\\p{L}\\p{N}\\p{sc=Deva}\\p{sc=Thai}]{1,32}$`, lower-case where there is such a thing."""
    return 1 <= len(name) <= 32 and name == name.lower() and all(_is_name_character(c) for c in name)


def _is_name_character(character: str) -> bool:
    in_script = "\u0900" <= character <= "\u097f" or "\u0e00" <= character <= "\u0e7f"
    return character in "-_'" or in_script or unicodedata.category(character)[0] in "LN"


def _localizations(form: Form) -> dict[str, Json]:
    """The names and descriptions by locale, as they came; each must be a text."""
    found: dict[str, Json] = {}
    for name, high in (("name_localizations", 32), ("description_localizations", 100)):
        inner = form.form(name)
        found[name] = None
        if inner is not None:
            for locale in inner.body:
                inner.text(locale, high=high)
            found[name] = inner.body
    return found


def _check_options(form: Form, depth: int) -> None:
    names: set[str] = set()
    optional_seen = False
    for option in form.forms("options", high=MAX_OPTIONS) or []:
        kind = option.choice("type", OPTION_TYPES, required=True)
        name = option.text("name", low=1, high=32, required=True)
        option.text("description", low=1, high=100, required=True)
        _localizations(option)
        if name is not None and not is_slash_name(name):
            option.complain("name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
        if name in names:
            option.complain("name", "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option name already exists")
        names.add(name or "")
        required = option.boolean("required")
        if required and optional_seen:
            message = "Required options must be placed before non-required options"
            option.complain("required", "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", message)
        optional_seen |= not required
        if kind in (SUBCOMMAND, GROUP):
            if depth > 1 or (kind == GROUP and depth > 0):
                option.complain(
                    "type", "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Sub-command option is nested too deep"
                )
            else:
                _check_options(option, depth + (2 if kind == SUBCOMMAND else 1))
        elif kind is not None:
            _check_value_rules(option, kind)


def _check_value_rules(option: Form, kind: int) -> None:
    choices = option.forms("choices", high=25) or []
    autocomplete = option.boolean("autocomplete")
    if (choices or autocomplete) and kind not in CHOICE_TYPES:
        message = "Choices and autocomplete are for strings and numbers"
        option.complain("choices", "APPLICATION_COMMAND_OPTIONS_CHOICES_INVALID", message)
    if choices and autocomplete:
        option.complain(
            "autocomplete", "APPLICATION_COMMAND_AUTOCOMPLETE_CHOICES", "Cannot have choices with autocomplete"
        )
    for choice in choices:
        choice.text("name", low=1, high=100, required=True)
        _localizations(choice)
        if kind == 3:
            choice.text("value", low=1, high=6000, required=True)
        elif choice.number("value") is None:
            choice.complain("value", "BASE_TYPE_REQUIRED", "This field is required")
    option.normalize("min_length", option.integer("min_length", high=6000))
    option.normalize("max_length", option.integer("max_length", low=1, high=6000))
    option.number("min_value")
    option.number("max_value")
    option.choices("channel_types", CHANNEL_TYPES)


def _check_size(form: Form) -> None:
    if _characters(form.body) > MAX_CHARACTERS:
        message = f"Command exceeds maximum size ({MAX_CHARACTERS})"
        form.errors.add(form.path, "APPLICATION_COMMAND_TOO_LARGE", message)


def _characters(node: Json) -> int:
    """Names, descriptions and values, each with its longest localisation alone."""
    total = 0
    for field in ("name", "description"):
        texts = [node.get(field), *(node.get(f"{field}_localizations") or {}).values()]
        total += max((len(t) for t in texts if isinstance(t, str)), default=0)
    if isinstance(node.get("value"), str):
        total += len(node["value"])
    inner = [*(node.get("options") or []), *(node.get("choices") or [])]
    return total + sum(_characters(n) for n in inner if isinstance(n, dict))


def _permissions(form: Form) -> str | None:
    value = form.integer("default_member_permissions", high=(1 << 63) - 1)
    return None if value is None else str(value)
