"""Prompt templates: what is put around a label or a query before the model encodes it, and the background prompts.

CLIP was trained on captions, so a bare word does worse than a caption with it, and the mean of several captions does
better than one (Radford et al. 2021, §3.1.4).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from clipcore.errors import ModelUnavailable
from clipcore.files import read_object


@dataclass(frozen=True, slots=True)
class Prompts:
    """label: templates for each phrase of a label. query: templates for a text query. The embeddings of one phrase's or
    query's texts are averaged. background: texts that compete with the labels and stand for "none of them".
    """

    label: tuple[str, ...]
    query: tuple[str, ...]
    background: tuple[str, ...]

    def for_query(self, query: str) -> tuple[str, ...]:
        """A sentence is a caption already and stays as it is; a few words are also put into captions."""
        query = " ".join(query.split())
        if len(_WORD.findall(query)) > _MAX_SHORT_QUERY:
            return (query,)
        return tuple(template.format(query) for template in self.query)

    def as_json(self) -> str:
        """As `read_prompts` reads it."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"


def read_prompts(path: Path, default: Prompts) -> Prompts:
    """`prompts.json` beside the weights: {"label", "query", "background"}, each a list.

    default: where there is no such file. Raises ModelUnavailable where it is broken.
    """
    if not path.is_file():
        return default
    content = read_object(path)
    try:
        return Prompts(*(tuple(map(str, content[field])) for field in ("label", "query", "background")))
    except (KeyError, TypeError) as error:
        raise ModelUnavailable(
            f"The model's file {str(path)!r} lacks one of the lists label, query and background."
        ) from error


_MAX_SHORT_QUERY = 3
# Chinese has no spaces; its words are mostly two characters.
_WORD = re.compile("[\u2e80-\u9fff]{1,2}|[^\\s\u2e80-\u9fff]+")

# The templates that OpenAI's notebook "Prompt_Engineering_for_ImageNet" found best are about objects in photographs; a
# chat has drawings and screenshots as well.
PHOTOGRAPHS = Prompts(
    label=("a photo of {}.", "a close-up photo of {}.", "a picture of {}.", "a drawing of {}.", "{}"),
    query=("{}", "a photo of {}.", "a picture of {}."),
    background=(
        "a photo.",
        "a picture.",
        "a picture of something.",
        "a photo of an object.",
        "a photo of a place.",
        "a blurry photo.",
        "a plain background.",
        "an abstract pattern.",
        "random noise.",
    ),
)
# The same for models trained on Chinese captions, to which English words around a Chinese name mean little (Yang et al.
# 2022, Chinese CLIP, whose own templates are translations of OpenAI's).
CHINESE = Prompts(
    label=("一张{}的照片。", "一张{}的特写照片。", "一张{}的图片。", "一幅{}的画。", "{}"),
    query=("{}", "一张{}的照片。", "一张{}的图片。"),
    background=(
        "一张照片。",
        "一张图片。",
        "某样东西的图片。",
        "一个物体的照片。",
        "一个地方的照片。",
        "一张模糊的照片。",
        "纯色背景。",
        "抽象图案。",
        "随机噪声。",
    ),
)
