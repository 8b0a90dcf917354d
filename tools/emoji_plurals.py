"""English plurals of the names that concepts and categories have."""

from __future__ import annotations

import re

UNCOUNTABLE = frozenset(
    {
        "lettuce", "garlic", "beer", "corn", "broccoli", "bacon", "sushi", "spaghetti", "popcorn", "salt",
        "cheese wedge", "fire", "soap", "bread", "DNA", "chopsticks", "Santa Claus",
    }
)  # fmt: skip
UNCHANGED = frozenset(
    {"sheep", "fish", "deer", "moose", "shrimp", "squid", "aircraft", "music", "furniture", "weather", "food", "fruit"}
    | {"money", "cash", "clothing", "electronics", "stationery", "medicine", "science", "astronomy", "love", "flora"}
    | {"tableware", "kitchenware", "watercraft", "architecture", "sea life", "reading matter", "sports equipment"}
)
IRREGULAR = {
    "mouse": "mice", "ox": "oxen", "wolf": "wolves", "leaf": "leaves", "knife": "knives", "scarf": "scarves",
    "tooth": "teeth", "foot": "feet", "man": "men", "woman": "women", "person": "people", "potato": "potatoes",
    "tomato": "tomatoes", "mango": "mangoes", "volcano": "volcanoes", "mosquito": "mosquitoes", "tornado": "tornadoes",
    "means": "means",
}  # fmt: skip
TAIL = re.compile(r" (?:of|with|on|in|behind|to|at)\b.*")


def plural(noun: str) -> str:
    """ "cat" becomes "cats", "cup of coffee" "cups of coffee"; what is many already, or has no plural, stays."""
    tail = found.group() if (found := TAIL.search(noun)) else ""
    *before, last = noun.removesuffix(tail).split(" ")
    if noun.startswith("something ") or noun in UNCOUNTABLE or noun in UNCHANGED or last in UNCHANGED or is_many(last):
        return noun
    return " ".join([*before, _many(last)]) + tail


def is_many(noun: str) -> bool:
    """Whether a noun is plural in form: "jeans", but not "glass" or "bus"."""
    last = noun.split()[-1]
    return last.endswith("s") and not last.endswith(("ss", "us", "bus"))


def _many(noun: str) -> str:
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
