"""Unit tests of the page's modules in a real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox.files import routes
from sandbox.previews import Samples
from sandbox.server import BUNDLED_SAMPLES
from tests.sandbox_page.browser import open_browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Modules:
    """Runs a snippet on the sandbox's origin; `m` is the requested module."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def ask(self, module: str, expression: str, argument: Any = None) -> Any:
        script = f"async (given) => {{ const m = await import('/{module}.js'); return ({expression}); }}"
        return await self._page.evaluate(script, argument)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def modules() -> AsyncIterator[Modules]:
    async def blank(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>modules</title>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", blank), *routes(Samples(BUNDLED_SAMPLES))])
    async with TestServer(app) as server, open_browser() as browser:
        page = await browser.new_page(locale="en-GB")
        await page.goto(str(server.make_url("/")))
        yield Modules(page)


NAMES = "{ user: (id) => id === '1' ? 'Ann' : null, role: () => null, channel: () => null, jump: () => {} }"
RENDER = f"""(() => {{
  const box = document.createElement('div');
  box.append(...m.markdown(given, {NAMES}));
  return box.innerHTML;
}})()"""


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "**<b onclick=x>hi</b>**",
        "[x](javascript:alert(1))",
    ],
)
async def test_html_in_a_message_stays_text(modules: Modules, text: str) -> None:
    html = await modules.ask("markdown", RENDER, text)
    for tag in ("<img", "<script", "<b ", "<a "):
        assert tag not in html


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **b *c*** d", "<strong>b <em>c</em></strong>"),
        ("~~gone~~ and `*code*`", "<s>gone</s> and <code>*code*</code>"),
        ("### Head\n-# small", '<div class="md-h3">Head</div><div class="md-small subtext">small</div>'),
        ("hello <@1>", '<span class="mention">@Ann</span>'),
        (r"\*not this\*", "*not this*"),
        ("- one\n- two", "<ul><li>one</li><li>two</li></ul>"),
        ("snake_case_name", "snake_case_name"),
        ("see https://example.org/a_b_c.", 'href="https://example.org/a_b_c"'),
        ("a\n\nb", "a\n\nb"),
        ("when <t:99999999999999>", "when &lt;t:99999999999999&gt;"),
        ("when <t:-99999999999999:R>", "when &lt;t:-99999999999999:R&gt;"),
        ("when <t:0:D>", '<time datetime="1970-01-01T00:00:00.000Z"'),
    ],
)
async def test_markdown_is_rendered_as_on_discord(modules: Modules, text: str, expected: str) -> None:
    assert expected in await modules.ask("markdown", RENDER, text)


DESK = f"{{ names: {NAMES}, press: () => null }}"
LINK_BUTTON = f"m.components([{{ type: 2, style: 5, label: 'Go', url: given }}], {DESK})[0].outerHTML"
EMBED_TITLE = f"m.embed({{ title: 'Go', url: given, author: {{ name: 'By', url: given }} }}, {NAMES}).outerHTML"
MASKED = f"""(() => {{
  const box = document.createElement('p');
  box.append(...[m.link(given, ['Go'], {NAMES})].flat());
  return box.innerHTML;
}})()"""


@pytest.mark.parametrize(
    ("module", "drawn"), [("components", LINK_BUTTON), ("embeds", EMBED_TITLE), ("markdown", MASKED)]
)
async def test_only_web_urls_become_links(modules: Modules, module: str, drawn: str) -> None:
    for address in (
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "blob:x",
        "//elsewhere.example",
        "",
    ):
        html = await modules.ask(module, drawn, address)
        assert "<a" not in html.replace("<article", "")
        assert "Go" in html
    assert 'href="https://example.org/x"' in await modules.ask(module, drawn, "https://example.org/x")


EMBED = f"m.embed(given, {NAMES}).innerText"


