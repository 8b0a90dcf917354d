"""Components and embeds: what Discord rejects is rejected with its error code, at the right field."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from sandbox.responses import ApiError
from sandbox.validation.forms import Form
from sandbox.validation.layout import check_embeds, check_message_components

TEXT = {"type": 10, "content": "x"}
IMAGE = {"media": {"url": "attachment://a.png"}}


def button(**more: Any) -> dict[str, Any]:
    return {"type": 2, "style": 1, "label": "go", "custom_id": "go", **more}


def row(*children: Any) -> dict[str, Any]:
    return {"type": 1, "components": list(children)}


def section(**more: Any) -> dict[str, Any]:
    return {"type": 9, "components": [TEXT], "accessory": {"type": 11, **IMAGE}, **more}


def error_codes(tree: list[Any], *, version_2: bool = True) -> set[str]:
    """The error codes."""
    form = Form({"components": deepcopy(tree)})
    check_message_components(form, version_2=version_2, files={"a.png"})
    try:
        form.raise_if_invalid()
    except ApiError as error:
        return set(_codes(error.errors))
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
        [{"type": 12, "items": [IMAGE] * 10}],
        [{"type": 13, "file": {"url": "attachment://a.png"}}],
        [row(button(style=5, url="https://example.org", custom_id=None))],
        [row({"type": 3, "custom_id": "s", "options": [{"label": "a", "value": "a"}]})],
        [section() for _ in range(13)],
    ],
)
def test_valid_layouts_pass(tree: list[Any]) -> None:
    assert error_codes(tree) == set()


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
        ([{"type": 12, "items": [IMAGE] * 11}], "BASE_TYPE_BAD_LENGTH"),
        ([{"type": 12, "items": []}], "BASE_TYPE_BAD_LENGTH"),
        (
            [{"type": 12, "items": [{"media": {"url": "attachment://b.png"}}]}],
            "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND",
        ),
        ([{"type": 12, "items": [{"media": {"url": "javascript:alert(1)"}}]}], "URL_TYPE_INVALID_SCHEME"),
        ([{"type": 12, "items": [{**IMAGE, "description": "x" * 1025}]}], "BASE_TYPE_MAX_LENGTH"),
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
def test_invalid_layouts_are_rejected(tree: list[Any], code: str) -> None:
    assert code in error_codes(tree)


def test_without_components_v2_only_rows_are_allowed() -> None:
    assert error_codes([TEXT], version_2=False) == {"UNION_TYPE_CHOICES"}
    assert error_codes([row(button())], version_2=False) == set()


def test_components_get_ids_and_defaults() -> None:
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


def test_children_of_components_without_children_are_dropped() -> None:
    form = Form({"components": [{**TEXT, "components": [{}], "accessory": {"type": 13}}]})
    [text] = check_message_components(form, version_2=True, files=())
    assert text == {"type": 10, "content": "x", "id": 1}


@pytest.mark.parametrize(
    ("embed", "place"),
    [
        ({}, "description"),
        ({"color": 5}, "description"),
        ({"title": ""}, "description"),
        ({"title": "x" * 257}, "title"),
        ({"title": "t", "url": "javascript:alert(1)"}, "url"),
        ({"title": "t", "url": "attachment://a.png"}, "url"),
        ({"title": "t", "timestamp": "yesterday"}, "timestamp"),
        ({"title": "t", "timestamp": 5}, "timestamp"),
        ({"title": "t", "color": "red"}, "color"),
        ({"title": "t", "color": 0x1000000}, "color"),
        ({"title": "t", "color": -1}, "color"),
        ({"title": "t", "image": "http://192.0.2.1/x.png"}, "image"),
        ({"title": "t", "thumbnail": []}, "thumbnail"),
        ({"image": {"url": "data:image/png;base64,"}}, "image"),
        ({"image": {}}, "image"),
        ({"footer": {"text": "f", "icon_url": "file:///x"}}, "footer"),
        ({"author": {"name": "a", "url": "JavaScript:alert(1)"}}, "author"),
        ({"fields": [{"name": "n"}]}, "fields"),
        ({"fields": [{"name": "n", "value": "v", "inline": "yes"}]}, "fields"),
    ],
)
def test_a_bad_embed_is_rejected_with_an_error_at_its_field(embed: dict[str, Any], place: str) -> None:
    form = Form({"embeds": [embed]})
    check_embeds(form)
    with pytest.raises(ApiError) as refused:
        form.raise_if_invalid()
    assert refused.value.code == 50035
    assert list(refused.value.errors["embeds"]["0"]) == [place]


def test_a_valid_embed_is_returned_as_rich_and_without_unknown_fields() -> None:
    whole = {
        "title": "t",
        "description": "d",
        "url": "https://example.org",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "color": 0xFFFFFF,
        "footer": {"text": "f", "icon_url": "attachment://a.png"},
        "author": {"name": "a", "url": "http://example.org"},
        "image": {"url": "attachment://a.png"},
        "thumbnail": {"url": "https://example.org/x.png"},
        "fields": [{"name": "n", "value": "v", "inline": True}],
    }
    form = Form({"embeds": [{**whole, "type": "image", "video": {"url": "x"}, "anything": {"type": 13}}]})
    assert check_embeds(form) == [{**whole, "type": "rich"}]
    form.raise_if_invalid()


def test_the_total_size_of_embeds_is_limited() -> None:
    form = Form({"embeds": [{"description": "x" * 3001}, {"description": "x" * 3000}]})
    check_embeds(form)
    with pytest.raises(ApiError) as refused:
        form.raise_if_invalid()
    assert refused.value.errors["embeds"]["_errors"][0]["code"] == "MAX_EMBED_SIZE_EXCEEDED"
