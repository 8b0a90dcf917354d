"""What a search finds, and what it leaves out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.image_texts import fold_text
from bot.models import Answer, Asked, ChannelRef, ImageFilter, ImageRef, RemoteImage, SearchResult, Sort, ThreadKind
from bot.search.question import Question
from clipcore.errors import QueueFull
from clipcore.relevance import Scored
from clipcore.types import Lane
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import GUILD, Readers, axis, channel_ref, image_ref, like
from tests.metric_values import counting

CAT, DOG = Question("a cat"), Question("a dog")


def within(channel_id: int) -> Question:
    return Question("a cat", channels=frozenset({channel_id}))


def between(first: int, second: int, cosine: float) -> np.ndarray:
    """A unit vector with this cosine to the first axis; the rest of it lies along the second."""
    return (cosine * axis(first) + np.sqrt(1 - cosine**2) * axis(second)).astype(np.float32)


async def see(
    pipeline: Pipeline,
    number: int,
    sight: np.ndarray,
    *,
    channel: int = 1,
    data: bytes | None = None,
    author: int = 7,
) -> ImageRef:
    ref = image_ref(number, channel_ref(channel), author=author)
    data = data or f"file {number}".encode()
    pipeline.engine.image_embeddings[data] = sight
    await pipeline.remember(pipeline.cdn.put(ref, data))
    return ref


@pytest.fixture
async def home(pipeline: Pipeline) -> Pipeline:
    pipeline.engine.query_embeddings["a cat"] = axis(0)
    await pipeline.indexer.start()
    return pipeline


def refs_of(result: SearchResult) -> list[ImageRef]:
    return [match.image.ref for match in result.matches]


async def test_the_best_match_comes_first_and_images_below_the_threshold_do_not_come(home: Pipeline) -> None:
    good = await see(home, 1, between(0, 1, 0.8))
    best = await see(home, 2, between(0, 2, 0.9))
    weak = await see(home, 3, between(0, 3, 0.4))
    result = await home.search.ask(Readers(good, best, weak), CAT)
    assert refs_of(result) == [best, good]
    assert result.matches[0].score == pytest.approx(0.9, abs=1e-3)
    assert result.matches[0].remote.url
    assert result.searched


async def test_a_best_image_below_the_threshold_is_no_match(home: Pipeline) -> None:
    ref = await see(home, 1, between(0, 1, 0.45))
    result = await home.search.ask(Readers(ref), CAT)
    assert (result.matches, result.searched, result.total, result.nearest) == ((), True, 1, True)


async def test_a_member_who_can_read_no_image_is_told_apart_from_one_whose_query_matches_nothing(
    home: Pipeline,
) -> None:
    ref = await see(home, 1, axis(0), channel=1)
    nothing = await home.search.ask(Readers(image_ref(9, channel_ref(2))), CAT)
    assert (nothing.matches, nothing.searched, nothing.total) == ((), False, 0)
    assert (await home.search.ask(Readers(ref), CAT)).matches


async def test_channels_that_the_audience_cannot_read_are_not_searched_and_take_no_places(home: Pipeline) -> None:
    for number in range(100):
        await see(home, number, axis(0), channel=2)
    allowed = [await see(home, 200 + number, between(0, 1, 0.7), channel=1) for number in range(3)]
    assert set(refs_of(await home.search.ask(Readers(*allowed), CAT))) == set(allowed)


async def test_a_search_may_be_limited_to_one_channel_and_its_threads(home: Pipeline) -> None:
    elsewhere = await see(home, 1, axis(0), channel=1)
    inside = await see(home, 2, axis(0), channel=2, data=b"other")
    thread = home.cdn.put(image_ref(3, channel_ref(3, parent=2)), b"third")
    home.engine.image_embeddings[b"third"] = axis(0)
    await home.remember(thread)
    everywhere = Readers(elsewhere, inside, thread)
    result = await home.search.ask(everywhere, within(inside.channel.channel_id))
    assert set(refs_of(result)) == {inside, thread}
    assert not (await home.search.ask(everywhere, within(5))).searched


async def test_of_many_identical_files_a_text_query_finds_one(home: Pipeline) -> None:
    for number in range(60):
        await see(home, number, axis(0), data=b"reposted")
    other = await see(home, 99, between(0, 1, 0.6))
    result = await home.search.ask(Readers(other), CAT)
    assert len(result.matches) == 2
    assert result.matches[1].image.ref == other


async def test_matches_whose_row_is_gone_are_left_out_and_others_take_their_place(home: Pipeline) -> None:
    refs = [await see(home, number, between(0, 1 + number % 10, 0.9 - 0.005 * number)) for number in range(60)]
    readers = Readers(*refs)
    assert len((await home.search.ask(readers, CAT)).matches) == 10
    await home.store.forget_messages([ref.message_id for ref in refs[:45]])
    assert refs_of(await home.search.ask(readers, CAT)) == refs[45:55]


@pytest.mark.parametrize("trouble", [ImageForbidden("no right"), ImageUnreachable("not now")])
async def test_a_match_whose_message_cannot_be_read_is_left_out_but_kept(home: Pipeline, trouble: Exception) -> None:
    hidden, shown = await see(home, 1, axis(0)), await see(home, 2, between(0, 1, 0.8))
    home.lookup_errors[hidden.message_id] = trouble
    result = await home.search.ask(Readers(shown), CAT)
    assert refs_of(result) == [shown]
    assert result.unreachable == isinstance(trouble, ImageUnreachable)
    assert await home.store.by_message(hidden.message_id)


@pytest.mark.parametrize(("limit", "found"), [("LONGEST_LOOK_UP_S", 2), ("LONGEST_LOOK_UPS_S", 1)])
async def test_look_ups_that_do_not_end_cost_their_own_matches_and_not_the_answer(
    home: Pipeline, monkeypatch: pytest.MonkeyPatch, limit: str, found: int
) -> None:
    monkeypatch.setattr(f"bot.search.service.{limit}", 1.0)
    hanging = [await see(home, number, between(0, 1, 0.9), channel=2) for number in range(10)]
    shown = [await see(home, 20, between(0, 2, 0.95)), await see(home, 21, between(0, 3, 0.8))]  # on the second page
    home.unanswered = {ref.message_id for ref in hanging}
    async with asyncio.timeout(30):
        result = await home.search.ask(Readers(*shown, *hanging), CAT)
    assert (refs_of(result), result.unreachable) == (shown[:found], 12 - found)


async def test_what_is_gone_or_forbidden_takes_no_places_and_hides_no_repost(home: Pipeline) -> None:
    """Three times as many candidates are looked up as are shown, and identical files count once."""
    deleted = [await see(home, number, between(0, 1, 0.95)) for number in range(40)]
    refused = await see(home, 50, between(0, 2, 0.9), channel=2, data=b"reposted")
    repost, other = await see(home, 90, between(0, 2, 0.9), data=b"reposted"), await see(home, 91, between(0, 3, 0.8))
    home.lookup_errors = {ref.message_id: ImageGone("deleted") for ref in deleted}
    home.lookup_errors[refused.message_id] = ImageForbidden("no right")
    assert refs_of(await home.search.ask(Readers(refused, other), CAT)) == [repost, other]


async def see_thread(pipeline: Pipeline, number: int, sight: np.ndarray) -> ImageRef:
    """A private thread of channel 1, with an image."""
    thread = ChannelRef(GUILD, GUILD + 100 + number, GUILD + 1, ThreadKind.PRIVATE)
    ref = pipeline.cdn.put(image_ref(number, thread), f"file {number}".encode())
    pipeline.engine.image_embeddings[f"file {number}".encode()] = sight
    await pipeline.remember(ref)
    return ref


async def test_only_threads_with_a_match_are_asked_about_those_with_the_best_first(home: Pipeline) -> None:
    shown = await see(home, 1, between(0, 1, 0.55))
    weak, good, best = [await see_thread(home, 10 + at, between(0, 2 + at, 0.4 + 0.2 * at)) for at in range(3)]
    threads = [ref.channel.channel_id for ref in (best, good, weak)]
    readers = Readers(shown, joined=dict.fromkeys(threads, True))
    assert refs_of(await home.search.ask(readers, CAT)) == [best, good, shown]
    assert readers.asked == [threads[:2]]


async def test_an_answer_is_the_same_without_the_threads_that_were_not_joined(home: Pipeline) -> None:
    shown = [await see(home, number, between(0, 1, 0.6)) for number in range(12)]
    for number in range(60):
        await see_thread(home, 100 + number, axis(0))
    threads = {GUILD + 200 + number: False for number in range(60)}
    for visible in (shown, []):
        readers = Readers(*visible, joined=threads)
        with_threads = await home.search.ask(readers, CAT)
        assert {thread for asked in readers.asked for thread in asked} == set(threads)
        assert with_threads == await home.search.ask(Readers(*visible), CAT)
        assert with_threads.searched == bool(visible)


async def test_a_member_with_nothing_but_a_joined_thread_learns_that_nothing_there_matches(home: Pipeline) -> None:
    weak = await see_thread(home, 10, between(0, 1, 0.1))
    readers = Readers(joined={weak.channel.channel_id: True})
    result = await home.search.ask(readers, CAT)
    assert (result.matches, result.searched) == ((), True)


async def test_an_image_of_a_private_thread_is_visible_to_those_who_joined_it(home: Pipeline) -> None:
    ref = await see_thread(home, 10, axis(0))
    [image] = await home.store.by_message(ref.message_id)
    for joined in (True, False):
        visible = await home.search.visible_image(Readers(joined={ref.channel.channel_id: joined}), image.id)
        assert (visible == image) is joined


async def test_a_match_whose_message_is_deleted_is_forgotten(home: Pipeline) -> None:
    gone, shown = await see(home, 1, axis(0)), await see(home, 2, between(0, 1, 0.8))
    home.lookup_errors[gone.message_id] = ImageGone("deleted")
    assert refs_of(await home.search.ask(Readers(shown), CAT)) == [shown]
    assert await home.store.by_message(gone.message_id) == []


async def test_a_match_that_its_message_no_longer_carries_is_forgotten(home: Pipeline) -> None:
    removed = await see(home, 1, axis(0))
    home.carried[removed.message_id] = [RemoteImage(removed.source, 4711, "https://cdn.discordapp.com/other.png")]
    assert refs_of(await home.search.ask(Readers(removed), CAT)) == []
    assert await home.store.by_message(removed.message_id) == []


async def test_a_channel_that_is_hidden_during_the_search_is_not_shown(home: Pipeline) -> None:
    """Visibility is asked once more when the matches are known."""
    hidden, shown = await see(home, 1, axis(0), channel=1), await see(home, 2, between(0, 1, 0.8), channel=2)
    readers = Readers(hidden, shown)
    search = home.index.search

    async def search_and_hide(*args: Any) -> Scored:
        readers.hides(hidden)
        return await search(*args)

    home.index.search = search_and_hide  # type: ignore[method-assign]
    assert refs_of(await home.search.ask(readers, CAT)) == [shown]


async def test_an_image_is_not_its_own_match_but_its_repost_is(home: Pipeline) -> None:
    asked = await see(home, 1, axis(0), data=b"one file")
    repost = await see(home, 2, axis(0), data=b"one file")
    near = await see(home, 3, between(0, 1, 0.8))
    await see(home, 4, between(0, 2, 0.5))
    [image] = await home.store.by_message(asked.message_id)
    embedding = await home.search.embedding_of(image)
    assert embedding is not None
    assert refs_of(await home.search.ask(Readers(asked), like(embedding, image.id))) == [repost, near]


async def test_an_image_without_a_similar_one_matches_nothing(home: Pipeline) -> None:
    asked = await see(home, 1, axis(0))
    [image] = await home.store.by_message(asked.message_id)
    result = await home.search.ask(Readers(asked), like(axis(0), image.id))
    assert (result.matches, result.searched, result.total) == ((), True, 0)


async def test_a_query_image_is_encoded_in_the_interactive_lane_whether_its_file_is_known_or_not(
    home: Pipeline,
) -> None:
    await see(home, 1, axis(3), data=b"known file")
    home.engine.image_embeddings[b"new file"] = axis(4)
    home.engine.lanes.clear()
    assert await home.search.embedding_of_file(b"known file") == pytest.approx(axis(3), abs=1e-3)
    assert await home.search.embedding_of_file(b"new file") == pytest.approx(axis(4))
    assert home.engine.lanes == [Lane.INTERACTIVE] * 2


async def test_a_pending_image_has_no_embedding(home: Pipeline) -> None:
    await home.indexer.close()
    [image] = await home.indexer.accept([image_ref(1)])
    assert await home.search.embedding_of(image) is None


async def test_an_image_is_visible_to_those_who_can_read_its_channel(home: Pipeline) -> None:
    [image] = await home.remember(image_ref(1))
    assert await home.search.visible_image(Readers(image.ref), image.id) == image
    assert await home.search.visible_image(Readers(image_ref(2, channel_ref(2))), image.id) is None
    assert await home.search.visible_image(Readers(image.ref), image.id + 1) is None
    strangers = Readers(image.ref)
    strangers.guild_id = 77
    assert await home.search.visible_image(strangers, image.id) is None


async def test_searches_are_counted_by_their_result(home: Pipeline) -> None:
    ref = await see(home, 1, axis(0))
    with counting() as counted:
        await home.search.ask(Readers(ref), CAT)
        await home.search.ask(Readers(ref), DOG)
        await home.search.ask(Readers(), CAT)
        await home.search.ask(Readers(ref), like(axis(0)))
        home.engine.query_error = QueueFull()
        with pytest.raises(QueueFull):
            await home.search.ask(Readers(ref), CAT)
    for result in ("answered", "nothing_alike", "nothing_readable", "busy"):
        assert counted[f'magpie_answers_total{{asked="words",result="{result}"}}'] == 1
    assert counted['magpie_answers_total{asked="likeness",result="answered"}'] == 1
    assert counted['magpie_answer_seconds_count{asked="words"}'] == 4


async def test_a_filter_never_shortens_an_answer(home: Pipeline) -> None:
    """A hundred better ones by somebody else take nobody's place."""
    for number in range(100):
        await see(home, number, axis(0))
    mine = [await see(home, 200 + number, between(0, 1 + number, 0.7), author=8) for number in range(3)]
    result = await home.search.ask(Readers(*mine), replace(CAT, filter=ImageFilter(author_id=8)))
    assert set(refs_of(result)) == set(mine)
    assert result.total == 3


