"""The rules of application commands: their definitions, and the option values that users send."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from sandbox.state import Json
from sandbox.validation.forms import Form, as_snowflake
from sandbox.validation.selects import CHANNEL_TYPES

SLASH, USER_MENU, MESSAGE_MENU = 1, 2, 3
SUBCOMMAND, GROUP, STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(1, 12)
OPTION_TYPES = frozenset(range(1, 12))
CHOICE_TYPES = frozenset({STRING, INTEGER, NUMBER})
MAX_OPTIONS = 25
MAX_CHARACTERS = 8000
MAX_OF_TYPE = {SLASH: 100, USER_MENU: 15, MESSAGE_MENU: 15}


def check_command(form: Form) -> dict[str, Json]:
    """The command's body with Discord's defaults, without id and version. Adds errors to the form."""
    kind = form.choice("type", (SLASH, USER_MENU, MESSAGE_MENU)) or SLASH
    name = form.text("name", low=1, high=32, required=True)
    if kind == SLASH:
        if name is not None and not is_slash_name(name):
            form.add_error("name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
        description = form.text("description", low=1, high=100, required=True)
        _check_options(form, depth=0)
    else:
        description = ""
        if form.body.get("description"):
            message = "Context menu commands cannot have description"
            form.add_error("description", "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION", message)
        if form.body.get("options"):
            message = "Context menu commands cannot have options"
            form.add_error("options", "APPLICATION_COMMAND_CONTEXT_MENU_OPTIONS", message)
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
    """Checks the number of commands of each type, and that no two have the same name."""
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
    """`^[-_'\\p{L}\\p{N}\\p{sc=Deva}\\p{sc=Thai}]{1,32}$`, in lower case where the script has one."""
    return 1 <= len(name) <= 32 and name == name.lower() and all(_is_name_character(c) for c in name)


def _is_name_character(character: str) -> bool:
    in_script = "\u0900" <= character <= "\u097f" or "\u0e00" <= character <= "\u0e7f"
    return character in "-_'" or in_script or unicodedata.category(character)[0] in "LN"


def _localizations(form: Form) -> dict[str, Json]:
    """The translated names and descriptions, unchanged; each must be a string."""
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
            option.add_error("name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
        if name in names:
            option.add_error("name", "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option name already exists")
        names.add(name or "")
        required = option.boolean("required")
        if required and optional_seen:
            message = "Required options must be placed before non-required options"
            option.add_error("required", "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", message)
        optional_seen |= not required
        if kind in (SUBCOMMAND, GROUP):
            if depth > 1 or (kind == GROUP and depth > 0):
                option.add_error(
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
        option.add_error("choices", "APPLICATION_COMMAND_OPTIONS_CHOICES_INVALID", message)
    if choices and autocomplete:
        option.add_error(
            "autocomplete", "APPLICATION_COMMAND_AUTOCOMPLETE_CHOICES", "Cannot have choices with autocomplete"
        )
    for choice in choices:
        choice.text("name", low=1, high=100, required=True)
        _localizations(choice)
        if kind == STRING:
            choice.text("value", low=1, high=6000, required=True)
        elif choice.number("value") is None:
            choice.add_error("value", "BASE_TYPE_REQUIRED", "This field is required")
    option.replace_value("min_length", option.integer("min_length", high=6000))
    option.replace_value("max_length", option.integer("max_length", low=1, high=6000))
    option.number("min_value")
    option.number("max_value")
    option.choices("channel_types", CHANNEL_TYPES)


def _check_size(form: Form) -> None:
    if _characters(form.body) > MAX_CHARACTERS:
        message = f"Command exceeds maximum size ({MAX_CHARACTERS})"
        form.errors.add(form.path, "APPLICATION_COMMAND_TOO_LARGE", message)


def _characters(node: Json) -> int:
    """Of names, descriptions and values; for each the longest localization counts."""
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


def check_options(form: Form, schema: list[Json], channels: Mapping[int, int], *, partial: bool) -> None:
    """Checks values against the command's options.

    `channels`: those that the user sees, id to type. `partial`: an autocomplete request, whose values are incomplete.
    """
    rules = {o["name"]: o for o in schema}
    given: set[str] = set()
    for option in form.forms("options", high=25) or []:
        name = option.text("name", low=1, high=32, required=True)
        rule = rules.get(name or "")
        kind = option.body.get("type")
        if rule is None or type(kind) is not int or kind != rule["type"]:
            option.add_error("name", "APPLICATION_COMMAND_OPTION_UNKNOWN", "This command is outdated, please try again")
            continue
        if rule["name"] in given:
            message = "Option name already exists"
            option.add_error("name", "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", message)
        given.add(rule["name"])
        if rule["type"] in (SUBCOMMAND, GROUP):
            check_options(option, rule.get("options") or [], channels, partial=partial)
        elif not partial:
            _check_value(option, rule, channels)
    if partial:
        return
    for rule in schema:
        if rule.get("required") and rule["name"] not in given:
            form.add_error("options", "BASE_TYPE_REQUIRED", f"The option '{rule['name']}' is required")


def option_values(options: list[Json]) -> Iterator[dict[str, Json]]:
    """The options with values, taken out of subcommands."""
    for option in options:
        if option.get("type") in (SUBCOMMAND, GROUP):
            yield from option_values(option.get("options") or [])
        else:
            yield option


def _check_value(option: Form, rule: dict[str, Json], channels: Mapping[int, int]) -> None:
    kind = rule["type"]
    choices = [c["value"] for c in rule.get("choices") or []]
    value = option.body.get("value")
    if choices and value not in choices:
        option.add_error("value", "APPLICATION_COMMAND_OPTION_CHOICE", "Value is not one of the choices")
    elif kind == STRING:
        low = max(1, rule.get("min_length") or 1) if rule.get("required") else rule.get("min_length") or 0
        option.text("value", low=low, high=rule.get("max_length") or 6000, required=True)
    elif kind in (INTEGER, NUMBER):
        _check_number(option, rule, value)
    elif kind == BOOLEAN and not isinstance(value, bool):
        option.add_error("value", "BOOLEAN_TYPE_CONVERT", "Must be either true or false.")
    elif kind in {USER, CHANNEL, ROLE, MENTIONABLE} and as_snowflake(value) is None:
        option.add_error("value", "NUMBER_TYPE_COERCE", f'Value "{value}" is not snowflake.')
    elif kind == CHANNEL:
        _check_channel(option, rule, channels.get(as_snowflake(value) or 0))


def _check_channel(option: Form, rule: dict[str, Json], found: int | None) -> None:
    wanted = rule.get("channel_types")
    if found is None:
        option.add_error("value", "APPLICATION_COMMAND_OPTION_CHANNEL_UNKNOWN", "There is no such channel here")
    elif wanted and found not in wanted:
        option.add_error("value", "APPLICATION_COMMAND_OPTION_CHANNEL_TYPE", "This is not a channel of the right type")


def _check_number(option: Form, rule: dict[str, Json], value: Json) -> None:
    kinds = (int,) if rule["type"] == INTEGER else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        option.add_error("value", "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number.')
        return
    low, high = rule.get("min_value"), rule.get("max_value")
    if low is not None and value < low:
        option.add_error("value", "NUMBER_TYPE_MIN", f"Value should be greater than or equal to {low}.")
    if high is not None and value > high:
        option.add_error("value", "NUMBER_TYPE_MAX", f"Value should be less than or equal to {high}.")
