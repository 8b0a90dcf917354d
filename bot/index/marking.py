"""Where a channel that has no mark yet begins. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.records import Place


@dataclass(frozen=True, slots=True)
class Standing:
    """A channel as Discord describes it now.

    newest: its `last_message_id`, None where nothing was ever posted. Discord may name a message that has been deleted
    since; as a point in time it is still right.
    made: when it was made, as a snowflake; None: its own id says so. A thread's id does not, since a thread that hangs
    on a message has that message's id, however old the message was.
    """

    place: Place
    newest: int | None
    made: int | None = None

    @property
    def born(self) -> int:
        return self.place.channel_id if self.made is None else self.made


def first_marks(standings: Iterable[Standing], marks: Mapping[int, int]) -> list[tuple[Place, int]]:
    """The first mark of each channel that has none, in the order in which they must be written.

    marks: the server's marks, by channel id, before anything of this session moved one.

    A channel younger than every mark was made while nobody looked, so all that was posted in it is new: it begins just
    before its own id, which in a forum is its first message's. Any other is seen for the first time and begins at the
    present: history from before is not read. The young come first, the oldest of them leading, then the others, the
    greatest mark leading: wherever a crash cuts the list, the rest is judged the same again.
    """
    present = max(marks.values(), default=None)
    unmarked = [one for one in standings if one.place.channel_id not in marks]
    young = [one for one in unmarked if present is not None and one.born > present]
    others = [one for one in unmarked if present is None or one.born <= present]
    young.sort(key=lambda one: one.born)
    others.sort(key=_present, reverse=True)
    return [(one.place, one.place.channel_id - 1) for one in young] + [(one.place, _present(one)) for one in others]


def _present(standing: Standing) -> int:
    return max(standing.newest or 0, standing.born)