async def test_a_filter_that_leaves_nothing_is_told_apart_from_nothing_to_search(home: Pipeline) -> None:
    ref = await see(home, 1, axis(0))
    nobody = ImageFilter(author_id=99)
    for question in (replace(CAT, filter=nobody), Question(filter=nobody, sort=Sort.NEWEST)):
        assert (await home.search.ask(Readers(ref), question)).searched
        assert not (await home.search.ask(Readers(), question)).searched


async def test_a_filter_alone_lists_every_image_that_it_leaves_by_time(home: Pipeline) -> None:
    refs = [await see(home, number, between(0, 1 + number, 0.1)) for number in range(5)]
    hidden = await see(home, 7, axis(0), channel=2)
    since = ImageFilter(after=refs[1].message_id)
    readers = Readers(*refs)
    for sort, expected in [(Sort.NEWEST, refs[:0:-1]), (Sort.OLDEST, refs[1:])]:
        result = await home.search.ask(readers, Question(filter=since, sort=sort))
        assert refs_of(result) == expected
        assert (result.total, result.more, result.nearest) == (4, False, False)
    everything = await home.search.ask(Readers(*refs, hidden), Question(filter=since, sort=Sort.NEWEST))
    assert refs_of(everything)[0] == hidden


async def test_a_private_threads_images_are_listed_for_who_joined_it(home: Pipeline) -> None:
    ref = await see_thread(home, 10, axis(3))
    for joined in (True, False):
        readers = Readers(joined={ref.channel.channel_id: joined})
        result = await home.search.ask(readers, Question(filter=ImageFilter(author_id=7), sort=Sort.NEWEST))
        assert refs_of(result) == [ref] * joined


