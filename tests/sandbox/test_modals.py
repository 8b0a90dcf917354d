"""Modals: what a bot may ask, who may answer, what the bot receives; and select menus, which modals may contain."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import deepcopy
from typing import Any

import pytest

from sandbox.responses import ApiError
from sandbox.server import Sandbox
from sandbox.validation.forms import Form
from sandbox.validation.modals import check_answers, check_modal, submitted
from tests.sandbox.images import png
from tests.sandbox.person import Person
from tests.sandbox.test_malformed import JUNK

Connect = Callable[[str], Awaitable[Person]]
SAY = {"name": "say", "description": "Says"}
CHOICES = [{"label": "A", "value": "a"}, {"label": "B", "value": "b", "default": True}]


def label(component: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": 18, "label": "Question", "component": component, **more}


def text(**more: Any) -> dict[str, Any]:
    return {"type": 4, "custom_id": "t", "style": 1, **more}


def modal(*components: Any, **more: Any) -> dict[str, Any]:
    return {"custom_id": "m", "title": "Questions", "components": list(components), **more}


def errors_of(content: dict[str, Any]) -> set[str]:
    """The paths of the errors, as `components.0.label`."""
    form = Form(deepcopy(content))
    check_modal(form)
    return _rejected(form)


def _rejected(form: Form) -> set[str]:
    try:
        form.raise_if_invalid()
    except ApiError as error:
        return set(_paths(error.errors, ""))
    return set()


def _paths(node: Any, path: str) -> list[str]:
    own = [path.lstrip(".")] if "_errors" in node else []
    return own + [p for key, inner in node.items() if key != "_errors" for p in _paths(inner, f"{path}.{key}")]


VALID: dict[str, dict[str, Any]] = {
    "text": label(text(min_length=1, max_length=10, value="ten", placeholder="p", required=False), description="d"),
    "string select": label({"type": 3, "custom_id": "s", "options": CHOICES}),
    "user select": label({"type": 5, "custom_id": "u", "default_values": [{"id": "1", "type": "user"}]}),
    "role select": label({"type": 6, "custom_id": "r", "max_values": 5}),
    "mentionable select": label({"type": 7, "custom_id": "n", "default_values": [{"id": "1", "type": "role"}]}),
    "channel select": label({"type": 8, "custom_id": "c", "channel_types": [0, 15]}),
    "file upload": label({"type": 19, "custom_id": "f", "min_values": 0, "max_values": 10, "required": False}),
    "radio group": label({"type": 21, "custom_id": "g", "options": CHOICES}),
    "checkbox group": label({"type": 22, "custom_id": "h", "options": CHOICES}),
    "checkbox": label({"type": 23, "custom_id": "x"}),
    "text display": {"type": 10, "content": "Read me"},
    "text in a row": {"type": 1, "components": [text(label="Old style")]},
}


@pytest.mark.parametrize("name", list(VALID))
def test_a_valid_modal_passes(name: str) -> None:
    assert errors_of(modal(VALID[name])) == set()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (modal(label(text()), title=""), "title"),
        (modal(label(text()), title="x" * 46), "title"),
        (modal(label(text()), custom_id="x" * 101), "custom_id"),
        (modal(), "components"),
        (modal(*(label(text(custom_id=f"{n}")) for n in range(6))), "components"),
        (modal(text()), "components.0.type"),
        (modal(label(text(), label="x" * 46)), "components.0.label"),
        (modal(label(text(), description="x" * 101)), "components.0.description"),
        (modal(label({"type": 2, "style": 1, "label": "b", "custom_id": "b"})), "components.0.component.type"),
        (modal({"type": 18, "label": "l"}), "components.0.component"),
        (modal({"type": 1, "components": [text()]}), "components.0.components.0.label"),
        (modal({"type": 10, "content": ""}), "components.0.content"),
        (modal(label(text()), label(text())), "components.1.component.custom_id"),
        (modal(label(text(style=3))), "components.0.component.style"),
        (modal(label(text(min_length=5, max_length=4))), "components.0.component.min_length"),
        (modal(label(text(max_length=4001))), "components.0.component.max_length"),
        (modal(label(text(max_length=3, value="four"))), "components.0.component.value"),
        (modal(label({**VALID["string select"]["component"], "disabled": True})), "components.0.component.disabled"),
        (modal(label({"type": 3, "custom_id": "s", "options": []})), "components.0.component.options"),
        (modal(label({"type": 19, "custom_id": "f", "max_values": 11})), "components.0.component.max_values"),
        (modal(label({"type": 21, "custom_id": "g", "options": CHOICES[:1]})), "components.0.component.options"),
        (
            modal(label({"type": 5, "custom_id": "u", "default_values": [{"id": "1", "type": "role"}]})),
            "components.0.component.default_values.0.type",
        ),
        (
            modal(
                label({"type": 6, "custom_id": "u", "default_values": [{"id": f"{n}", "type": "role"} for n in "12"]})
            ),
            "components.0.component.default_values",
        ),
    ],
)
def test_an_invalid_modal_is_rejected_at_its_field(content: dict[str, Any], place: str) -> None:
    assert errors_of(content) == {place}


def answered(component: dict[str, Any], **entered: Any) -> set[str]:
    """The errors of an answer to a modal with this one component."""
    form = Form(deepcopy(modal(label(component))))
    asked = check_modal(form)
    given = {"type": 18, "component": {"type": component["type"], "custom_id": component["custom_id"], **entered}}
    answer = Form({"components": [given]})
    check_answers(answer, asked)
    return _rejected(form) | _rejected(answer)


@pytest.mark.parametrize(
    ("component", "entered", "accepted"),
    [
        (text(), {"value": "x"}, True),
        (text(), {"value": ""}, False),
        (text(), {}, False),
        (text(required=False), {"value": ""}, True),
        (text(required=False, min_length=3), {"value": "ab"}, False),
        (text(required=False, min_length=3), {}, True),
        (text(max_length=2), {"value": "abc"}, False),
        (VALID["string select"]["component"], {"values": ["a"]}, True),
        (VALID["string select"]["component"], {"values": ["c"]}, False),
        (VALID["string select"]["component"], {"values": ["a", "b"]}, False),
        (VALID["string select"]["component"], {"values": []}, False),
        ({**VALID["string select"]["component"], "required": False}, {"values": []}, True),
        ({"type": 3, "custom_id": "s", "options": CHOICES, "max_values": 2}, {"values": ["a", "a"]}, False),
        (VALID["role select"]["component"], {"values": ["1", "2"]}, True),
        (VALID["role select"]["component"], {"values": ["x"]}, False),
        (VALID["file upload"]["component"], {"values": []}, True),
        ({"type": 19, "custom_id": "f"}, {"values": []}, False),
        ({"type": 19, "custom_id": "f"}, {"values": ["0", "1"]}, False),
        (VALID["radio group"]["component"], {"value": "a"}, True),
        (VALID["radio group"]["component"], {"value": "c"}, False),
        (VALID["radio group"]["component"], {}, False),
        (VALID["checkbox group"]["component"], {"values": ["a", "b"]}, True),
        (VALID["checkbox group"]["component"], {"values": []}, False),
        (VALID["checkbox"]["component"], {"value": True}, True),
        (VALID["checkbox"]["component"], {"value": "yes"}, False),
    ],
)
def test_an_answer_must_fit_what_was_asked(component: dict[str, Any], entered: dict[str, Any], accepted: bool) -> None:
    assert (answered(component, **entered) == set()) is accepted


def test_no_modal_and_no_answer_causes_anything_but_a_rejection() -> None:
    chance = random.Random(5)  # noqa: S311 - a test's data
    fields = ("type", "custom_id", "style", "value", "values", "options", "min_values", "max_values", "min_length")
    for _ in range(3000):
        item = deepcopy(chance.choice(list(VALID.values())))
        inner = item.get("component", item)
        for name in chance.sample((*fields, "default_values", "required", "id"), chance.randint(0, 3)):
            inner[name] = deepcopy(chance.choice(JUNK))
        form = Form(modal(item, **{chance.choice(("title", "custom_id", "x")): deepcopy(chance.choice(JUNK))}))
        asked = check_modal(form)
        if form.errors:
            assert _rejected(form)
            continue
        given = {"component": {"custom_id": inner.get("custom_id"), "value": chance.choice(JUNK)}}
        given["component"]["values"] = chance.choice(JUNK)
        answer = Form({"components": [given]})
        answers = check_answers(answer, asked)
        assert _rejected(answer) or submitted(asked, answers)


# Between a bot and a user


@pytest.fixture
async def bot(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with Person(sandbox.url, sandbox.bot_token, bot=True, intents=1 | 1 << 9 | 1 << 15) as client:
        await client.connect()
        await client.ok("PUT", f"/applications/{sandbox.application_id}/commands", [SAY])
        yield client


def callback(interaction: dict[str, Any]) -> str:
    return f"/interactions/{interaction['id']}/{interaction['token']}/callback?with_response=1"


async def opened(sandbox: Sandbox, bot: Person, member: Person, content: dict[str, Any]) -> dict[str, Any]:
    """The member's view of a modal that /say opens."""
    place = sandbox.channel("chat")
    mark, seen = len(bot.events), len(member.events)
    nonce = await member.slash(place.guild_id, place.id, "say")
    asked = await bot.event("INTERACTION_CREATE", since=mark)
    made = await bot.ok("POST", callback(asked), {"type": 9, "data": content})
    assert made == {"interaction": {"id": asked["id"], "type": 2}}
    await member.event("INTERACTION_SUCCESS", lambda d: d["nonce"] == nonce)
    return await member.event("INTERACTION_MODAL_CREATE", lambda d: d["nonce"] == nonce, since=seen)


