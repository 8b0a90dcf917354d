"""The names of labels: how they are written, and how they are compared, whoever typed them."""

from __future__ import annotations

import re
from unicodedata import category, normalize

MAX_LABEL_CHARACTERS = 60

# What shows nothing, beside control and format characters: variation selectors, fillers and joiners that Unicode counts
# as letters or marks (Default_Ignorable_Code_Point in DerivedCoreProperties.txt).
_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_INVISIBLE = frozenset(("Cc", "Cf", "Cs"))
_JOINERS = "\u200c\u200d"  # of emoji, and of Persian and Indian scripts
_SEPARATORS = frozenset(",，、;；")


def label_key(name: str) -> str:
    """Equal for names that read the same: whatever their case, their width, how their accents are encoded, the spaces
    around and between their words, and invisible characters (Unicode, section 3.13, "Default Caseless Matching").
    """
    folded = normalize("NFKC", normalize("NFKC", normalize("NFD", name).casefold()).casefold())
    shown = (char for char in _IGNORABLE.sub("", folded) if char.isspace() or category(char) not in _INVISIBLE)
    return normalize("NFKC", " ".join("".join(shown).split()))


def label_name(text: str) -> str:
    """People's text as a label's name: on one line, composed (NFC), without what nobody sees."""
    shown = (char for char in text if char.isspace() or char in _JOINERS or category(char) not in _INVISIBLE)
    return normalize("NFC", " ".join("".join(shown).split()))


def is_label_name(name: str) -> bool:
    """Whether a label may be called so: it can be seen, and lists of names stay readable."""
    return 0 < len(name) <= MAX_LABEL_CHARACTERS and bool(label_key(name)) and _SEPARATORS.isdisjoint(name)