async def test_the_newest_are_the_newest_of_what_matches_and_not_of_everything(home: Pipeline) -> None:
    best, good = await see(home, 1, axis(0)), await see(home, 2, between(0, 1, 0.6))
    weak = await see(home, 3, between(0, 2, 0.4))
    readers = Readers(best, good, weak)
    assert refs_of(await home.search.ask(readers, replace(CAT, sort=Sort.NEWEST))) == [good, best]
    assert refs_of(await home.search.ask(readers, replace(CAT, sort=Sort.OLDEST))) == [best, good]


async def test_what_is_avoided_is_left_out_and_shortens_no_answer(home: Pipeline) -> None:
    home.engine.query_embeddings["a dog"] = axis(1)
    with_dogs = [await see(home, number, between(0, 1, 0.8)) for number in range(250)]
    [plain] = [await see(home, 300, between(0, 2, 0.7))]
    readers = Readers(*with_dogs, plain)
    assert refs_of(await home.search.ask(readers, replace(CAT, unlike="a dog"))) == [plain]
    nearest = await home.search.ask(Readers(*with_dogs), replace(CAT, channels=frozenset({5}), unlike="a dog"))
    assert nearest.total == 0


async def test_an_emoji_is_searched_by_its_name_and_avoided_by_it(home: Pipeline) -> None:
    home.engine.query_embeddings |= {"a panda": axis(1), "rocket": axis(2)}
    panda, flown = await see(home, 1, between(1, 3, 0.9)), await see(home, 2, between(1, 2, 0.7))
    readers = Readers(panda, flown)
    assert refs_of(await home.search.ask(readers, Question("a 🐼"))) == [panda, flown]
    assert refs_of(await home.search.ask(readers, Question("a 🐼", unlike="🚀"))) == [panda]


