"""The rules of components: a tree that Discord refuses is refused here, and the place is named."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from sandbox.errors import ApiError
from sandbox.validation.components import check_message_components, check_modal
from sandbox.validation.forms import Form

TEXT = {"type": 10, "content": "x"}
UPLOAD = {"type": 18, "label": "l", "component": {"type": 19, "custom_id": "f"}}
PICTURE = {"media": {"url": "attachment://a.png"}}


def button(**more: Any) -> dict[str, Any]:
    return {"type": 2, "style": 1, "label": "go", "custom_id": "go", **more}


def row(*children: Any) -> dict[str, Any]:
    return {"type": 1, "components": list(children)}


def section(**more: Any) -> dict[str, Any]:
    return {"type": 9, "components": [TEXT], "accessory": {"type": 11, **PICTURE}, **more}


def refused(tree: list[Any], *, version_2: bool = True) -> set[str]:
    """The codes of the complaints."""
    form = Form({"components": deepcopy(tree)})
    check_message_components(form, version_2=version_2, files={"a.png"})
    try:
        form.settle()
    except ApiError as error:
        return set(_codes(error.more["errors"]))
    return set()


def _codes(node: Any) -> list[str]:
    own = [e["code"] for e in node.get("_errors", [])]
    return own + [c for key, inner in node.items() if key != "_errors" for c in _codes(inner)]


@pytest.mark.parametrize(
    "tree",
    [
        [TEXT],
        [section()],
        [{"type": 17, "accent_color": 5, "components": [section(), {"type": 14}, row(button())]}],
        [{"type": 12, "items": [PICTURE] * 10}],
        [{"type": 13, "file": {"url": "attachment://a.png"}}],
        [row(button(style=5, url="https://example.org", custom_id=None))],
        [row({"type": 3, "custom_id": "s", "options": [{"label": "a", "value": "a"}]})],
        [section() for _ in range(13)],
    ],
)
def test_good_layouts_pass(tree: list[Any]) -> None:
    assert refused(tree) == set()


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ([{"type": 2}], "UNION_TYPE_CHOICES"),
        ([{"type": "x"}], "UNION_TYPE_CHOICES"),
        ([{"type": 10}], "BASE_TYPE_REQUIRED"),
        ([{"type": 10, "content": "x" * 4001}], "BASE_TYPE_BAD_LENGTH"),
        ([{"type": 10, "content": "x" * 2500}] * 2, "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED"),
        ([TEXT] * 41, "BASE_TYPE_BAD_LENGTH"),
        ([section() for _ in range(14)], "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED"),
        ([{"type": 12, "items": [PICTURE] * 11}], "BASE_TYPE_BAD_LENGTH"),
        ([{"type": 12, "items": []}], "BASE_TYPE_BAD_LENGTH"),
        (
            [{"type": 12, "items": [{"media": {"url": "attachment://b.png"}}]}],
            "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND",
        ),
        ([{"type": 12, "items": [{"media": {"url": "javascript:alert(1)"}}]}], "URL_TYPE_INVALID_SCHEME"),
        ([{"type": 12, "items": [{**PICTURE, "description": "x" * 1025}]}], "BASE_TYPE_MAX_LENGTH"),
        ([{"type": 13, "file": {"url": "https://example.org/a.png"}}], "UNFURLED_MEDIA_ITEM_ATTACHMENT_REQUIRED"),
        ([row(button(custom_id="x" * 101))], "BASE_TYPE_BAD_LENGTH"),
        ([row(button(custom_id=None))], "BUTTON_COMPONENT_CUSTOM_ID_REQUIRED"),
        ([row(button(label=None))], "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED"),
        ([row(button(label="x" * 81))], "BASE_TYPE_MAX_LENGTH"),
        ([row(button(), button())], "COMPONENT_CUSTOM_ID_DUPLICATED"),
        ([row(*(button(custom_id=f"{n}") for n in range(6)))], "BASE_TYPE_BAD_LENGTH"),
        ([row(button(style=9))], "BASE_TYPE_CHOICES"),
        ([section(components=[TEXT] * 4)], "BASE_TYPE_BAD_LENGTH"),
        ([section(accessory=None)], "BASE_TYPE_REQUIRED"),
        ([{"type": 17, "components": [{"type": 17, "components": [TEXT]}]}], "UNION_TYPE_CHOICES"),
        ([{"type": 3, "custom_id": "s"}], "UNION_TYPE_CHOICES"),
        ([{**TEXT, "type": 10.0}], "UNION_TYPE_CHOICES"),
        ([{"type": []}], "UNION_TYPE_CHOICES"),
        ([row(button(style=1.0))], "BASE_TYPE_CHOICES"),
        ([row({"type": 8, "custom_id": "s", "channel_types": ["x"]})], "BASE_TYPE_CHOICES"),
        ([row(button(), {"type": 5, "custom_id": "u"})], "COMPONENT_LAYOUT_WIDTH_EXCEEDED"),
    ],
)
def test_bad_layouts_are_refused(tree: list[Any], code: str) -> None:
    assert code in refused(tree)


def test_without_version_2_only_rows_may_stand() -> None:
    assert refused([TEXT], version_2=False) == {"UNION_TYPE_CHOICES"}
    assert refused([row(button())], version_2=False) == set()


def test_components_are_numbered_and_completed() -> None:
    form = Form(
        {
            "components": [
                {"type": 17, "components": [{"type": 10, "content": "a", "id": 2}, {"type": 10, "content": "b"}]}
            ]
        }
    )
    [container] = check_message_components(form, version_2=True, files=())
    assert (container["id"], [c["id"] for c in container["components"]]) == (1, [2, 3])
    assert (container["accent_color"], container["spoiler"]) == (None, False)


def test_children_where_none_belong_are_left_out() -> None:
    form = Form({"components": [{**TEXT, "components": [{}], "accessory": {"type": 13}, "component": {}}]})
    [text] = check_message_components(form, version_2=True, files=())
    assert text == {"type": 10, "content": "x", "id": 1}


@pytest.mark.parametrize(
    ("modal", "good"),
    [
        ({"title": "t", "custom_id": "m", "components": [row({"type": 4, "custom_id": "a", "style": 1})]}, True),
        ({"title": "t", "custom_id": "m", "components": [UPLOAD]}, True),
        ({"title": "t" * 46, "custom_id": "m", "components": [row({"type": 4, "custom_id": "a"})]}, False),
        ({"title": "t", "custom_id": "m", "components": []}, False),
        ({"title": "t", "custom_id": "m", "components": [row(button())]}, False),
    ],
)
def test_forms_have_their_rules_too(modal: dict[str, Any], good: bool) -> None:
    form = Form(modal)
    check_modal(form)
    assert bool(form.errors) != good