def submission(shown: dict[str, Any], *entered: dict[str, Any], **more: Any) -> dict[str, Any]:
    components = [{"type": 18, "component": {"type": 4, **one}} for one in entered]
    return {
        "type": 5,
        "application_id": shown["application"]["id"],
        "channel_id": shown["channel_id"],
        "session_id": "s",
        "nonce": "n",
        "data": {"id": shown["id"], "custom_id": shown["custom_id"], "components": components, **more},
    }


async def test_a_modal_is_shown_and_its_answers_reach_the_bot(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem, bob = await person("cem"), await person("bob")
    chat = sandbox.channel("chat")
    everything = modal(
        {"type": 10, "content": "Hello"},
        label(text(max_length=10)),
        label({"type": 5, "custom_id": "u", "default_values": [{"id": str(sandbox.user("bob").id), "type": "user"}]}),
        label({"type": 8, "custom_id": "c"}),
        label({"type": 19, "custom_id": "f", "max_values": 2}),
    )
    shown = await opened(sandbox, bot, cem, everything)
    assert (shown["title"], shown["application"]["name"]) == ("Questions", "Magpie")
    assert [c["id"] for c in shown["components"]] == [1, 2, 4, 6, 8]
    assert shown["components"][1]["component"]["required"] is True
    assert shown["resolved"]["users"][str(sandbox.user("bob").id)]["username"] == "bob"
    uploads = [{**await cem.upload(chat.id, png(n, n), f"{n}.png"), "id": f"{n}"} for n in (1, 2)]
    mark = len(bot.events)
    entered = (
        {"custom_id": "t", "value": "typed"},
        {"type": 5, "custom_id": "u", "values": [str(sandbox.user("dora").id)]},
        {"type": 8, "custom_id": "c", "values": [str(chat.id)]},
        {"type": 19, "custom_id": "f", "values": ["2", "1"]},
    )
    await cem.ok("POST", "/interactions", submission(shown, *entered, attachments=uploads))
    received = await bot.event("INTERACTION_CREATE", since=mark)
    assert (received["type"], received["data"]["custom_id"]) == (5, "m")
    hello, typed, who, where, files = received["data"]["components"]
    assert hello == {"type": 10, "id": 1}
    assert typed == {"type": 18, "id": 2, "component": {"type": 4, "id": 3, "custom_id": "t", "value": "typed"}}
    resolved = received["data"]["resolved"]
    assert resolved["members"][who["component"]["values"][0]]["roles"] == []
    assert resolved["channels"][where["component"]["values"][0]]["name"] == "chat"
    names = [resolved["attachments"][v]["filename"] for v in files["component"]["values"]]
    assert names == ["2.png", "1.png"]
    url = resolved["attachments"][files["component"]["values"][1]]["url"]
    async with cem.http.get(url) as response:
        assert await response.read() == png(1, 1)
    await bot.ok("POST", callback(received), {"type": 4, "data": {"content": "thanks", "flags": 64}})
    thanks = await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "thanks")
    about = thanks["interaction_metadata"]
    assert (about["type"], about["triggering_interaction_metadata"]["name"]) == (5, "say")
    assert bob.count("INTERACTION_MODAL_CREATE") == 0