async def test_words_refine_an_image(home: Pipeline) -> None:
    sight = axis(1)
    both = await see(home, 1, between(0, 1, 0.7))
    only_words, only_image = await see(home, 2, between(0, 2, 0.95)), await see(home, 3, between(1, 3, 0.95))
    result = await home.search.ask(Readers(both, only_words, only_image), replace(CAT, image=sight))
    assert refs_of(result) == [both]


async def test_near_copies_take_one_place_and_exact_ones_are_counted(home: Pipeline) -> None:
    first = await see(home, 1, between(0, 1, 0.9), data=b"posted twice")
    near = await see(home, 2, between(0, 1, 0.88))
    await see(home, 3, between(0, 1, 0.9), data=b"posted twice")
    hidden = await see(home, 4, between(0, 1, 0.9), data=b"posted twice", channel=2)
    other = await see(home, 5, between(0, 2, 0.7))
    question = replace(CAT, folded=True)
    result = await home.search.ask(Readers(first, other), question)
    assert [(match.image.ref, match.copies, match.alike) for match in result.matches] == [
        (first, 1, 1),
        (other, 0, 0),
    ]
    assert (result.total, result.foldable) == (2, True)
    unfolded = await home.search.ask(Readers(first, other, hidden), CAT)
    assert [(match.image.ref, match.copies, match.alike) for match in unfolded.matches] == [
        (first, 2, 0),
        (near, 0, 0),
        (other, 0, 0),
    ]


