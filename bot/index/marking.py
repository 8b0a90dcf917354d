"""Where a channel that has no mark yet begins. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.records import Place


@dataclass(frozen=True, slots=True)
class Standing:
    """A channel as Discord describes it now. newest: its `last_message_id`; None where nothing was ever posted.

    Discord may name a message that has been deleted since; as a point in time it is still right.
    """

    place: Place
    newest: int | None


def first_marks(standings: Iterable[Standing], marks: Mapping[int, int]) -> list[tuple[Place, int]]:
    """The first mark of each channel that has none, in the order in which they must be written.

    marks: the server's marks, by channel id, before anything of this session moved one.

    A channel younger than every mark was made while nobody looked, so all that was posted in it is new: it begins at
    its own id. Any other is seen for the first time and begins at the present: history from before is not read. The
    young come first, the oldest of them leading, then the others, the greatest mark leading: wherever a crash cuts the
    list, the rest is judged the same again.
    """
    present = max(marks.values(), default=None)
    unmarked = [one for one in standings if one.place.channel_id not in marks]
    young = [(one.place, one.place.channel_id) for one in unmarked if _is_younger(one, present)]
    others = [(one.place, _present_mark(one)) for one in unmarked if not _is_younger(one, present)]
    return sorted(young, key=_mark) + sorted(others, key=_mark, reverse=True)


def _is_younger(standing: Standing, present: int | None) -> bool:
    return present is not None and standing.place.channel_id > present


def _present_mark(standing: Standing) -> int:
    return max(standing.newest or 0, standing.place.channel_id)


def _mark(entry: tuple[Place, int]) -> int:
    return entry[1]