@pytest.mark.parametrize(("moment", "foot"), [("never", "Source"), ("1970-01-01T12:00:00Z", "1 January 1970")])
async def test_an_embed_shows_a_timestamp_only_if_it_has_one(modules: Modules, moment: str, foot: str) -> None:
    shown = await modules.ask("embeds", EMBED, {"footer": {"text": "Source"}, "timestamp": moment})
    assert foot in shown
    assert "Invalid" not in shown


async def test_relative_times_are_updated_and_fixed_times_are_not(modules: Modules) -> None:
    aged = RENDER.replace(
        "return",
        "for (const one of box.querySelectorAll('time')) one.textContent = 'old';"
        "m.freshenTimes(box); return [...box.querySelectorAll('time')].map((one) => one.textContent); return",
    )
    years_ago, fixed = await modules.ask("markdown", aged, "<t:0:R> <t:0:D>")
    assert years_ago.endswith("years ago")
    assert fixed == "old"


async def test_the_preview_of_a_reply_shows_the_names_of_mentioned_users(modules: Modules) -> None:
    shown = await modules.ask("markdown", f"m.plainText(given, {NAMES})", "**hello** <@1> and <@2>,\nsee <#3>")
    assert shown == "hello @Ann and @someone, see #a channel you cannot see"


async def test_ids_are_ordered_numerically(modules: Modules) -> None:
    assert await modules.ask("format", "['100', '99', '1000'].sort(m.compareIds)") == ["99", "100", "1000"]


async def test_images_are_only_loaded_from_the_sandbox(modules: Modules) -> None:
    origin = await modules.ask("format", "location.origin")
    ask = "given.map((one) => m.localUrl(one))"
    shown = await modules.ask(
        "format", ask, ["http://localhost:1/attachments/1/2/a.png?ex=1", "https://cdn.example/a.png", "/a.png", None]
    )
    assert shown == [f"{origin}/attachments/1/2/a.png?ex=1", None, f"{origin}/a.png", None]


COMMANDS = [
    {"id": "1", "name": "find", "type": 1, "description": "", "options": [{"type": 3, "name": "query"}]},
    {"id": "2", "name": "labels", "description": "", "options": [
        {"type": 1, "name": "list"},
        {"type": 1, "name": "add", "options": [
            {"type": 3, "name": "label"}, {"type": 4, "name": "place"}, {"type": 5, "name": "loud"},
        ]},
    ]},
    {"id": "3", "name": "Find similar pictures", "type": 3},
]  # fmt: skip


async def test_subcommands_are_listed_with_their_full_names(modules: Modules) -> None:
    names = await modules.ask("commands", "m.slashEntries(given).map((one) => one.name)", COMMANDS)
    assert names == ["find", "labels list", "labels add"]
    assert await modules.ask("commands", "m.messageCommands(given).map((one) => one.name)", COMMANDS) == [
        "Find similar pictures"
    ]


async def test_a_typed_command_is_split_from_its_text(modules: Modules) -> None:
    split = """(() => {
      const done = m.completeCommand(m.slashEntries(given[0]), given[1]);
      return done && [done.entry.name, done.rest];
    })()"""
    assert await modules.ask("commands", split, [COMMANDS, "/find a cat on a sofa"]) == ["find", "a cat on a sofa"]
    assert await modules.ask("commands", split, [COMMANDS, "/labels add red car"]) == ["labels add", "red car"]
    assert await modules.ask("commands", split, [COMMANDS, "/finder "]) is None