async def test_an_answer_keeps_as_many_as_were_asked_for_and_tells_that_there_are_more(home: Pipeline) -> None:
    refs = [await see(home, number, between(0, 1 + number, 0.9 - number / 100)) for number in range(8)]
    readers = Readers(*refs)
    result = await home.search.ask(readers, replace(CAT, limit=5, page_size=2))
    assert refs_of(result) == refs[:2]
    assert (len(result.ranking), result.total, result.more) == (5, 5, True)
    result = await home.search.ask(readers, replace(CAT, limit=8))
    assert (len(result.ranking), result.total, result.more) == (8, 8, False)


def kept(result: SearchResult, size: int = 3) -> Answer:
    return Answer(1, GUILD, Asked.WORDS, result.ranking, size, result.more, result.nearest, result.threshold)


async def test_pages_follow_each_other_without_a_gap_or_a_repetition(home: Pipeline) -> None:
    refs = [await see(home, number, between(0, 1 + number, 0.9 - number / 100)) for number in range(8)]
    readers = Readers(*refs)
    answer = kept(await home.search.ask(readers, replace(CAT, page_size=3)))
    pages = [await home.search.page(readers, answer, number, folded=False) for number in range(3)]
    assert [ref for page in pages for ref in refs_of(page)] == refs
    assert [(page.first, page.total) for page in pages] == [(0, 8), (3, 8), (6, 8)]
    assert refs_of(await home.search.page(readers, answer, 9, folded=False)) == refs[6:]
    assert refs_of(await home.search.page(readers, answer, -1, folded=False)) == refs[:3]


