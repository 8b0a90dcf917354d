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
    young ones come first and by age, so that a crash in between leaves the rest recognisable.
    """
    unmarked = sorted(
        (standing for standing in standings if standing.place.channel_id not in marks),
        key=lambda standing: standing.place.channel_id,
    )
    present = max(marks.values(), default=None)
    young = [one.place for one in unmarked if present is not None and one.place.channel_id > present]
    known = {place.channel_id for place in young}
    older = [one for one in unmarked if one.place.channel_id not in known]
    return [(place, place.channel_id) for place in young] + [
        (one.place, max(one.newest or 0, one.place.channel_id)) for one in older
    ]
