"""A backfill brings everything that exists from before the bot joined, once, and nothing that was deleted."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable, SearchNotReady, SearchUnavailable
from bot.indexing import backfill as backfill_module
from bot.models import BackfillMode, BackfillState, ChannelRef, ImageRef, ImageState, SeenMessage, Source, ThreadKind
from bot.store.backfills import Progress, SearchFilter, TaskKind
from bot.store.database import Database
from tests.empty_database import empty_database
from tests.indexing.away import Bot, Discord
from tests.indexing.support import GUILD, channel_ref, image_ref, snowflake, until

ONE, TWO, FORUM = channel_ref(1), channel_ref(2), channel_ref(3)
UNTIL = snowflake(10_000)
THOROUGH, QUICK = BackfillMode.THOROUGH, BackfillMode.QUICK


@pytest.fixture
def discord() -> Discord:
    return Discord(page_messages=10)


@pytest.fixture
async def bots(database: Database, discord: Discord) -> AsyncIterator[Callable[[], Awaitable[Bot]]]:
    """Starts another bot on the same database, in the place of the one before."""
    running: list[Bot] = []

    async def start() -> Bot:
        for bot in running:
            await closed(bot)
        running.append(await started(database, discord))
        return running[-1]

    yield start
    for bot in running:
        await closed(bot)


async def started(database: Database, discord: Discord) -> Bot:
    bot = Bot(database, discord, ONE, TWO)
    await run(bot)
    return bot


async def run(bot: Bot) -> None:
    await bot.online()
    bot.backfills.start()
    bot.backfills.available(GUILD)


async def closed(bot: Bot) -> None:
    await bot.backfills.close()
    await bot.catch_up.close()
    await bot.registry.close()


async def begin(bot: Bot, mode: BackfillMode, *places: ChannelRef) -> None:
    tasks = [(place, TaskKind.MESSAGES) for place in places or (ONE,)]
    assert await bot.backfills.begin(GUILD, None, mode, UNTIL, tasks)


async def indexed(bot: Bot) -> None:
    """In the place of an indexer: gives up whatever waits."""
    for image in await bot.images():
        await bot.store.park(image.id, "encoding_failed")


async def finished(bot: Bot) -> Progress:
    async def is_done() -> bool:
        await indexed(bot)
        backfill = await bot.backfill_store.get(GUILD)
        return backfill is not None and backfill.state is BackfillState.DONE

    await until(is_done)
    progress = await bot.backfills.progress(GUILD)
    assert progress is not None
    return progress


async def stored(bot: Bot, *places: ChannelRef) -> set[ImageRef]:
    return {image.ref for place in places or (ONE,) for image in await bot.store.in_range(place.channel_id, 0, UNTIL)}


async def test_a_whole_history_is_read_once_from_its_newest_message_to_its_oldest(discord, bots) -> None:
    before = [discord.post(number, ONE) for number in range(35)]
    bot = await bots()
    assert await stored(bot) == set()
    await begin(bot, THOROUGH)
    progress = await finished(bot)
    assert await stored(bot) == set(before)
    assert all(image.backfilled for image in await bot.store.in_range(ONE.channel_id, 0, UNTIL))
    assert [end for _, end in discord.compared] == [UNTIL, *(before[at].message_id - 1 for at in (25, 15, 5))]
    assert (progress.messages, progress.found, progress.failed, progress.read, progress.fraction) == (
        35,
        35,
        35,
        1,
        1.0,
    )
    assert bot.sleep.slept, "a pause after each request"


async def test_what_was_read_counts_as_seen_so_that_a_later_edit_is_taken_in(discord, bots) -> None:
    [old, *_] = [discord.post(number, ONE) for number in range(15)]
    bot = await bots()
    await begin(bot, THOROUGH)
    await finished(bot)
    preview = discord.add_preview(old)
    await bot.catch_up.edited(ONE, discord.of(old))
    assert preview in await stored(bot)
    assert await bot.watermark(ONE) == snowflake(14), "what is new is still read from there on"


async def test_nothing_comes_back_that_was_deleted_forgotten_or_left_out(discord, bots) -> None:
    refs = [discord.post(number, ONE) for number in range(6)]
    for number, author in ((3, 8), (4, 9)):
        theirs = replace(refs[number], author_id=author)
        discord.put(ONE, SeenMessage(theirs.message_id, (theirs,), frozenset({theirs.key})))
    bot = await bots()
    await bot.registry.forget_up_to(GUILD, [ONE.channel_id], refs[0].message_id, for_good=True)
    await bot.registry.exclude_images(GUILD, refs[1].message_id)
    await bot.registry.forget_messages([refs[2].message_id])
    await bot.registry.forget_author(GUILD, 8, refs[5].message_id)
    await bot.rules.exclude_member(GUILD, 9)
    await begin(bot, THOROUGH)
    await finished(bot)
    assert await stored(bot) == {refs[5]}


async def test_a_message_that_is_deleted_while_its_page_is_under_way_stays_deleted(discord, bots) -> None:
    refs = [discord.post(number, ONE) for number in range(5)]
    bot = await bots()

    async def delete() -> None:
        discord.delete(refs[2])
        await bot.registry.forget_messages([refs[2].message_id])

    discord.meanwhile.append(delete)
    await begin(bot, THOROUGH)
    await finished(bot)
    assert await stored(bot) == {refs[0], refs[1], refs[3], refs[4]}


@pytest.mark.parametrize("mode", [THOROUGH, QUICK])
async def test_a_message_that_is_edited_while_its_page_is_under_way_is_taken_as_edited(discord, bots, mode) -> None:
    kept, removed = discord.post(1, ONE), discord.post(2, ONE)
    bot = await bots()
    more: list[ImageRef] = []

    async def edit() -> None:
        more.append(discord.add_preview(kept))
        discord.remove_file(removed)
        for ref in (kept, removed):
            asyncio.get_running_loop().create_task(bot.catch_up.edited(ONE, discord.of(ref)))
        await asyncio.sleep(0)

    discord.meanwhile.append(edit)
    await begin(bot, mode)
    await finished(bot)
    assert await stored(bot) == {kept, *more}


async def test_a_restart_in_the_middle_goes_on_where_it_was(discord, bots) -> None:
    before = [discord.post(number, ONE) for number in range(95)]
    bot = await bots()
    stop = discord.hold_at[before[52].message_id] = asyncio.Event()
    await begin(bot, THOROUGH)
    await discord.reached.wait()
    read = len(discord.compared)
    stop.set()
    again = await bots()
    progress = await finished(again)
    assert await stored(again) == set(before)
    assert (progress.messages, progress.found) == (95, 95), "the page that was interrupted counts once"
    assert len(discord.compared) == 10 + 1 + 1, "and is asked for twice; the other is the catch-up's own comparison"
    assert read == 5


async def test_it_can_be_paused_over_a_restart_resumed_and_cancelled(discord, bots) -> None:
    before = [discord.post(number, ONE) for number in range(60)]
    bot = await bots()
    discord.hold_at[before[45].message_id] = asyncio.Event()
    await begin(bot, THOROUGH)
    await discord.reached.wait()
    assert await bot.backfills.pause(GUILD)
    assert not await bot.backfills.pause(GUILD)
    discord.hold_at.clear()
    again = await bots()
    read = len(discord.compared)
    await asyncio.sleep(0.1)
    assert len(discord.compared) == read, "it stays paused"
    assert await again.backfills.resume(GUILD)
    await until(lambda: len(discord.compared) > read)
    assert await again.backfills.cancel(GUILD)
    assert not await again.backfills.resume(GUILD)
    assert (await again.backfill_store.get(GUILD)).state is BackfillState.CANCELLED
    await begin(again, THOROUGH)
    await finished(again)
    assert await stored(again) == set(before)


async def test_nothing_more_is_read_while_many_images_wait(discord, bots, monkeypatch) -> None:
    monkeypatch.setattr(backfill_module, "MAX_BACKLOG", 20)
    for number in range(60):
        discord.post(number, ONE)
    bot = await bots()
    await begin(bot, THOROUGH)
    await until(lambda: len(discord.compared) == 2)
    await asyncio.sleep(0.2)
    assert len(discord.compared) == 2
    await indexed(bot)
    await until(lambda: len(discord.compared) == 4)


async def test_a_channel_that_cannot_be_read_is_counted_and_one_that_is_gone_is_forgotten(discord, bots) -> None:
    there = discord.post(1, TWO)
    bot = await bots()
    gone = channel_ref(5)
    discord.errors[ONE.channel_id] = [ImageForbidden("no")]
    discord.errors[gone.channel_id] = [ImageGone("gone")]
    await begin(bot, THOROUGH, ONE, gone, TWO)
    progress = await finished(bot)
    assert (progress.channels, progress.read, progress.refused) == (3, 2, 1)
    assert await stored(bot, TWO) == {there}


async def test_a_failing_discord_is_asked_again_after_growing_pauses(discord, bots) -> None:
    ref = discord.post(1, ONE)
    bot = await bots()
    discord.errors[ONE.channel_id] = [ImageUnreachable("down")] * 3
    await begin(bot, THOROUGH)
    await until(lambda: bot.backfills.waits_for_discord(GUILD))
    progress = await finished(bot)
    assert await stored(bot) == {ref}
    assert progress.messages == 1
    assert not bot.backfills.waits_for_discord(GUILD)


async def test_archived_threads_are_read_also_those_of_a_forum(discord, bots) -> None:
    threads = [ChannelRef(GUILD, GUILD + 100 + at, FORUM.channel_id, ThreadKind.PUBLIC) for at in range(5)]
    discord.archived[FORUM.channel_id, TaskKind.PUBLIC] = threads
    posted = {discord.post(at, thread) for at, thread in enumerate(threads)}
    bot = await bots()
    assert await bot.backfills.begin(GUILD, FORUM.channel_id, THOROUGH, UNTIL, [(FORUM, TaskKind.PUBLIC)])
    progress = await finished(bot)
    assert await stored(bot, *threads) == posted
    assert progress.channels == progress.read == 5


async def test_a_channel_that_is_off_is_left_out_and_a_paused_server_waits(discord, bots) -> None:
    discord.post(1, ONE)
    there = discord.post(2, TWO)
    bot = await bots()
    await bot.rules.set_indexed(ONE, False, UNTIL)
    await bot.rules.set_paused(GUILD, True)
    await begin(bot, THOROUGH, ONE, TWO)
    await asyncio.sleep(0.1)
    assert discord.compared == []
    await bot.rules.set_paused(GUILD, False)
    bot.backfills.wake(GUILD)
    await finished(bot)
    assert await stored(bot, ONE, TWO) == {there}


async def test_nothing_older_than_the_retention_is_read(discord, bots) -> None:
    for number in range(30):
        discord.post(number, ONE)
    bot = await bots()
    await bot.rules.set_retention(GUILD, None, 1)  # the messages are from January 2026
    await begin(bot, THOROUGH)
    progress = await finished(bot)
    assert (len(discord.compared), progress.found) == (1, 0)


async def test_one_servers_trouble_holds_up_no_other_server(discord, bots) -> None:
    elsewhere = ChannelRef(5, 1005)
    there = discord.post(1, elsewhere)
    discord.post(2, ONE)
    bot = await bots()
    discord.errors[ONE.channel_id] = [ImageUnreachable("down")] * 1000
    await begin(bot, THOROUGH)
    await until(lambda: bot.backfills.waits_for_discord(GUILD))
    bot.backfills.available(5)
    assert await bot.backfills.begin(5, None, THOROUGH, UNTIL, [(elsewhere, TaskKind.MESSAGES)])
    await until(lambda: stored_is(bot, elsewhere, {there}))


async def stored_is(bot: Bot, place: ChannelRef, refs: set[ImageRef]) -> bool:
    return await stored(bot, place) == refs


# -- by Discord's search


def carried(discord: Discord, number: int, source: Source) -> ImageRef:
    ref = replace(image_ref(number, ONE), source=source)
    discord.put(ONE, SeenMessage(ref.message_id, (ref,), frozenset({ref.key})))
    return ref


async def test_a_search_finds_pictures_page_after_page_then_forwarded_ones_stickers_and_videos(discord, bots) -> None:
    posted = {discord.post(number, place) for place in (ONE, TWO) for number in range(place.channel_id % 10, 40, 3)}
    others = {carried(discord, number, Source.FORWARD) for number in range(100, 103)}
    others |= {carried(discord, 103, Source.STICKER), carried(discord, 104, Source.VIDEO)}
    for number in range(50, 60):  # without any
        discord.put(ONE, SeenMessage(snowflake(number)))
    bot = await bots()
    await begin(bot, QUICK, ONE, TWO)
    progress = await finished(bot)
    assert await stored(bot, ONE, TWO) == posted | others
    asked = [wanted for _, wanted, _ in discord.searched]
    assert asked[:4] == [SearchFilter.IMAGE] * 4
    assert asked[4:] == [SearchFilter.SNAPSHOT] * 2 + [SearchFilter.STICKER] * 2 + [SearchFilter.VIDEO] * 2
    assert all(ids == {ONE.channel_id, TWO.channel_id} for ids, _, _ in discord.searched)
    assert progress.found == progress.expected == progress.messages == len(posted | others)
    assert discord.compared == []
    assert await bot.store.first_seen(ONE.channel_id) == 0


@pytest.mark.parametrize("error", [SearchUnavailable("no"), SearchNotReady(0.01)])
async def test_where_discord_cannot_search_the_history_is_read(discord, bots, error) -> None:
    posted = {discord.post(number, ONE) for number in range(25)}
    bot = await bots()
    discord.search_errors = [error] * 1000
    await begin(bot, QUICK)
    progress = await finished(bot)
    assert await stored(bot) == posted
    assert not progress.backfill.searching
    assert progress.backfill.mode is QUICK


async def test_discord_gets_time_to_index_a_server(discord, bots) -> None:
    posted = {discord.post(number, ONE) for number in range(25)}
    bot = await bots()
    discord.search_errors = [SearchNotReady(0.001)] * 2
    await begin(bot, QUICK)
    progress = await finished(bot)
    assert await stored(bot) == posted
    assert progress.backfill.searching


async def test_a_search_that_fails_half_way_is_continued_by_the_history(discord, bots) -> None:
    posted = {discord.post(number, ONE) for number in range(35)}
    bot = await bots()

    async def fail_from_now_on() -> None:
        discord.search_errors = [SearchUnavailable("no")]

    discord.meanwhile.append(fail_from_now_on)
    await begin(bot, QUICK)
    progress = await finished(bot)
    assert await stored(bot) == posted
    assert progress.found == 35


async def test_a_restart_in_the_middle_of_a_search_goes_on_where_it_was(discord, bots) -> None:
    posted = {discord.post(number, ONE) for number in range(35)}
    bot = await bots()
    reached, held = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await held.wait()

    discord.meanwhile.extend([nothing, hold])
    await begin(bot, QUICK)
    await reached.wait()
    again = await bots()
    progress = await finished(again)
    assert await stored(again) == posted
    assert progress.found == 35


async def nothing() -> None: ...


# -- whatever happens meanwhile

EVENTS = st.lists(
    st.tuples(st.sampled_from(["nothing", "delete", "remove", "preview", "forget", "kill"]), st.integers(0, 30)),
    max_size=14,
)


# An edit while the bot catches up after a kill.
KILLED_WHILE_CATCHING_UP = [
    "nothing",
    "nothing",
    "nothing",
    "kill",
    "kill",
    "nothing",
    "nothing",
    "delete",
    "forget",
    "kill",
]
EDIT_AFTER_KILL = ["nothing", "kill", "forget", "preview", "preview", "remove", "kill"]


@settings(max_examples=25, deadline=None)
@given(mode=st.sampled_from([THOROUGH, QUICK]), count=st.integers(1, 31), events=EVENTS)
@example(THOROUGH, 29, [*zip(KILLED_WHILE_CATCHING_UP, [11, 15, 0, 0, 27, 15, 12, 15, 18, 20], strict=True)])
@example(THOROUGH, 17, [*zip(EDIT_AFTER_KILL, [0, 0, 27, 29, 2, 13, 23], strict=True)])
def test_whatever_happens_meanwhile_the_store_ends_as_discord_is(
    mode: BackfillMode, count: int, events: list[tuple[str, int]]
) -> None:
    asyncio.run(a_backfill(mode, count, events))


async def survives(start: Awaitable[None], deaths: asyncio.Event) -> bool:
    """Whether a bot has started before it is killed."""
    starting, dying = asyncio.ensure_future(start), asyncio.ensure_future(deaths.wait())
    await asyncio.wait({starting, dying}, return_when=asyncio.FIRST_COMPLETED)
    for each in (dying, *(() if starting.done() else (starting,))):
        each.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    if starting.cancelled() or not starting.done():
        await asyncio.gather(starting, return_exceptions=True)
        return False
    await starting
    return True


async def a_backfill(mode: BackfillMode, count: int, events: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with await Database.open(empty_database(Path(directory) / "magpie.sqlite3")) as database:
            discord = Discord(page_messages=4)
            refs = [discord.post(number, ONE) for number in range(count)]
            bots = [await started(database, discord)]
            forgotten: set[ImageRef] = set()
            deaths = asyncio.Event()

            def event(what: str, at: int) -> Callable[[], Awaitable[None]]:
                async def happens() -> None:
                    ref, bot = refs[at % count], bots[-1]
                    message = discord.messages[ONE.channel_id].get(ref.message_id)
                    if message is None:
                        return
                    match what:
                        case "delete":
                            discord.delete(ref)
                            later(bot.registry.forget_messages([ref.message_id]))
                        case "remove":
                            discord.remove_file(ref)
                            later(bot.catch_up.edited(ONE, discord.of(ref)))
                        case "preview" if all(one.source is not Source.PREVIEW for one in message.images):
                            discord.add_preview(ref)
                            later(bot.catch_up.edited(ONE, discord.of(ref)))
                        case "forget":
                            later(bot.registry.exclude_images(GUILD, ref.message_id, [ref.key]))
                            forgotten.add(ref)
                        case "kill":
                            deaths.set()
                            await asyncio.Event().wait()
                    await asyncio.sleep(0)

                return happens

            tasks: set[asyncio.Task[object]] = set()

            def later(work: Awaitable[object]) -> None:
                tasks.add(asyncio.ensure_future(work))

            discord.meanwhile.extend(event(what, at) for what, at in events)
            await begin(bots[-1], mode)

            async def is_done() -> bool:
                if deaths.is_set():
                    deaths.clear()
                    await asyncio.gather(*tasks)
                    await closed(bots[-1])
                    bots.append(Bot(database, discord, ONE, TWO))  # who hears of events while it catches up
                    if not await survives(run(bots[-1]), deaths):
                        return False
                await indexed(bots[-1])
                backfill = await bots[-1].backfill_store.get(GUILD)
                return backfill is not None and backfill.state is BackfillState.DONE

            await until(is_done)
            await asyncio.gather(*tasks)
            exists = {image for message in discord.messages[ONE.channel_id].values() for image in message.images}
            assert await stored(bots[-1]) == exists - forgotten
            states = {image.state for image in await bots[-1].store.in_range(ONE.channel_id, 0, UNTIL)}
            assert states <= {ImageState.PARKED, ImageState.PENDING}
            await closed(bots[-1])
