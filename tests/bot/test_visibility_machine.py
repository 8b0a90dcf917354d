"""Whatever happens in a server, no answer contains what its readers could not see in the channel itself, and whatever
they may see is in it: asked after any sequence of changes, on the bot's own code from the search to discord.py's cache.

`python -m pytest --hypothesis-profile=thorough --timeout=0 tests/bot/test_visibility_machine.py` tries
10,000 sequences.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import discord
import numpy as np
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.discord_io.client import intents
from bot.discord_io.messages import Messages, channel_ref
from bot.discord_io.permissions import MEMBERSHIP_REQUESTS, ChannelAudience, MemberAudience
from bot.errors import ImageForbidden, MessageNotFound
from bot.features.query_image import QueryImages
from bot.features.search import SearchCog
from bot.models import SearchResult, Source
from bot.search.picture_map import MapPicture, PictureMaps
from bot.search.question import Question
from bot.search.service import SearchService
from bot.store.database import Database
from bot.store.images import Finished
from tests.bot.discord_objects import BOT, EVERYONE, GUILD, OWNER, PRIVATE_THREAD, PUBLIC_THREAD, TEXT, VOICE
from tests.bot.small_server import CONNECT, HISTORY, MANAGE_THREADS, ROLES, VIEW, Picture, Place, Server
from tests.empty_database import empty_database
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import CALIBRATION, axis, like, snowflake

THOROUGH = settings.get_current_profile_name() == "thorough"
LIMIT = 3
ANN, BEN, STRANGER = 71, 72, 88
MEMBERS = (ANN, BEN, OWNER)
ROUNDING = 0.003  # embeddings are stored as float16

some_right = st.sampled_from([VIEW, HISTORY, CONNECT, MANAGE_THREADS, VIEW | HISTORY, VIEW | HISTORY | CONNECT])
rights = st.one_of(st.just(0), some_right)
who = st.sampled_from(MEMBERS)
anyone = st.sampled_from([*MEMBERS, BOT])
noticed = st.sampled_from([True, True, False])
pick = st.integers(0, 10_000)  # one of what there is: `self.one_of`


class ServerMachine(RuleBasedStateMachine):
    """unannounced: threads and members of whose joining the bot got no event."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        path = empty_database(Path(self.folder.name) / "magpie.db")
        self.database = self.run(Database.open(path))
        self.bot = Pipeline(self.database)
        self.bot.engine.query_embeddings["this"] = axis(0)
        self.server = Server(roles={ANN: set(), BEN: set(), BOT: set()})
        self.client = discord.Client(intents=intents())
        cast(Any, self.client)._connection.http = self.server
        self.messages = Messages(self.client, frozenset({"cdn.discordapp.com", "example.org"}), other_bots=False)
        self.search = SearchService(
            *(self.bot.engine, self.bot.store, self.bot.index, self.bot.registry, self.messages.look_up),
            texts=self.bot.texts,
            page_size=LIMIT,
        )
        self.maps = PictureMaps(self.bot.store, self.bot.index.vectors, self.bot.registry, self.messages.look_up_all)
        self.query_images = QueryImages(self.bot.store, self.search, self.messages, cast(Any, None))
        self.cog = SearchCog(cast(Any, SimpleNamespace(services=SimpleNamespace(messages=self.messages))))
        self.ids: dict[tuple[int, Source, int], int] = {}
        self.numbers = self.steps = 0
        self.unannounced: set[tuple[int, int]] = set()
        self.guild = self.server.guild(self.client)

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.bot.close())
        self.run(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    def changed(self, *, announced: bool = True) -> None:
        """discord.py's cache follows every change; what is not announced has no event."""
        self.guild = self.server.guild(self.client)
        if announced:
            self.unannounced.clear()
            self.run(self.cog.access_changed(self.guild))

    def one_of(self, number: int, *, threads: bool | None = None, kind: int | None = None) -> Place | None:
        places = [
            one
            for one in self.server.places.values()
            if threads in (None, one.parent is not None) and kind in (None, one.kind)
        ]
        return places[number % len(places)] if places else None

    def active(self, number: int) -> Place:
        """Where a command is used: of an archived thread the cache does not tell whether it is age-restricted."""
        places = [one for one in self.server.places.values() if not one.archived]
        assume(places)  # all may have been deleted
        return places[number % len(places)]

    # -- what happens

    @initialize(private=st.lists(st.lists(anyone, unique=True), min_size=1, max_size=4))
    def begin(self, private: list[list[int]]) -> None:
        for number, kind in enumerate((TEXT, TEXT, VOICE)):
            self.add_channel(kind, nsfw=False)
            self.post(number, 1, ANN, Source.ATTACHMENT, weak=False, repost=False, spoiler=False)
        self.add_thread(0, PUBLIC_THREAD, members=[ANN])
        for members in private:
            self.add_thread(0, PRIVATE_THREAD, members=[*{*members, BOT}])
        for number in range(3, len(self.server.places)):
            self.post(number, 1, BEN, Source.ATTACHMENT, weak=False, repost=False, spoiler=False)

    def next(self) -> int:
        self.numbers += 1
        return self.numbers

    @precondition(lambda self: len(self.server.places) < 9)
    @rule(kind=st.sampled_from([TEXT, VOICE]), nsfw=st.booleans())
    def add_channel(self, kind: int, nsfw: bool) -> None:
        channel = Place(100 + self.next(), kind, nsfw=nsfw)
        self.server.places[channel.id] = channel
        self.changed()

    @precondition(lambda self: len(self.server.places) < 12)
    @rule(
        number=pick,
        kind=st.sampled_from([PUBLIC_THREAD, PRIVATE_THREAD]),
        members=st.lists(anyone, unique=True, max_size=3),
    )
    def add_thread(self, number: int, kind: int, members: list[int]) -> None:
        parent = self.one_of(number, threads=False, kind=TEXT)
        if parent is not None:
            thread = Place(100 + self.next(), kind, parent.id, members=set(members))
            self.server.places[thread.id] = thread
            self.changed()

    @rule(number=pick, archived=st.booleans())
    def archive(self, number: int, archived: bool) -> None:
        if (thread := self.one_of(number, threads=True)) is not None:
            thread.archived = archived
            self.changed()

    @rule(number=pick, member=anyone, announced=st.booleans())
    def join(self, number: int, member: int, announced: bool) -> None:
        if (thread := self.one_of(number, kind=PRIVATE_THREAD)) is not None and member not in thread.members:
            thread.members.add(member)
            self.unannounced.add((thread.id, member))
            self.changed(announced=announced)

    @rule(number=pick, member=anyone)
    def leave(self, number: int, member: int) -> None:
        if (thread := self.one_of(number, kind=PRIVATE_THREAD)) is not None:
            thread.members.discard(member)
            self.changed(announced=False)

    @rule(
        number=pick,
        subject=st.sampled_from([EVERYONE, *ROLES, ANN, BEN, BOT, STRANGER]),
        allow=rights,
        deny=rights,
    )
    def overwrite(self, number: int, subject: int, allow: int, deny: int) -> None:
        if (channel := self.one_of(number, threads=False)) is not None:
            channel.overwrites[subject] = allow, deny
            self.changed()

    @rule(number=pick)
    def clear_overwrites(self, number: int) -> None:
        if (channel := self.one_of(number, threads=False)) is not None:
            channel.overwrites.clear()
            self.changed()

    @rule(role=st.sampled_from([EVERYONE, *ROLES]), bits=rights)
    def set_role(self, role: int, bits: int) -> None:
        if role == EVERYONE:
            self.server.everyone = bits | VIEW  # servers in which nobody may see anything teach little
        else:
            self.server.role_bits[role] = bits
        self.changed()

    @rule(member=st.sampled_from([ANN, BEN, BOT]), role=st.sampled_from(ROLES))
    def give_or_take_role(self, member: int, role: int) -> None:
        self.server.roles[member] ^= {role}
        self.changed()

    @rule(member=st.sampled_from([ANN, BEN]))
    def time_out_or_not(self, member: int) -> None:
        self.server.timed_out ^= {member}
        self.changed(announced=False)

    @rule(number=pick)
    def restrict_age_or_not(self, number: int) -> None:
        if (channel := self.one_of(number, threads=False)) is not None:
            channel.nsfw = not channel.nsfw
            self.changed()

    @rule(number=pick)
    def refuse_or_not(self, number: int) -> None:
        """Discord refuses a place to the bot, although all permissions are there."""
        if (place := self.one_of(number)) is not None:
            self.server.refusing ^= {place.id}
            self.changed()

    @rule(number=pick, at=pick)
    def refuse_for_a_while(self, number: int, at: int) -> None:
        for _ in range(2):
            self.refuse_or_not(number)
            self.find(at, down=False)

    @rule(number=pick, member=who, at=pick)
    def join_after_asking(self, number: int, member: int, at: int) -> None:
        self.find(at, down=False)
        self.join(number, member, announced=True)
        self.find(at, down=False)

    @rule(
        number=pick,
        pictures=st.integers(1, 3),
        author=who,
        source=st.sampled_from([Source.ATTACHMENT, Source.FORWARD, Source.PREVIEW]),
        weak=st.booleans(),
        repost=st.booleans(),
        spoiler=st.booleans(),
    )
    def post(
        self, number: int, pictures: int, author: int, source: Source, weak: bool, repost: bool, spoiler: bool
    ) -> None:
        place = self.one_of(number)
        if place is None or place.archived or self.numbers > 150:
            return
        message_id = snowflake(self.next())
        earlier = [one for _, one in self.server.pictures()]
        for _ in range(pictures):
            at = self.next()
            near = 0.3 if weak else 0.98 - 0.003 * at
            new = Picture(message_id, at, source, author, near, 1 + at % 14, f"{at:064x}", spoiler)
            if repost and earlier:
                of = earlier[number % len(earlier)]
                new.near, new.side, new.content = of.near, of.side, of.content
            place.pictures.append(new)
        if self.server.reads(BOT, place) and place.id not in self.server.refusing:
            self.run(self.index(place, message_id))

    async def index(self, place: Place, message_id: int) -> None:
        cached: Any = self.guild.get_channel_or_thread(place.id)
        data = self.server.message(place.id, message_id)
        message = discord.Message(state=self.guild._state, channel=cached, data=data)
        pictures = {one.key: one for one in place.pictures if one.message_id == message_id}
        batch = []
        for image in await self.bot.store.accept(self.messages.seen(message, channel_ref(message.channel)).images):
            picture = pictures[image.ref.message_id, image.ref.source, image.ref.attachment_id]
            picture.indexed = True
            self.ids[picture.key] = image.id
            batch.append((image, Finished(image.id, picture.content, 1, 1, picture.sight.astype(np.float16))))
        assert {one.key for one in pictures.values() if one.indexed} == set(pictures)
        await self.bot.registry.commit(batch)

    @rule(number=pick, noticed=noticed)
    def delete_message(self, number: int, noticed: bool) -> None:
        if (found := self.some_picture(number)) is not None:
            message_id = found[1].message_id
            for one in found[0].pictures:
                one.there &= one.message_id != message_id
            if noticed:
                self.run(self.bot.registry.forget_messages([message_id]))

    @rule(number=pick, noticed=noticed)
    def edit_out(self, number: int, noticed: bool) -> None:
        if (found := self.some_picture(number)) is not None:
            found[1].there = False
            if noticed:
                self.run(self.bot.registry.forget_images(found[1].message_id, [found[1].key[1:]]))

    @rule(number=pick)
    def edit_spoiler(self, number: int) -> None:
        if (found := self.some_picture(number)) is not None:
            found[1].spoiler = not found[1].spoiler

    @rule(number=pick, noticed=noticed)
    def delete_place(self, number: int, noticed: bool) -> None:
        place = self.one_of(number)
        if place is None or len(self.server.places) < 4:
            return
        for one in [one for one in self.server.places.values() if place.id in (one.id, one.parent)]:
            del self.server.places[one.id]
        self.changed()
        if noticed:
            self.run(self.bot.registry.forget_channel(place.id))

    @rule(author=who)
    def forget_me(self, author: int) -> None:
        self.run(self.bot.registry.forget_author(GUILD, author, up_to_message=snowflake(self.numbers)))
        for _, one in self.server.pictures():
            one.indexed &= one.author != author

    def some_picture(self, number: int) -> tuple[Place, Picture] | None:
        pictures = [found for found in self.server.pictures() if found[1].there]
        return pictures[number % len(pictures)] if pictures else None

    # -- what is asked

    @invariant()
    def ask_everywhere(self) -> None:
        """After every tenth change."""
        self.steps += 1
        if self.steps % 10 == 0:
            for number in range(len(self.server.places)):
                self.find(number, down=False)
            self.ask_in_public(self.steps)

    @rule(number=pick, down=st.sampled_from([False, False, True]))
    def find(self, number: int, down: bool) -> None:
        self.find_in(number, None, down=down)

    @rule(number=pick, only=pick)
    def find_in_channel(self, number: int, only: int) -> None:
        self.find_in(number, self.one_of(only), down=False)

    def find_in(self, number: int, channel: Place | None, *, down: bool) -> None:
        here = self.active(number)

        def matches(place: Place, picture: Picture) -> float:
            return picture.near - CALIBRATION.text_threshold

        def ask(audience: MemberAudience) -> Awaitable[SearchResult]:
            only = frozenset({channel.id}) if channel is not None else None
            return self.search.ask(audience, Question("this", channels=only))

        for member in MEMBERS:
            self.ask(member, here, ask, matches, channel=channel, by_content=True, down=down)

    @rule(number=pick, of=pick, linked=st.booleans())
    def more_like(self, number: int, of: int, linked: bool) -> None:
        """By the button below a result, or by a link to the message."""
        here, found = self.active(number), self.some_picture(of)
        if found is None or not found[1].indexed:
            return
        place, asked = found
        first = next(one for one in place.pictures if one.message_id == asked.message_id and one.there)
        if linked and not first.indexed:
            return
        link = f"https://discord.com/channels/{GUILD}/{place.id}/{asked.message_id}"
        subject = first if linked else asked
        left_out = [one for one in place.pictures if linked and one.message_id == asked.message_id] or [asked]

        def matches(place: Place, picture: Picture) -> float:
            return -1 if picture in left_out else float(picture.sight @ subject.sight) - CALIBRATION.image_threshold

        async def ask(audience: MemberAudience) -> SearchResult:
            if linked:
                query = await self.query_images.from_link((GUILD, audience.member.id), audience, link)
            else:
                query = await self.query_images.from_image_id(audience, self.ids[asked.key])
            return await self.search.ask(audience, query.question)

        for member in MEMBERS:
            try:
                self.ask(member, here, ask, matches, spent=3)
            except (MessageNotFound, ImageForbidden):  # the member reads the same sentence
                assert not self.server.shows(place, member, here.id) or (place.id, member) in self.unannounced
            else:
                assert self.server.may_show(place, member, here.id)

    def ask(
        self,
        member: int,
        here: Place,
        ask: Callable[[MemberAudience], Awaitable[SearchResult]],
        matches: Callable[[Place, Picture], float],
        *,
        channel: Place | None = None,
        spent: int = 0,
        by_content: bool = False,
        down: bool = False,
    ) -> None:
        """matches: by how much a picture is above the threshold. channel: the only one to search.

        spent: requests before the search, at most.
        """
        server = self.server
        asker = server.member(self.guild, member)
        allowed = [
            (place, one)
            for place, one in server.pictures()
            if one.indexed and server.may_show(place, member, here.id)
            if channel is None or channel.id in (place.id, place.parent)
        ]
        seen = [(place, one) for place, one in allowed if server.shows(place, member, here.id)]
        optional = {place.id for place, _ in seen if (place.id, member) in self.unannounced}
        asked_about = {
            place.id: 2 if place.archived else 1
            for place, one in server.pictures()
            if place.kind == PRIVATE_THREAD and one.indexed and not self.manages(member, place)
        }
        if sum(asked_about.values()) + spent > MEMBERSHIP_REQUESTS:
            optional |= asked_about.keys()
        dead = server.refusing or len(self.ids) > sum(one.there and one.indexed for _, one in server.pictures())
        for attempt in range(8):
            server.down, server.requests = down, 0
            server.looked_up.clear()
            result = self.run(ask(MemberAudience(asker, here.id, self.messages.refusals)))
            server.down = False
            assert server.requests <= MEMBERSHIP_REQUESTS + (spent > 0)
            for place in filter(None, map(server.places.get, server.looked_up)):
                root = server.root(place)
                assert root is not None
                assert server.reads(BOT, root), "what the bot's permissions do not allow costs no request"
            shown = self.check_shown(result, {one.key: (place, one) for place, one in seen}, matches)
            missing = self.missing(shown, [found for found in seen if found[0].id not in optional], matches, by_content)
            if down or (not missing and not result.unreachable):
                break
            assert dead and attempt < 7, missing  # else what is gone is forgotten by and by
        assert down or not result.unreachable
        # Whether there was anything to search is told by what the member may see, and by nothing else.
        assert allowed or not result.searched
        assert down or result.searched or not any(one.there and place.id not in optional for place, one in seen)

    def manages(self, member: int, place: Place) -> bool:
        root = self.server.root(place)
        return root is not None and bool(self.server.rights(member, root) & MANAGE_THREADS)

    def check_shown(
        self,
        result: SearchResult,
        seen: dict[tuple[int, Source, int], tuple[Place, Picture]],
        matches: Callable[[Place, Picture], float],
    ) -> list[Picture]:
        shown = []
        for match in result.matches:
            ref = match.image.ref
            place, picture = seen[ref.message_id, ref.source, ref.attachment_id]
            assert picture.there
            assert matches(place, picture) > -ROUNDING
            bars = any(one.spoiler for one in place.pictures if one.message_id == picture.message_id and one.there)
            assert match.remote.spoiler == (bars if picture.source is Source.PREVIEW else picture.spoiler)
            shown.append(picture)
        assert [match.score for match in result.matches] == sorted((m.score for m in result.matches), reverse=True)
        assert len(shown) == len({one.key for one in shown}) <= LIMIT
        return shown

    def missing(
        self,
        shown: list[Picture],
        seen: list[tuple[Place, Picture]],
        matches: Callable[[Place, Picture], float],
        by_content: bool,
    ) -> list[Picture]:
        """What should have been shown: it matches, and there was room for it or for what is worse."""
        places = {one.key: place for place, one in self.server.pictures()}
        keys = {one.content if by_content else one.key for one in shown}
        worst = min((matches(places[one.key], one) for one in shown), default=0.0)
        least = worst + ROUNDING if len(shown) == LIMIT else ROUNDING
        return [
            one
            for place, one in seen
            if one.there and matches(place, one) > least and (one.content if by_content else one.key) not in keys
        ]

    @rule(number=pick, within=pick, everywhere=st.booleans(), down=st.sampled_from([False, False, True]))
    def draw_map(self, number: int, within: int, everywhere: bool, down: bool) -> None:
        here, channel = self.active(number), None if everywhere else self.one_of(within)
        for member in MEMBERS:
            audience = MemberAudience(self.server.member(self.guild, member), here.id, self.messages.refusals)
            self.server.down, self.server.requests = down, 0
            until = self.loop.time() + 60
            pictures = self.run(self.maps.choose(audience, None if channel is None else channel.id, 100, until))
            self.server.down = False
            assert self.server.requests <= MEMBERSHIP_REQUESTS
            self.check_map(member, here, channel, pictures.found, down=down)

    def check_map(
        self, member: int, here: Place, channel: Place | None, found: Sequence[MapPicture], *, down: bool
    ) -> None:
        by_key = {one.key: (place, one) for place, one in self.server.pictures() if one.indexed}
        shown = [by_key[one.image.ref.message_id, *one.image.ref.key] for one in found]
        for place, picture in shown:
            assert self.server.shows(place, member, here.id)
            assert picture.there
            assert channel is None or channel.id in (place.id, place.parent)
        assert not any(one.remote.spoiler for one in found)
        contents = Counter(one.content for _, one in self.server.pictures())
        for place, picture in by_key.values():
            asked_about = place.kind == PRIVATE_THREAD and not self.manages(member, place)
            wanted = channel is None or channel.id in (place.id, place.parent)
            if down or asked_about or not wanted or contents[picture.content] > 1 or not picture.there:
                continue
            image = self.run(self.bot.store.get([self.ids[picture.key]]))[self.ids[picture.key]]
            bars = any(one.spoiler for one in place.pictures if one.message_id == picture.message_id and one.there)
            if self.server.shows(place, member, here.id) and not bars and not image.ref.spoiler:
                assert (place, picture) in shown

    @rule(of=pick)
    def ask_in_public(self, of: int) -> None:
        for here in list(self.server.places.values()):
            if (found := self.some_picture(of)) is not None and not here.archived and self.server.follows(BOT, here):
                self.ask_in(here, found[1])

    def ask_in(self, here: Place, subject: Picture) -> None:
        audience = ChannelAudience(
            self.guild, cast(Any, channel_ref(self.guild.get_channel_or_thread(here.id))), self.messages.refusals
        )
        pictures = {one.key: (place, one) for place, one in self.server.pictures() if one.indexed}

        def matches(place: Place, picture: Picture) -> float:
            return float(picture.sight @ subject.sight) - CALIBRATION.image_threshold

        expected = [(place, one) for place, one in pictures.values() if self.open_to_all(place, here)]
        for _ in range(8):  # what is gone is forgotten by and by
            result = self.run(self.search.ask(audience, like(subject.sight)))
            shown = self.check_shown(result, pictures, matches)
            if not (missing := self.missing(shown, expected, matches, by_content=False)):
                break
        for reader in (*MEMBERS, STRANGER):
            for roles in self.possible_roles(reader):
                self.check_reader(reader, roles, here, [pictures[one.key][0] for one in shown])
        assert not missing

    def possible_roles(self, reader: int) -> list[set[int]]:
        """Those of the member; and who reads the answer later may have any."""
        if reader != STRANGER:
            return [self.server.roles.get(reader, set())]
        return [set(), {ROLES[0]}, {ROLES[1]}, set(ROLES)]

    def check_reader(self, reader: int, roles: set[int], here: Place, places: list[Place]) -> None:
        """Whoever reads the answer could see each of these places."""
        server = self.server
        before, server.roles[reader] = server.roles.get(reader, set()), roles
        strange = reader == STRANGER and here.kind == PRIVATE_THREAD
        if strange:
            here.members.add(reader)
        if server.follows(reader, here):
            for place in places:
                assert server.shows(place, reader, here.id), (reader, roles, place)
        server.roles[reader] = before
        if strange:
            here.members.discard(reader)

    def open_to_all(self, place: Place, here: Place) -> bool:
        """A sufficient condition: nobody is denied anything there, and everyone may read it."""
        root, server = self.server.root(place), self.server
        if (
            root is None
            or not server.shows(place, OWNER, here.id)
            or place.kind == PRIVATE_THREAD
            or root.kind == VOICE
        ):
            return False
        denied = any(deny & (VIEW | HISTORY) for _, deny in root.overwrites.values())
        return not denied and server.everyone & (VIEW | HISTORY) == VIEW | HISTORY


ServerMachine.TestCase.settings = settings(
    max_examples=10_000 if THOROUGH else 12, stateful_step_count=30, deadline=None
)
TestVisibility = ServerMachine.TestCase
