"""Classic embeds: what Discord refuses is refused, and what it does not know is left out."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.errors import ApiError
from sandbox.validation.embeds import check_embeds
from sandbox.validation.forms import Form


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
def test_a_bad_embed_is_refused_at_its_place(embed: dict[str, Any], place: str) -> None:
    form = Form({"embeds": [embed]})
    check_embeds(form)
    with pytest.raises(ApiError) as refused:
        form.settle()
    assert refused.value.code == 50035
    assert list(refused.value.more["errors"]["embeds"]["0"]) == [place]


def test_a_good_embed_comes_back_as_rich_and_without_what_nobody_knows() -> None:
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
    form.settle()


def test_all_embeds_together_have_a_limit() -> None:
    form = Form({"embeds": [{"description": "x" * 3001}, {"description": "x" * 3000}]})
    check_embeds(form)
    with pytest.raises(ApiError) as refused:
        form.settle()
    assert refused.value.more["errors"]["embeds"]["_errors"][0]["code"] == "MAX_EMBED_SIZE_EXCEEDED"
