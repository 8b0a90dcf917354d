from __future__ import annotations

import io
from typing import Any, cast

import pytest
from PIL import Image

from bot.discord_io.answers import refusal
from bot.features.query_image import QueryImages, linked_message
from bot.i18n import CHINESE, ENGLISH, Texts
from clipcore.errors import ImageRejected
from clipcore.images.decode import ImageLimits, decode_image


@pytest.mark.parametrize(
    "text",
    [
        "https://discord.com/channels/1/2/3",
        "https://canary.discord.com/channels/1/2/3?x=1",
        "look: <https://discord.com/channels/1/2/3> please",
        "http://127.0.0.1:8765/channels/1/2/3",
    ],
)
def test_a_message_link_is_recognised_on_any_host(text: str) -> None:
    assert linked_message(text) == (1, 2, 3)


@pytest.mark.parametrize("text", ["", "https://discord.com/channels/1/2", "/channels/@me/2/3", "1/2/3"])
def test_a_text_without_three_ids_is_not_a_link(text: str) -> None:
    assert linked_message(text) is None


class Upload:
    """A file given with the command, and at the same time the downloader and the search that read it."""

    id, url, size = 1, "https://cdn.discordapp.com/1", 100

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self._data, self._limits = data, limits

    def is_spoiler(self) -> bool:
        return False

    async def download(self, image: Any, arrived: object) -> bytes:
        return self._data

    model_key = "fake@1#1"

    async def embedding_of_file(self, data: bytes, asker: object) -> Any:
        return decode_image(data, self._limits)


@pytest.mark.parametrize(("texts", "words"), [(ENGLISH, "too many pixels"), (CHINESE, "像素太多")])
async def test_the_refusal_of_an_image_with_too_many_pixels_states_the_limit(texts: Texts, words: str) -> None:
    file = io.BytesIO()
    Image.new("L", (50, 41)).save(file, "WEBP")
    here = cast(Any, Upload(file.getvalue(), ImageLimits(max_pixels=2_000)))
    with pytest.raises(ImageRejected) as raised:
        await QueryImages(here, here, here, here).from_attachment((1, 2), here)
    sentence = refusal(raised.value, texts)
    assert sentence is not None
    assert words in sentence
    assert "2,000" in sentence
