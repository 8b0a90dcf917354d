"""What a message that mentions the bot asks for, read from its text alone.

Whoever writes to the bot begins with its name: `@Magpie find a cat`. A mention within other talk asks for nothing; at
its end it does with the words for look-alikes or help alone: `similar, @Magpie`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

_PLEASE = r"(?:(?:please|pls)\s+)?(?:(?:can|could|would)\s+you\s+)?(?:please\s+)?"
_FIND = re.compile(
    rf"{_PLEASE}(?:find|search(?:\s+for)?|look\s+for|show)(?:\s+me)?\s+(?P<english>\S.*)"
    # Not 找不到 ("cannot be found"), 找到了 ("found it") and the like.
    r"|(?:请|帮我|帮忙|请帮我)?(?>查找|搜索|寻找|找|搜)(?:一下)?+\s*+(?P<chinese>[^不到了谁].*)",
    re.IGNORECASE,
)
_SIMILAR = re.compile(
    rf"{_PLEASE}(?:(?:find|search\s+for|look\s+for|show)\s+(?:me\s+)?)?(?:more\s+)?"
    r"(?:similar|alike|look-?\s?alikes?|more\s+like\s+(?:this|that|it))"
    r"(?:\s+(?:ones?|pictures?|images?|photos?|pics?))?(?:\s+to\s+(?:this|that|it))?(?:\s+(?:please|pls))?"
    r"|(?:请|帮我|帮忙|请帮我|有没有|还有)?(?:查找|搜索|寻找|找|搜)?(?:一下)?(?:[和跟与](?:它|这个|这张图?))?(?:更多)?"
    r"(?:相似|类似|相像|差不多|很像)的?(?:图片|图|照片|表情)?[吗么]?",
    re.IGNORECASE,
)
_HELP = re.compile(
    r"help(?:\s+me)?(?:\s+please)?|commands|what\s+can\s+you\s+do|how\s+(?:does\s+this|do\s+you)\s+work"
    r"|帮助|怎么用|如何使用|使用说明|你?会(?:做|干)?什么|你?能(?:做|干)?什么",
    re.IGNORECASE,
)
_AROUND = " \t,.:;!?~…，。：；！？、"


class Wish(Enum):
    FIND = auto()
    SIMILAR = auto()
    HELP = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Request:
    """words: what to find."""

    wish: Wish
    words: str = ""


def read_request(text: str, own_id: int, *, most_words: int) -> Request | None:
    """What the text asks of the bot; None where it is no request. most_words: characters of a query; one that has more
    is not understood.
    """
    text = " ".join(text.split()).strip(_AROUND)
    mention = rf"<@!?{own_id}>"
    if (first := re.match(mention, text)) is not None:
        return _read(text[first.end() :].strip(_AROUND), most_words)
    if (last := re.search(rf"{mention}$", text)) is not None:
        request = _read(text[: last.start()].strip(_AROUND), most_words)
        return request if request.wish in (Wish.SIMILAR, Wish.HELP) else None
    return None


def _read(said: str, most_words: int) -> Request:
    if _SIMILAR.fullmatch(said):
        return Request(Wish.SIMILAR)
    if _HELP.fullmatch(said):
        return Request(Wish.HELP)
    if (found := _FIND.fullmatch(said)) is not None:
        words = found["english"] or found["chinese"]
        if len(words) <= most_words:
            return Request(Wish.FIND, words)
    return Request(Wish.UNKNOWN)
