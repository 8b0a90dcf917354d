"""Obligations: deletions that were asked for and are not done yet; what they cover, and the journal that keeps them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bot.errors import StartupError
from bot.logging import get_logger
from bot.models import ImageKey, ImageRef
from bot.store.deletion import Key, Kind, keys_of_image

log = get_logger(__name__)

JOURNAL_BYTES = 64 << 10
"""The journal's size from the start: about a thousand obligations."""


@dataclass(frozen=True, slots=True)
class ForgetMessages:
    message_ids: tuple[int, ...]
    kind: Literal["messages"] = "messages"


@dataclass(frozen=True, slots=True)
class ForgetImages:
    message_id: int
    keys: tuple[ImageKey, ...]
    kind: Literal["images"] = "images"


@dataclass(frozen=True, slots=True)
class ForgetAllBut:
    """Of an edited message. kept: the keys of the images that it still carries."""

    message_id: int
    kept: tuple[ImageKey, ...]
    kind: Literal["all_but"] = "all_but"


@dataclass(frozen=True, slots=True)
class ForgetChannel:
    """The channel and every thread under it."""

    channel_id: int
    kind: Literal["channel"] = "channel"


@dataclass(frozen=True, slots=True)
class ForgetGuild:
    guild_id: int
    kind: Literal["guild"] = "guild"


@dataclass(frozen=True, slots=True)
class ForgetAuthor:
    """All of a member's images in a guild, in messages up to this one."""

    guild_id: int
    author_id: int
    up_to_message: int
    kind: Literal["author"] = "author"


@dataclass(frozen=True, slots=True)
class OptOut:
    """Everything about a member, in all guilds, also what they post from now on."""

    author_id: int
    kind: Literal["opt_out"] = "opt_out"


@dataclass(frozen=True, slots=True)
class ForgetUpTo:
    """All images in messages up to this one: of these channels and their threads, or, where none are named, of the
    guild. for_good: not even a backfill brings them back.
    """

    guild_id: int
    channel_ids: tuple[int, ...]
    up_to_message: int
    for_good: bool
    kind: Literal["up_to"] = "up_to"


@dataclass(frozen=True, slots=True)
class ExcludeImages:
    """For good, of a message that still exists. keys: of the images; none: all that it carries."""

    guild_id: int
    message_id: int
    keys: tuple[ImageKey, ...]
    kind: Literal["exclude"] = "exclude"


@dataclass(frozen=True, slots=True)
class ReadmitGuild:
    """No deletion, but it comes after one: what is posted in the guild from now on is accepted."""

    guild_id: int
    kind: Literal["readmit"] = "readmit"


Obligation = (
    ForgetMessages
    | ForgetImages
    | ForgetAllBut
    | ForgetChannel
    | ForgetGuild
    | ForgetAuthor
    | OptOut
    | ForgetUpTo
    | ExcludeImages
    | ReadmitGuild
)

_AS_JSON: TypeAdapter[Obligation] = TypeAdapter(Annotated[Obligation, Field(discriminator="kind")])


def supersedes(new: Obligation, old: Obligation) -> bool:
    """Whether `old` need not be done any more: the message was edited again, or the bot left the guild again."""
    match new, old:
        case ForgetAllBut(), ForgetAllBut():
            return new.message_id == old.message_id and new != old
        case ForgetGuild(), ReadmitGuild():
            return new.guild_id == old.guild_id
    return False


@dataclass(frozen=True, slots=True)
class Covered:
    """The images that obligations cover: as good as deleted.

    keys: as those of tombstones. kept: by message, the keys of what it still carries. cutoffs: the newest message
    covered, by guild and author; bounds: by channel or guild. authors: those of whom nothing may be kept.
    """

    keys: frozenset[Key]
    kept: Mapping[int, Collection[ImageKey]]
    cutoffs: Mapping[tuple[int, int], int]
    bounds: Mapping[int, int] = field(default_factory=dict)
    authors: frozenset[int] = frozenset()

    def __contains__(self, ref: ImageRef) -> bool:
        return (
            not self.keys.isdisjoint(keys_of_image(ref))
            or (ref.message_id in self.kept and ref.key not in self.kept[ref.message_id])
            or ref.author_id in self.authors
            or ref.message_id <= self.cutoffs.get((ref.channel.guild_id, ref.author_id), -1)
            or any(ref.message_id <= self.bounds.get(place, -1) for place in _places(ref))
        )


def _places(ref: ImageRef) -> tuple[int, ...]:
    channel = ref.channel
    return channel.guild_id, channel.channel_id, *(() if channel.parent_id is None else (channel.parent_id,))


