"""What a person filled into a command's options, held against the command's own description of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sandbox.validation.forms import Form, as_snowflake
from sandbox.world import Json

STRING, INTEGER, BOOLEAN, CHANNEL, NUMBER, ATTACHMENT = 3, 4, 5, 7, 10, 11
ENTITIES = frozenset({6, 7, 8, 9})
NESTING = frozenset({1, 2})


def check_options(form: Form, schema: list[Json], channels: Mapping[int, int], *, partial: bool) -> None:
    """`channels`: the server's, id to type. `partial`: an autocomplete request, whose values are being typed still."""
    known = {o["name"]: o for o in schema}
    given: set[str] = set()
    for option in form.forms("options", high=25) or []:
        name = option.text("name", low=1, high=32, required=True)
        rule = known.get(name or "")
        kind = option.body.get("type")
        if rule is None or type(kind) is not int or kind != rule["type"]:
            option.complain("name", "APPLICATION_COMMAND_OPTION_UNKNOWN", "This command is outdated, please try again")
            continue
        given.add(rule["name"])
        if rule["type"] in NESTING:
            check_options(option, rule.get("options") or [], channels, partial=partial)
        elif not partial:
            _check_value(option, rule, channels)
    if partial:
        return
    for rule in schema:
        if rule.get("required") and rule["name"] not in given:
            form.complain("options", "BASE_TYPE_REQUIRED", f"The option '{rule['name']}' is required")


def values(options: list[Json]) -> Iterator[dict[str, Json]]:
    """The filled options of a command, out of their subcommands."""
    for option in options:
        if option.get("type") in NESTING:
            yield from values(option.get("options") or [])
        else:
            yield option


def _check_value(option: Form, rule: dict[str, Json], channels: Mapping[int, int]) -> None:
    kind = rule["type"]
    choices = [c["value"] for c in rule.get("choices") or []]
    value = option.body.get("value")
    if choices and value not in choices:
        option.complain("value", "APPLICATION_COMMAND_OPTION_CHOICE", "Value is not one of the choices")
    elif kind == STRING:
        low = max(1, rule.get("min_length") or 1) if rule.get("required") else rule.get("min_length") or 0
        option.text("value", low=low, high=rule.get("max_length") or 6000, required=True)
    elif kind in (INTEGER, NUMBER):
        _check_number(option, rule, value)
    elif kind == BOOLEAN and not isinstance(value, bool):
        option.complain("value", "BOOLEAN_TYPE_CONVERT", "Must be either true or false.")
    elif kind in ENTITIES and as_snowflake(value) is None:
        option.complain("value", "NUMBER_TYPE_COERCE", f'Value "{value}" is not snowflake.')
    elif kind == CHANNEL:
        _check_channel(option, rule, channels.get(as_snowflake(value) or 0))


def _check_channel(option: Form, rule: dict[str, Json], found: int | None) -> None:
    wanted = rule.get("channel_types")
    if found is None:
        option.complain("value", "APPLICATION_COMMAND_OPTION_CHANNEL_UNKNOWN", "There is no such channel here")
    elif wanted and found not in wanted:
        option.complain("value", "APPLICATION_COMMAND_OPTION_CHANNEL_TYPE", "This is not a channel of the right type")


def _check_number(option: Form, rule: dict[str, Json], value: Json) -> None:
    kinds = (int,) if rule["type"] == INTEGER else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        option.complain("value", "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number.')
        return
    low, high = rule.get("min_value"), rule.get("max_value")
    if low is not None and value < low:
        option.complain("value", "NUMBER_TYPE_MIN", f"Value should be greater than or equal to {low}.")
    if high is not None and value > high:
        option.complain("value", "NUMBER_TYPE_MAX", f"Value should be less than or equal to {high}.")