async def test_a_modal_is_answered_once_by_the_one_who_opened_it(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem, bob = await person("cem"), await person("bob")
    shown = await opened(sandbox, bot, cem, modal(label(text())))
    answer = submission(shown, {"custom_id": "t", "value": "x"})
    assert (await bob.call("POST", "/interactions", answer)).code == 10062
    for wrong in ({"id": "1"}, {"custom_id": "other"}):
        assert (await cem.call("POST", "/interactions", {**answer, "data": {**answer["data"], **wrong}})).code == 10062
    assert (await cem.call("POST", "/interactions", submission(shown))).code == 50035
    mark = len(bot.events)
    await cem.ok("POST", "/interactions", answer)
    received = await bot.event("INTERACTION_CREATE", since=mark)
    # Until the bot has responded the modal stays open, so that the user can send it again.
    await bot.ok("POST", callback(received), {"type": 5, "data": {"flags": 64}})
    assert (await cem.call("POST", "/interactions", answer)).code == 10062


async def test_a_modal_cannot_be_opened_by_a_modal_or_by_autocompletion(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem = await person("cem")
    shown = await opened(sandbox, bot, cem, modal(label(text())))
    mark = len(bot.events)
    await cem.ok("POST", "/interactions", submission(shown, {"custom_id": "t", "value": "x"}))
    received = await bot.event("INTERACTION_CREATE", since=mark)
    for kind in (9, 7, 6):
        refused = await bot.call("POST", callback(received), {"type": kind, "data": modal(label(text()))})
        assert (refused.code, list(refused.body["errors"])) == (50035, ["type"])


async def test_an_invalid_modal_is_refused_and_the_interaction_can_still_be_answered(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem = await person("cem")
    place = sandbox.channel("chat")
    await cem.slash(place.guild_id, place.id, "say")
    asked = await bot.event("INTERACTION_CREATE")
    refused = await bot.call("POST", callback(asked), {"type": 9, "data": modal(title=None)})
    assert (refused.code, list(refused.body["errors"]["data"])) == (50035, ["title", "components"])
    await bot.ok("POST", callback(asked), {"type": 9, "data": modal(label(text()))})


async def test_a_modal_that_a_button_opened_can_change_the_buttons_message(
    sandbox: Sandbox, bot: Person, person: Connect
) -> None:
    cem = await person("cem")
    place = sandbox.channel("chat")
    row = {"type": 1, "components": [{"type": 2, "style": 1, "label": "ask", "custom_id": "ask"}]}
    posted = await bot.say(place.id, "press", components=[row])
    mark = len(bot.events)
    press = {"component_type": 2, "custom_id": "ask"}
    await cem.interact(3, sandbox.application_id, place.id, press, message_id=posted["id"])
    pressed = await bot.event("INTERACTION_CREATE", since=mark)
    await bot.ok("POST", callback(pressed), {"type": 9, "data": modal(label(text()))})
    shown = await cem.event("INTERACTION_MODAL_CREATE")
    mark = len(bot.events)
    await cem.ok("POST", "/interactions", submission(shown, {"custom_id": "t", "value": "x"}))
    received = await bot.event("INTERACTION_CREATE", since=mark)
    assert received["message"]["id"] == posted["id"]
    await bot.ok("POST", callback(received), {"type": 7, "data": {"content": "answered", "components": []}})
    await cem.event("MESSAGE_UPDATE", lambda d: d["content"] == "answered" and d["id"] == posted["id"])


async def test_a_select_menu_gives_the_bot_what_was_chosen(sandbox: Sandbox, bot: Person, person: Connect) -> None:
    cem, dora = await person("cem"), await person("dora")
    place = sandbox.channel("chat")
    regular = next(r for r in sandbox.guild("The Nest").roles.values() if r.name == "Regular")
    bob = str(sandbox.user("bob").id)
    for kind, values, where in (
        (5, [bob], {"users", "members"}),
        (6, [str(regular.id)], {"roles"}),
        (7, [bob, str(regular.id)], {"users", "members", "roles"}),
        (8, [str(sandbox.channel("regulars").id)], {"channels"}),
    ):
        row = {"type": 1, "components": [{"type": kind, "custom_id": "pick", "max_values": 2}]}
        posted = await bot.say(place.id, "pick", components=[row])
        mark = len(bot.events)
        chosen = {"component_type": kind, "custom_id": "pick", "values": values}
        await cem.interact(3, sandbox.application_id, place.id, chosen, message_id=posted["id"])
        received = await bot.event("INTERACTION_CREATE", since=mark)
        assert received["data"]["values"] == values
        assert set(received["data"]["resolved"]) == where
        assert {i for found in received["data"]["resolved"].values() for i in found} == set(values)
    body = {
        "type": 3,
        "application_id": str(sandbox.application_id),
        "channel_id": str(place.id),
        "session_id": "s",
        "nonce": "n",
        "message_id": posted["id"],
        "data": {"component_type": 8, "custom_id": "pick", "values": values},
    }
    assert (await dora.call("POST", "/interactions", body)).code == 50035
