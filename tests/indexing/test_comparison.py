"""What a gap swallowed is found by reading the last messages again, and nothing that exists is taken for deleted."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.catch_up import unlisted
from bot.indexing.comparison import compare
from bot.keyed_lock import KeyedLock
from bot.models import NEWEST, ChannelRef, ImageRef, Page, PublicReply, RemoteImage, SeenMessage, Source, ThreadKind
from bot.store.database import Database
from bot.store.guilds import Reply
from tests.empty_database import empty_database
from tests.indexing.away import Bot, Discord
from tests.indexing.support import channel_ref, image_ref, snowflake

ONE, TWO = channel_ref(1), channel_ref(2)


# -- the pure comparison


def shown(ref: ImageRef, *more: ImageRef) -> SeenMessage:
    return SeenMessage(ref.message_id, (ref, *more), frozenset(one.key for one in (ref, *more)))


FIRST, SECOND, THIRD = (image_ref(number, ONE) for number in (1, 2, 3))


def test_a_message_that_is_missing_within_the_range_was_deleted() -> None:
    page = Page([shown(FIRST), shown(THIRD)], FIRST.message_id - 1, THIRD.message_id)
    assert compare([FIRST, SECOND, THIRD], page) == {SECOND.message_id: []}


def test_nothing_is_known_of_messages_outside_the_range() -> None:
    page = Page([shown(SECOND)], FIRST.message_id, SECOND.message_id)
    assert compare([FIRST, SECOND, THIRD], page) == {}


def test_of_a_message_that_is_there_the_missing_images_were_removed() -> None:
    other = replace(FIRST, attachment_id=5)
    assert compare([FIRST, other], Page([shown(FIRST)], 0)) == {FIRST.message_id: [(Source.ATTACHMENT, 5)]}


def test_a_message_whose_content_is_withheld_says_nothing_about_its_images() -> None:
    assert compare([FIRST], Page([SeenMessage(FIRST.message_id, carried=None)], 0)) == {}


def test_a_file_on_a_host_that_is_not_allowed_is_still_carried() -> None:
    page = Page([SeenMessage(FIRST.message_id, (), frozenset({FIRST.key}))], 0)
    assert compare([FIRST], page) == {}


# -- which channels


async def test_channels_with_something_stored_or_recent_messages_are_compared_the_most_recent_first(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    day = 24 * 3600
    places = [channel_ref(number) for number in (1, 2, 3, 4)]
    bot = Bot(database, discord, *places)
    bots.append(bot)
    watermarks = [snowflake(10 * day), snowflake(0), snowflake(1), snowflake(9.5 * day)]
    for place, message_id in zip(places, watermarks, strict=True):
        await bot.channels.mark_seen(place, message_id)
    await bot.store.accept([image_ref(0, places[1])])
    await bot.online()
    assert [channel_id for channel_id, _ in discord.compared] == [places[at].channel_id for at in (0, 3, 1)]


def test_what_was_not_listed_is_asked_after_once_and_a_missing_channel_instead_of_its_threads() -> None:
    thread, private = thread_of(ONE, 1), replace(thread_of(ONE, 2), thread=ThreadKind.PRIVATE)
    elsewhere, there = thread_of(TWO, 3), {ONE.channel_id}
    assert unlisted([thread, ONE, elsewhere, TWO, private], there) == [thread, TWO, private]
    assert unlisted([ONE, thread], {ONE.channel_id, thread.channel_id}) == []
    assert unlisted([thread, private], ()) == [ONE]


def thread_of(where: ChannelRef, number: int) -> ChannelRef:
    return ChannelRef(where.guild_id, snowflake(number) + 7, where.channel_id, ThreadKind.PUBLIC)


# -- what a gap swallowed


@pytest.fixture
def discord() -> Discord:
    return Discord()


@pytest.fixture
async def bots() -> AsyncIterator[list[Bot]]:
    running: list[Bot] = []
    yield running
    for bot in running:
        await bot.catch_up.close()


async def joined(database: Database, discord: Discord, bots: list[Bot]) -> Bot:
    bot = Bot(database, discord, ONE, TWO)
    bots.append(bot)
    await bot.online()
    return bot


async def keys(bot: Bot) -> set[tuple[int, Source, int]]:
    return {(image.ref.message_id, *image.ref.key) for image in await bot.images()}


def keys_in(discord: Discord) -> set[tuple[int, Source, int]]:
    messages = [message for channel in discord.messages.values() for message in channel.values()]
    return {(message.message_id, *ref.key) for message in messages for ref in message.images}


@pytest.mark.parametrize("change", [Discord.delete, Discord.remove_file, Discord.add_preview])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["the oldest message", "one between", "the newest message"])
async def test_what_happened_to_a_message_while_the_bot_was_away_is_noticed(
    database: Database, discord: Discord, bots: list[Bot], change, which: int
) -> None:
    first = await joined(database, discord, bots)
    posted = [discord.post(number, ONE) for number in (1, 2, 3)]
    for ref in posted:
        await first.see(ref)
    await first.catch_up.close()
    change(discord, posted[which])
    bot = await joined(database, discord, bots)
    assert await keys(bot) == keys_in(discord)


async def test_a_deleted_image_is_forgotten_although_the_watermark_had_not_reached_its_message(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    """The process was killed after the image was accepted, and before the watermark moved."""
    first = await joined(database, discord, bots)
    await first.catch_up.close()
    killed_at, later = discord.post(1, ONE), discord.post(2, ONE)
    await first.store.accept([killed_at])
    discord.delete(killed_at)
    bot = await joined(database, discord, bots)
    assert await bot.known() == [later.message_id]


@pytest.mark.parametrize("state", ["parked", "pending"])
async def test_parked_and_pending_images_are_compared_too(
    database: Database, discord: Discord, bots: list[Bot], state: str
) -> None:
    first = await joined(database, discord, bots)
    ref = discord.post(1, ONE)
    await first.see(ref)
    await first.catch_up.close()
    [image] = await first.images()
    if state == "parked":
        await first.store.park(image.id, "broken")
    discord.delete(ref)
    bot = await joined(database, discord, bots)
    assert await bot.store.by_message(ref.message_id) == []


async def test_a_comparison_that_fails_is_tried_again_and_a_refused_one_deletes_nothing(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    refs = [discord.post(1, ONE), discord.post(2, TWO)]
    for ref in refs:
        await first.see(ref)
        discord.delete(ref)
    await first.catch_up.close()
    discord.errors = {ONE.channel_id: [ImageUnreachable(), RuntimeError()], TWO.channel_id: [ImageForbidden()]}
    bot = await joined(database, discord, bots)
    assert await bot.known() == [refs[1].message_id]


async def test_a_message_is_not_deleted_because_a_page_lacks_it(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    posted = [discord.post(number, ONE) for number in range(1, 6)]
    for ref in posted:
        await first.see(ref)
    await first.catch_up.close()
    discord.lacks = {posted[0].message_id, posted[2].message_id}
    discord.delete(posted[1])
    bot = await joined(database, discord, bots)
    assert await keys(bot) == keys_in(discord)
    assert len(await keys(bot)) == 4


async def test_an_empty_page_forgets_no_more_than_was_looked_up(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    posted = [discord.post(number, ONE) for number in range(1, 251)]
    await first.store.accept(posted)
    await first.see(posted[-1])
    await first.catch_up.close()
    for ref in posted:
        discord.delete(ref)
    bot = await joined(database, discord, bots)
    newest = [ref.message_id for ref in posted[150:]]
    assert discord.looked_up == newest[::-1]
    assert await bot.known() == [ref.message_id for ref in posted[:150]]


async def test_a_message_that_cannot_be_looked_up_is_kept_and_costs_no_other_its_turn(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    unreachable, gone = discord.post(1, ONE), discord.post(2, ONE)
    for ref in (unreachable, gone):
        await first.see(ref)
        discord.delete(ref)
    await first.catch_up.close()
    look_up = discord.look_up

    async def fail(ref: ImageRef) -> list[RemoteImage]:
        if ref == unreachable:
            raise ImageUnreachable
        return await look_up(ref)

    discord.look_up = fail  # type: ignore[method-assign]
    bot = await joined(database, discord, bots)
    assert await bot.known() == [unreachable.message_id]


async def test_a_comparison_accepts_nothing_from_before_the_bot_joined(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    before = [discord.post(number, ONE) for number in (1, 2)]
    first = await joined(database, discord, bots)
    posted = discord.post(3, ONE)
    await first.see(posted)
    await first.catch_up.close()
    discord.add_preview(before[0])
    discord.add_preview(posted)
    bot = await joined(database, discord, bots)
    assert await bot.known() == [posted.message_id] * 2


async def test_an_edit_of_a_message_from_before_the_bot_joined_brings_none_of_its_images(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    before = discord.post(1, ONE)
    bot = await joined(database, discord, bots)
    posted = discord.post(2, ONE)
    await bot.see(posted)
    for ref in (before, posted):
        discord.add_preview(ref)
        await bot.catch_up.edited(ONE, discord.of(ref))
    assert await bot.known() == [posted.message_id] * 2


async def test_an_edit_that_could_not_be_handled_is_compared_later(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots)
    ref = discord.post(1, ONE)
    await bot.see(ref)
    discord.add_preview(ref)

    async def fail(refs: list[ImageRef]) -> list:
        bot.accepting = bot.store.accept
        raise OSError("disk")

    bot.accepting = fail
    with pytest.raises(OSError, match="disk"):
        await bot.catch_up.edited(ONE, discord.of(ref))
    await bot.catch_up.finished()
    assert await keys(bot) == keys_in(discord)


async def test_what_was_missed_is_read_before_anything_is_compared(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    await first.see(discord.post(1, ONE))
    await first.see(discord.post(2, TWO))
    await first.catch_up.close()
    missed = discord.post(3, TWO)
    order: list[str] = []
    page = discord.page

    async def noted(channel, **bounds):
        order.extend(bounds)
        return await page(channel, **bounds)

    discord.page = noted  # type: ignore[method-assign]
    bot = await joined(database, discord, bots)
    assert missed.message_id in await bot.known()
    assert [order[0], len(order)] == ["after", 3 * 2]


# -- the bot's own replies


async def test_a_reply_whose_sending_the_process_did_not_survive_is_known_again_and_goes_with_its_image(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    kept, gone = discord.post(1, ONE), discord.post(2, ONE)
    for ref in (kept, gone):
        await first.see(ref)
    await first.catch_up.close()  # killed: the replies below were sent, and nothing remembers them
    for number, ref in ((3, kept), (4, gone)):
        discord.put(ONE, SeenMessage(snowflake(number), reply=PublicReply(ref.message_id)))
    discord.delete(gone)
    bot = await joined(database, discord, bots)
    assert await bot.replies.orphans(5) == [Reply(ONE.channel_id, snowflake(4))]
    await bot.registry.forget_messages([kept.message_id])
    assert len(await bot.replies.orphans(5)) == 2


async def test_a_live_reply_is_known_before_the_watermark_passes_it(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots)
    about = discord.post(1, ONE)
    await bot.see(about)
    await bot.catch_up.live(ONE, SeenMessage(snowflake(2), reply=PublicReply(about.message_id)))
    assert await bot.watermark(ONE) == snowflake(2)
    await bot.registry.forget_messages([about.message_id])
    assert await bot.replies.orphans(5) == [Reply(ONE.channel_id, snowflake(2))]


# -- channels and threads that were not listed


async def archived_thread(database: Database, discord: Discord, bots: list[Bot], posts: int) -> list[ImageRef]:
    """A thread in which so many images were seen; now it is archived, and the bot away."""
    first = await joined(database, discord, bots)
    posted = [discord.post(number, THREAD) for number in range(1, 1 + posts)]
    for ref in posted:
        await first.see(ref)
    await first.catch_up.close()
    discord.asked.clear()
    discord.compared.clear()
    return posted


THREAD = thread_of(ONE, 0)


@pytest.mark.parametrize("error", [None, ImageUnreachable(), RuntimeError()], ids=repr)
async def test_an_archived_thread_is_caught_up_on_and_compared_with_one_request_that_is_tried_again(
    database: Database, discord: Discord, bots: list[Bot], error: Exception | None
) -> None:
    removed, with_preview, *_ = await archived_thread(database, discord, bots, 3)
    discord.delete(removed)
    discord.add_preview(with_preview)
    missed = discord.post(4, THREAD)
    discord.errors[THREAD.channel_id] = [error] if error else []
    bot = await joined(database, discord, bots)
    assert await keys(bot) == keys_in(discord)
    assert await bot.watermark(THREAD) == missed.message_id
    assert discord.compared.count((THREAD.channel_id, NEWEST)) == (2 if error else 1)
    assert THREAD.channel_id not in [channel_id for channel_id, _ in discord.asked]


async def test_an_archived_thread_in_which_more_than_a_page_was_missed_is_read_from_its_watermark(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    await archived_thread(database, discord, bots, 1)
    discord.page_messages = 3
    missed = [discord.post(number, THREAD) for number in range(2, 10)]
    bot = await joined(database, discord, bots)
    assert await keys(bot) == keys_in(discord)
    assert await bot.watermark(THREAD) == missed[-1].message_id


async def test_an_archived_thread_without_images_is_read_where_it_was_lately_active(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    old, day = thread_of(ONE, 20), 24 * 3600
    await first.channels.mark_seen(old, snowflake(30))
    await first.channels.mark_seen(THREAD, snowflake(2 * day))
    await first.catch_up.close()
    discord.compared.clear()
    missed = discord.post(3 * day, THREAD)
    bot = await joined(database, discord, bots)
    assert await bot.known() == [missed.message_id]
    assert [channel_id for channel_id, until in discord.compared if until == NEWEST] == [THREAD.channel_id]


@pytest.mark.parametrize("gone", [THREAD, ONE], ids=["a thread", "a channel with its threads"])
async def test_what_discord_says_is_deleted_is_forgotten_and_what_may_not_be_read_is_not(
    database: Database, discord: Discord, bots: list[Bot], gone: ChannelRef
) -> None:
    await archived_thread(database, discord, bots, 2)
    other = thread_of(TWO, 5)
    hidden = image_ref(6, other)
    await bots[-1].store.accept([hidden])
    discord.errors = {gone.channel_id: [ImageGone()], other.channel_id: [ImageForbidden()]}
    bot = Bot(database, discord, *([ONE, TWO] if gone is THREAD else [TWO]))
    bots.append(bot)
    await bot.online()
    assert await bot.known() == [hidden.message_id]


async def test_a_channel_that_turns_out_to_be_deleted_while_it_is_read_is_forgotten(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    first = await joined(database, discord, bots)
    await first.see(discord.post(1, ONE))
    await first.catch_up.close()
    discord.errors[ONE.channel_id] = [ImageGone()]
    bot = await joined(database, discord, bots)
    assert await bot.known() == []


# -- spoilers


async def test_an_image_that_has_become_a_spoiler_takes_the_replies_that_show_it_openly_along(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    """By an edit, once again after it was none for a while, and by an edit that nobody told of. The last of the replies
    before that was sent about a spoiler.
    """
    bot = await joined(database, discord, bots)
    ref, other = discord.post(1, ONE), discord.post(2, ONE)
    for one in (ref, other):
        await bot.see(one)
    [image] = await bot.store.by_message(ref.message_id)
    [another] = await bot.store.by_message(other.message_id)
    await bot.replies.remember(ONE, 50, [another.id])
    for reply, spoiler in ((51, True), (52, False), (53, True), (54, True)):
        discord.set_spoiler(ref, spoiler)
        await bot.replies.remember(ONE, reply, [another.id, image.id])
        await bot.catch_up.edited(ONE, discord.of(ref))
    assert await bot.replies.orphans(9) == [Reply(ONE.channel_id, reply) for reply in (51, 52, 53)]
    discord.set_spoiler(ref, False)
    await bot.catch_up.edited(ONE, discord.of(ref))
    await bot.replies.remember(ONE, 55, [image.id])
    await bot.catch_up.close()
    discord.set_spoiler(ref, True)
    again = await joined(database, discord, bots)
    assert await again.replies.orphans(9, 53) == [Reply(ONE.channel_id, 54), Reply(ONE.channel_id, 55)]
    assert await keys(again) == keys_in(discord), "the images stay"


async def test_a_reply_to_what_was_posted_as_a_spoiler_stays_when_the_message_is_edited(
    database: Database, discord: Discord, bots: list[Bot]
) -> None:
    bot = await joined(database, discord, bots)
    ref = discord.post(1, ONE)
    discord.set_spoiler(ref, True)
    await bot.catch_up.live(ONE, discord.of(ref))
    [image] = await bot.store.by_message(ref.message_id)
    await bot.replies.remember(ONE, 50, [image.id])
    await bot.catch_up.edited(ONE, discord.of(ref))
    await bot.catch_up.close()
    again = await joined(database, discord, bots)
    assert await again.replies.orphans(9) == []


# -- any interleaving

KINDS = ("post", "delete", "remove file", "add preview", "remove previews")
happenings = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.booleans()), max_size=6)

POST, PREVIEW, NO_PREVIEW = ("post", 0, True), ("add preview", 0, True), ("remove previews", 0, True)


class Story:
    """Messages of one channel; each change is told to the bot while it is online, in a task of its own, and those of
    one message in order, as the bot's listeners do it.
    """

    def __init__(self, discord: Discord) -> None:
        self.discord = discord
        self.numbers = iter(range(1, 1000))
        self.posted: list[ImageRef] = []
        self.told: list[asyncio.Task[object]] = []
        self.message_lock = KeyedLock()

    def happen(self, kind: str, which: int, bot: Bot | None) -> None:
        there = [ref for ref in self.posted if ref.message_id in self.discord.messages.get(ONE.channel_id, {})]
        if kind == "post":
            ref = self.discord.post(next(self.numbers), ONE)
            self.posted.append(ref)
            self._tell(ref, bot and bot.see(ref))
        elif there:
            ref = there[which % len(there)]
            if kind == "delete":
                self.discord.delete(ref)
                self._tell(None, bot and bot.registry.forget_messages([ref.message_id]))
                return
            if kind == "remove file":
                self.discord.remove_file(ref)
            elif kind == "add preview":
                self.discord.add_preview(ref)
            else:
                message = self.discord.of(ref)
                left = tuple(one for one in message.images if one.source is not Source.PREVIEW)
                self.discord.put(ONE, replace(message, images=left, carried=frozenset(one.key for one in left)))
            self._tell(ref, bot and bot.catch_up.edited(ONE, self.discord.of(ref)))

    def _tell(self, ref: ImageRef | None, event: Awaitable[object] | None) -> None:
        async def in_order() -> None:
            async with self.message_lock(ref.message_id) if ref else nullcontext():
                await event

        if event is not None:
            self.told.append(asyncio.create_task(in_order()))


async def live_through(before: list, away: list, during: list[list], page_messages: int, path: Path) -> None:
    discord = Discord(page_messages)
    story = Story(discord)
    async with await Database.open(empty_database(path / "magpie.sqlite3")) as database:
        first = Bot(database, discord, ONE)
        await first.online()
        for kind, which, _ in before:
            story.happen(kind, which, first)
            await asyncio.gather(*story.told)
        await first.catch_up.close()
        for kind, which, _ in away:
            story.happen(kind, which, None)
        bot = Bot(database, discord, ONE)
        knew, compared_after = await keys(bot), 0
        answer, chapters = discord.page, iter(during)

        async def page(channel, **bounds) -> Page:
            """Discord answers with what was there before these changes, which are told before or after the answer."""
            nonlocal compared_after
            answered = await answer(channel, **bounds)
            if "before" in bounds:
                compared_after = answered.after
            for kind, which, before_the_answer in next(chapters, []):
                story.happen(kind, which, bot)
                if before_the_answer:
                    await asyncio.gather(*story.told)
            return answered

        bot.catch_up._comparer._history = page
        await bot.online()
        await asyncio.gather(*story.told)
        await bot.catch_up.finished()
        known, there = await keys(bot), keys_in(discord)
        assert {key for key in known if key[0] > compared_after} == {key for key in there if key[0] > compared_after}
        assert knew & there <= known
        await bot.catch_up.close()


@settings(deadline=None, max_examples=60)
@given(
    before=happenings,
    away=happenings,
    during=st.lists(happenings, min_size=1, max_size=3),
    page_messages=st.sampled_from((2, 3, 100)),
)
@example([POST, PREVIEW], [NO_PREVIEW], [[PREVIEW]], 100)  # the page lacks what an event has brought back
@example([POST, PREVIEW], [], [[NO_PREVIEW]], 100)  # the page has what an event has taken away
def test_whatever_happened_and_happens_meanwhile_the_store_equals_discord_afterwards(
    before: list, away: list, during: list[list], page_messages: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live_through(before, away, during, page_messages, Path(folder)))
