"""Queries that no picture answers: strings without sense, and words for what cannot be seen. English and Chinese."""

from __future__ import annotations

import numpy as np

NULL_PROMPTS = (
    "a photo",
    "a picture",
    "an image",
    "an image of something",
    "a picture of something",
    "a photo of an object",
    "something",
    "一张照片",
    "一张图片",
    "某样东西的图片",
    "某样东西",
)
"""Texts without content: an image that matches them as well as the query matches everything."""

ABSTRACT = (
    *("tax return", "quantum physics", "the square root of two", "my bank password", "quarterly earnings"),
    *("terms and conditions", "yesterday's meeting", "unemployment rate", "constitutional law", "software licence"),
    *("a sense of regret", "inflation", "existentialism", "foreign policy", "the French revolution"),
    *("insurance claim", "mortgage interest", "photosynthesis", "general relativity", "the meaning of life"),
    *("error 404", "git merge conflict", "privacy policy", "cookie consent", "minutes of the committee"),
    *("shareholder agreement", "last Wednesday", "supply chain", "double-entry bookkeeping", "a grammatical case"),
    *(
        "量子物理",
        "纳税申报",
        "二的平方根",
        "银行密码",
        "季度财报",
        "用户协议",
        "昨天的会议",
        "失业率",
        "宪法",
        "软件许可证",
    ),
    *("后悔的感觉", "通货膨胀", "存在主义", "外交政策", "法国大革命", "保险理赔", "房贷利率", "光合作用", "广义相对论"),
    *(
        "人生的意义",
        "合并冲突",
        "隐私政策",
        "会议纪要",
        "股东协议",
        "上个星期三",
        "供应链",
        "复式记账",
        "语法",
        "项目管理",
        "法律条文",
    ),
)

_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"
_KEYS = "asdfghjklqwertyuiopzxcvbnm0123456789!?#"
_FUNCTION_WORDS = "的了在是我有和就不人都也很到说要去你会着没看自己这么之其于以而但与因为所如果虽然即使则者乎哉矣焉"


def gibberish(count: int, rng: np.random.Generator) -> list[str]:
    """Different strings: syllables of no word, keys at random, and Chinese function words in no order."""
    made: dict[str, None] = {}
    while len(made) < count:
        made.setdefault((_syllables, _keys, _characters)[rng.integers(3)](rng))
    return [*made]


def _syllables(rng: np.random.Generator) -> str:
    pairs = (str(rng.choice([*_CONSONANTS])) + str(rng.choice([*_VOWELS])) for _ in range(rng.integers(2, 5)))
    return "".join(pairs) + str(rng.choice([*_CONSONANTS]))


def _keys(rng: np.random.Generator) -> str:
    return "".join(rng.choice([*_KEYS], size=rng.integers(5, 14)))


def _characters(rng: np.random.Generator) -> str:
    return "".join(rng.choice([*_FUNCTION_WORDS], size=rng.integers(2, 6)))