async def test_a_page_shows_and_counts_what_the_audience_may_see_now(home: Pipeline) -> None:
    shown, hidden = await see(home, 1, between(0, 1, 0.9)), await see(home, 2, between(0, 2, 0.8), channel=2)
    deleted, gone = await see(home, 3, between(0, 3, 0.7)), await see(home, 4, between(0, 4, 0.6))
    unanswered = await see(home, 5, between(0, 5, 0.55))
    readers = Readers(shown, hidden)
    answer = kept(await home.search.ask(readers, CAT))
    assert len(answer.ranking) == 5
    readers.hides(hidden)
    await home.registry.forget_messages([deleted.message_id])
    home.lookup_errors = {gone.message_id: ImageGone("deleted"), unanswered.message_id: ImageUnreachable("not now")}
    page = await home.search.page(readers, answer, 0, folded=True)
    assert refs_of(page) == [shown]
    assert (page.total, page.unreachable) == (2, 1)
    assert not (await home.search.page(Readers(), answer, 0, folded=True)).matches


async def test_a_private_threads_images_are_on_a_page_for_who_is_in_it_now(home: Pipeline) -> None:
    ref = await see_thread(home, 10, axis(0))
    thread = ref.channel.channel_id
    answer = kept(await home.search.ask(Readers(joined={thread: True}), CAT))
    assert refs_of(await home.search.page(Readers(joined={thread: True}), answer, 0, folded=True)) == [ref]
    assert refs_of(await home.search.page(Readers(joined={thread: False}), answer, 0, folded=True)) == []


async def write(home: Pipeline, ref: ImageRef, text: str) -> None:
    """The words that stand in an image."""
    await home.texts.set_reading(GUILD, True)
    [image] = await home.store.by_message(ref.message_id)
    await home.texts.save(image.id, fold_text(text))


async def test_an_image_in_which_the_words_stand_is_a_match_whatever_it_looks_like(home: Pipeline) -> None:
    alike = await see(home, 1, between(0, 1, 0.9))
    written, other = await see(home, 2, axis(3)), await see(home, 3, axis(4))
    await write(home, written, "This is a CAT.")
    await write(home, other, "category a")
    result = await home.search.ask(Readers(alike, written, other), CAT)
    assert refs_of(result) == [written, alike]
    assert [match.written for match in result.matches] == [True, False]
    assert [one.written for one in result.ranking] == [True, False]
    assert result.matches[0].score == pytest.approx(0, abs=1e-3)


async def test_words_are_found_only_in_what_the_audience_may_see_and_what_the_question_is_about(home: Pipeline) -> None:
    here, elsewhere = await see(home, 1, axis(3), author=8), await see(home, 2, axis(4), channel=2)
    for ref in (here, elsewhere):
        await write(home, ref, "a cat")
    assert refs_of(await home.search.ask(Readers(here), CAT)) == [here]
    both = Readers(here, elsewhere)
    assert {*refs_of(await home.search.ask(both, CAT))} == {here, elsewhere}
    by_author = replace(CAT, filter=ImageFilter(author_id=8))
    assert refs_of(await home.search.ask(both, by_author)) == [here]
    in_channel = within(elsewhere.channel.channel_id)
    assert refs_of(await home.search.ask(both, in_channel)) == [elsewhere]


async def test_words_in_a_private_thread_are_a_reason_to_ask_whether_it_may_be_seen(home: Pipeline) -> None:
    hidden = await see(home, 1, axis(3))
    await write(home, hidden, "a cat")
    asked = Readers(joined={hidden.channel.channel_id: True})
    assert refs_of(await home.search.ask(asked, CAT)) == [hidden]


async def test_forgotten_words_find_nothing(home: Pipeline) -> None:
    ref = await see(home, 1, axis(3))
    await write(home, ref, "a cat")
    await home.texts.set_reading(GUILD, False)
    assert refs_of(await home.search.ask(Readers(ref), CAT)) == []
