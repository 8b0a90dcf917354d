"""After a change of model: what is to be read again is queued a portion at a time, each in a transaction of its own.

So the writer is never kept from others for long, and a process that ends in between goes on at its next start: what is
done is not found again, since each change takes an image out of the rows that it was found by, or fails its condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Select,
    bindparam,
    exists,
    literal_column,
    null,
    select,
    text,
    tuple_,
    update,
)

from bot.store.lifecycle import ENCODING_FAILED
from bot.store.many import ForMany
from bot.store.rows import milliseconds
from bot.store.tables import images, models, vectors

PORTION = 5_000
"""Images that are looked at in one transaction. Other writers wait for one: about a tenth of a second."""

Key = tuple[Any, ...]
"""Where a walk is: what rises along its index, the image's id last."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Rows to look at in the order of an index, and what becomes of each image there.

    row: what `change` is given for an image, now; queues: whether it counts as queued.
    """

    rows: Select[Any]
    change: ForMany
    row: Callable[[int, int], tuple[int, int]]
    start: Key
    queues: bool
    given: dict[str, object] = field(default_factory=dict)


class Taken(NamedTuple):
    """after: where to go on; None at the end."""

    queued: int
    after: Key | None


def _onwards(*rising: Column[Any]) -> Select[Any]:
    after = tuple_(*(bindparam(f"after_{column.name}") for column in rising))
    return select(*rising).where(tuple_(*rising) > after).order_by(*rising).limit(bindparam("size"))


# Word for word what the partial index says, without which it is not used.
_PARKED = images.c.state == text("'parked'")
_WAITING = _onwards(*images.c["next_attempt", "id"]).where(
    images.c.next_attempt.is_not(None), images.c.reread == literal_column("1")
)
_GIVEN_UP = _onwards(images.c.id).where(
    _PARKED, images.c.reread == bindparam("reread"), images.c.reason == bindparam("reason")
)
_READ = _onwards(*vectors.c["guild_id", "image_id"]).where(vectors.c.model_id == bindparam("model"))

_THIS = images.c.id == bindparam("image")
_KNOWN = exists().where(vectors.c.image_id == images.c.id, vectors.c.model_id == bindparam("model"))
_NOTHING_FAILED = {"attempts": literal_column("0"), "reason": null()}
_READY_AGAIN = ForMany(
    update(images).where(_THIS, _KNOWN).values(state=literal_column("'ready'"), next_attempt=null(), **_NOTHING_FAILED),
    "image",
    "model",
)
_PENDING = update(images).values(state=literal_column("'pending'"), **_NOTHING_FAILED)
_REREAD = ForMany(
    _PENDING.where(_THIS, images.c.state == literal_column("'ready'")).values(reread=literal_column("1")),
    "next_attempt",
    "image",
)
_TRIED_AGAIN = ForMany(_PENDING.where(_THIS), "next_attempt", "image")


def plan(connection: Connection, model_key: str) -> list[Walk]:
    """First what this model's vector is still there of: it is ready again, whether it waits to be re-read or was given
    up on the way. Then what another model read, and what a model or its device failed on.
    """
    known = {row.key: row.id for row in connection.execute(select(*models.c["key", "id"]))}
    this = known.pop(model_key, None)
    walks = [] if this is None else _back(connection, this)
    walks += [_walk(_READ, _REREAD, (0, 0), model=other) for other in known.values()]
    walks += [_walk(_GIVEN_UP, _TRIED_AGAIN, (0,), reread=reread, reason=ENCODING_FAILED) for reread in (0, 1)]
    return walks


def take(connection: Connection, walk: Walk, after: Key, size: int, now: datetime) -> Taken:
    """At most `size` rows of a walk, from `after` on."""
    at = dict(zip((f"after_{column.name}" for column in walk.rows.selected_columns), after, strict=True))
    found = [tuple(row) for row in connection.execute(walk.rows, {**walk.given, **at, "size": size})]
    changed = walk.change.run(connection, [walk.row(key[-1], milliseconds(now)) for key in found])
    return Taken(changed if walk.queues else 0, found[-1] if len(found) == size else None)


def _back(connection: Connection, model: int) -> list[Walk]:
    query = select(images.c.reason).where(_PARKED, images.c.reread == literal_column("1")).distinct()
    reasons = connection.execute(query).scalars()

    def row(id_: int, _now: int) -> tuple[int, int]:
        return id_, model

    return [
        Walk(_WAITING, _READY_AGAIN, row, (-1, 0), queues=False),
        *(
            Walk(_GIVEN_UP, _READY_AGAIN, row, (0,), queues=False, given={"reread": 1, "reason": reason})
            for reason in reasons
        ),
    ]


def _walk(rows: Select[Any], change: ForMany, start: Key, **given: object) -> Walk:
    return Walk(rows, change, lambda id_, now: (now, id_), start, queues=True, given=given)
