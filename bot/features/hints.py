"""What an answer says below its pictures about asking better: once to a newcomer, and where the model reads another
script than the question's.
"""

from __future__ import annotations

from collections.abc import Iterator

from babel.lists import format_list
from cachetools import LRUCache

from bot.i18n import Texts
from bot.i18n.catalog import language_name
from clipcore.scripts import unread_script
from clipcore.types import ModelCard

_MOST_KNOWN = 10_000


class Hints:
    """Who was greeted is in memory only: after a restart, members are greeted once more."""

    def __init__(self, model: ModelCard) -> None:
        self._languages = model.languages
        self._greeted: LRUCache[tuple[int, int], None] = LRUCache(_MOST_KNOWN)

    def use(self, model: ModelCard) -> None:
        """From now on."""
        self._languages = model.languages

    def for_member(self, asker: tuple[int, int], words: str, texts: Texts) -> Iterator[str]:
        """Below an answer that only this member sees. asker: guild and member."""
        yield from self.about(words, texts)
        if asker not in self._greeted:
            self._greeted[asker] = None
            yield texts.search.hint_first_answer

    def about(self, words: str, texts: Texts) -> Iterator[str]:
        if unread_script(words, self._languages) is not None:
            names = [language_name(code, texts) for code in self._languages]
            yield texts.search.hint_script.format(languages=format_list(names, locale=texts.language))