def covered_by(obligations: Iterable[Obligation]) -> Covered:
    keys: set[Key] = set()
    kept: dict[int, Collection[ImageKey]] = {}
    cutoffs: dict[tuple[int, int], int] = {}
    authors: set[int] = set()
    bounds: dict[int, int] = {}
    for one in obligations:
        match one:
            case ForgetMessages(ids):
                keys.update((Kind.MESSAGE, id_, 0) for id_ in ids)
            case ForgetImages(message_id, images):
                keys.update((Kind.ATTACHMENT, id_, message_id) for _, id_ in images)
            case ForgetAllBut(message_id, still):
                kept[message_id] = still
            case ForgetChannel(channel_id):
                keys.add((Kind.CHANNEL, channel_id, 0))
            case ForgetGuild(guild_id):
                keys.add((Kind.GUILD, guild_id, 0))
            case ForgetAuthor(guild_id, author_id, up_to_message):
                author = guild_id, author_id
                cutoffs[author] = max(up_to_message, cutoffs.get(author, -1))
            case OptOut(author_id):
                authors.add(author_id)
            case ForgetUpTo(guild_id, channel_ids, up_to_message):
                for place in channel_ids or (guild_id,):
                    bounds[place] = max(up_to_message, bounds.get(place, -1))
            case ExcludeImages(_, message_id, images):
                keys.update((Kind.ATTACHMENT, id_, message_id) for _, id_ in images)
                if not images:
                    keys.add((Kind.MESSAGE, message_id, 0))
            case ReadmitGuild():
                pass
    return Covered(frozenset(keys), kept, cutoffs, bounds, frozenset(authors))


class DeletionJournal:
    """A file beside the database that keeps obligations over a restart, one a line.

    It has its full size from the start, and lines overwrite blanks, so that a full disk does not matter until about a
    thousand obligations wait. A line is only ever added or blanked: a write that is interrupted costs no other line.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".deletions")
        self._lines: dict[Obligation, tuple[int, int]] = {}  # start and length
        self._end = 0
        self._writing = asyncio.Lock()

    def __contains__(self, obligation: Obligation) -> bool:
        return obligation in self._lines

    def __bool__(self) -> bool:
        """Whether anything is in it, or about to be."""
        return bool(self._lines) or self._writing.locked()

    async def read(self) -> list[Obligation]:
        """What an earlier run left, in the order in which it was written. Raises StartupError."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError as error:
            raise StartupError(
                f"The file {self._path}, which keeps deletions until the database has done them, cannot be used "
                f"({type(error).__name__}): give the bot write access to it and its directory, and free some space."
            ) from error

    async def hold(self, obligations: Collection[Obligation]) -> None:
        """Writes those that it does not hold, and blanks the others. Raises OSError.

        obligations: may change meanwhile; in the end the two are the same.
        """
        async with self._writing:
            while self._lines.keys() != set(obligations):
                writing = asyncio.ensure_future(asyncio.to_thread(self._hold, [*obligations]))
                try:
                    await asyncio.shield(writing)
                finally:
                    await asyncio.wait({writing})  # a caller that is cancelled must not let another one in before

    def _read(self) -> list[Obligation]:
        start = 0
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            data = file.read()
            file.write(b"\n" * (JOURNAL_BYTES - len(data)))
            for line in data.splitlines(keepends=True):
                if line.strip(b"\0 \n"):
                    self._end = start + len(line)
                    try:
                        self._lines.setdefault(_AS_JSON.validate_json(line), (start, len(line)))
                    except ValidationError:
                        log.error("a deletion that waited for the store is lost: its line is unreadable", offset=start)
                        file.seek(start)
                        file.write(b"\n" * len(line))
                start += len(line)
        return [*self._lines]

    def _hold(self, obligations: list[Obligation]) -> None:
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            for done in self._lines.keys() - set(obligations):
                start, length = self._lines[done]
                file.seek(start)
                file.write(b"\n" * length)
                file.flush()
                del self._lines[done]
            if not self._lines:  # blanks all: a write that failed may have left something
                self._end = 0
                file.seek(0)
                file.write(b"\n" * JOURNAL_BYTES)
                file.truncate()
            for new in obligations:
                if new not in self._lines:
                    line = _AS_JSON.dump_json(new) + b"\n"
                    file.seek(self._end)
                    file.write(line)
                    file.flush()
                    self._lines[new] = self._end, len(line)
                    self._end += len(line)
            os.fsync(file.fileno())