async def test_options_are_nested_and_typed_as_in_discords_api(modules: Modules) -> None:
    nest = (
        "m.nestOptions(m.slashEntries(given)[2], new Map([['place', '3'], ['label', 'x'], ['loud', 'true']]), 'label')"
    )
    assert await modules.ask("commands", nest, COMMANDS) == [
        {
            "type": 1,
            "name": "add",
            "options": [
                {"type": 3, "name": "label", "value": "x", "focused": True},
                {"type": 4, "name": "place", "value": 3},
                {"type": 5, "name": "loud", "value": True},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("wanted", "granted", "may"),
    [(None, "0", True), ("32", "2048", False), ("32", "2080", True), ("0", "32", False), ("0", "8", True)],
)
async def test_commands_are_hidden_from_members_without_their_permissions(
    modules: Modules, wanted: str | None, granted: str, may: bool
) -> None:
    ask = "m.mayUse({ default_member_permissions: given[0] }, { permissions: given[1] })"
    assert await modules.ask("rights", ask, [wanted, granted]) is may


STATE = """(() => {
  const state = new m.State();
  const club = { id: '9', name: 'Club', channels: [{ id: '5', type: 0 }], members: [] };
  state.apply('READY', { user: { id: '1' }, guilds: [club] });
  for (const [name, data] of given) state.apply(name, data);
  return state.list('5');
})()"""


def _message(message_id: str, **more: Any) -> dict[str, Any]:
    return {"id": message_id, "channel_id": "5", "author": {"id": "2"}, "content": "", "flags": 0, **more}


THREADS = """(() => {
  const state = new m.State();
  const channels = [{ id: '4', type: 4 }, { id: '5', type: 0, parent_id: '4' }, { id: '6', type: 0 }];
  const threads = [{ id: '7', type: 11, parent_id: '5' }, { id: '8', type: 12, parent_id: '6' }];
  state.apply('READY', { user: { id: '1' }, guilds: [{ id: '9', name: 'Club', channels, threads }] });
  state.apply('MESSAGE_CREATE', { id: '70', channel_id: '7', author: { id: '2' } });
  state.apply('CHANNEL_DELETE', { id: given, guild_id: '9' });
  return [[...state.guilds.get('9').channels.keys()], state.list('7').length, state.unread.has('7')];
})()"""


@pytest.mark.parametrize(("deleted", "left", "messages"), [("5", ["4", "6", "8"], 0), ("4", ["5", "6", "7", "8"], 1)])
async def test_deleting_a_channel_deletes_its_threads_but_deleting_a_category_keeps_its_channels(
    modules: Modules, deleted: str, left: list[str], messages: int
) -> None:
    assert await modules.ask("state", THREADS, deleted) == [left, messages, bool(messages)]


async def test_events_update_the_messages_in_order(modules: Modules) -> None:
    events = [
        ["MESSAGE_CREATE", _message("1000")],
        ["MESSAGE_CREATE", _message("999")],
        ["MESSAGE_CREATE", _message("1000")],
        ["MESSAGE_UPDATE", {"id": "999", "channel_id": "5", "content": "new"}],
        ["MESSAGE_CREATE", _message("1001")],
        ["MESSAGE_DELETE", {"id": "1001", "channel_id": "5"}],
    ]
    shown = await modules.ask("state", STATE, events)
    assert [(one["id"], one["content"]) for one in shown] == [("999", "new"), ("1000", "")]


async def test_reactions_count_up_and_down(modules: Modules) -> None:
    bird = {"channel_id": "5", "message_id": "7", "emoji": {"id": None, "name": "🐦"}}
    events = [
        ["MESSAGE_CREATE", _message("7")],
        ["MESSAGE_REACTION_ADD", {**bird, "user_id": "2"}],
        ["MESSAGE_REACTION_ADD", {**bird, "user_id": "1"}],
        ["MESSAGE_REACTION_REMOVE", {**bird, "user_id": "2"}],
    ]
    (message,) = await modules.ask("state", STATE, events)
    assert [(one["count"], one["me"]) for one in message["reactions"]] == [(1, True)]
    events.append(["MESSAGE_REACTION_REMOVE", {**bird, "user_id": "1"}])
    (message,) = await modules.ask("state", STATE, events)
    assert message["reactions"] == []


async def test_a_response_replaces_the_loading_message(modules: Modules) -> None:
    put = STATE.replace(
        "for (const",
        "state.put({ id: '50', nonce: 'n', local: 'waiting', channel_id: '5', author: {} }, true); for (const",
    )
    shown = await modules.ask("state", put, [["MESSAGE_CREATE", _message("60", nonce="n", flags=192)]])
    assert [one["id"] for one in shown] == ["60"]
