"""Which picture goes into which part: decided from names and a seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

from clipcore.errors import BadInput

PARTS = ("train", "val", "test")
DEFAULT_RATIOS = "8:1:1"


def parse_ratios(told: str) -> tuple[Fraction, ...]:
    """`8:1:1`, `0.8,0.1,0.1` or `9:1`: train, val and test, in any unit. Returns three that add up to 1.

    Raises BadInput.
    """
    try:
        given = [Fraction(part.strip()) for part in told.replace(",", ":").split(":")]
    except (ValueError, ZeroDivisionError) as error:
        raise BadInput(f"The ratios {told!r} are not numbers, such as {DEFAULT_RATIOS} or 0.8,0.1,0.1.") from error
    if len(given) not in (2, 3) or min(given) < 0 or given[0] == 0:
        raise BadInput(f"The ratios {told!r} are not two or three shares, the first of them for train.")
    three = [*given, Fraction(0)][:3]
    return tuple(share / sum(three) for share in three)


def plan_split(names: Mapping[str, Sequence[str]], ratios: Sequence[Fraction], seed: int) -> dict[str, str]:
    """names: the pictures of each class, told apart over all classes. Returns each name's part, one of PARTS.

    The order in which names come does not matter. Each class is shared out by largest remainder, so its parts are less
    than one picture off the ratios; its first picture goes to train, whatever the ratios.
    """
    parts: dict[str, str] = {}
    for class_name, members in names.items():
        shuffled = sorted(members, key=lambda name: _draw(seed, name))
        # Else val would get every odd picture of small classes, and test none at all.
        sizes = share_out(len(members), ratios, late_first=bool(_draw(seed, class_name)[0][0] % 2))
        of_each = [part for part, size in zip(PARTS, sizes, strict=True) for _ in range(size)]
        parts.update(zip(shuffled, of_each, strict=True))
    return parts


def share_out(count: int, ratios: Sequence[Fraction], *, late_first: bool = False) -> list[int]:
    """Whole numbers that add up to `count`, by largest remainder (Hamilton's method). Earlier parts win ties, or later
    ones.
    """
    quotas = [share * count for share in ratios]
    sizes = [int(quota) for quota in quotas]
    parts = sorted(range(len(sizes)), reverse=late_first)
    by_remainder = sorted(parts, key=lambda part: sizes[part] - quotas[part])
    for part in by_remainder[: count - sum(sizes)]:
        sizes[part] += 1
    if count and not sizes[0]:
        sizes[sizes.index(max(sizes))] -= 1
        sizes[0] = 1
    return sizes


def _draw(seed: int, name: str) -> tuple[bytes, str]:
    """A place in the shuffled order that is the name's own: other names do not change it."""
    return hashlib.blake2b(f"{seed}/{name}".encode(errors="surrogateescape"), digest_size=16).digest(), name
