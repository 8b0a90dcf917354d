"""How words are put to a model: templates around a name, and what an image of nothing in particular is called.

CLIP learnt from captions, so a bare word does worse than a caption about it, and several captions averaged do better
than one (Radford et al. 2021, §3.1.4).
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
    """label: templates for each phrase of a label. query: templates for what a person typed; their vectors are
    averaged.

    background: prompts that compete with the labels and stand for "none of them".
    """

    label: tuple[str, ...]
    query: tuple[str, ...]
    background: tuple[str, ...]

    def for_phrase(self, phrase: str) -> tuple[str, ...]:
        return tuple(template.format(phrase) for template in self.label)

    def for_query(self, words: str) -> tuple[str, ...]:
        """A sentence is a caption already and stays as it is; a few words are also put into captions."""
        words = " ".join(words.split())
        if _words(words) > _SHORT_QUERY_WORDS:
            return (words,)
        return tuple(template.format(words) for template in self.query)

    def as_json(self) -> str:
        """What `read_prompts` reads."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"


def read_prompts(path: Path, otherwise: Prompts) -> Prompts:
    """`prompts.json` beside the weights: {"label", "query", "background"}, each a list.

    otherwise: for a model that brings none. Raises ModelUnavailable where the file is broken.
    """
    if not path.is_file():
        return otherwise
    said = read_object(path)
    try:
        return Prompts(*(tuple(map(str, said[field])) for field in ("label", "query", "background")))
    except (KeyError, TypeError) as error:
        raise ModelUnavailable(f"The model's file {str(path)!r} lacks prompts; it is made with the model.") from error


def _words(text: str) -> int:
    """Chinese has no spaces; its words are mostly two characters long."""
    return len(_WORD.findall(text))


_SHORT_QUERY_WORDS = 3
_WORD = re.compile("[\u2e80-\u9fff]{1,2}|[^\\s\u2e80-\u9fff]+")

# The subset that OpenAI's notebook "Prompt_Engineering_for_ImageNet" found best is about objects in photographs; a
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
# The same for models that learnt from Chinese captions, to which English words around a Chinese name mean little
# (Yang et al. 2022, Chinese CLIP, whose own templates are translations of OpenAI's).
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
