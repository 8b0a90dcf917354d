"""Searches images by a question, and checks that the audience may see each match."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Protocol

import numpy as np

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.image_texts import fold_text
from bot.indexing.comparison import LookUp
from bot.indexing.registry import ImageRegistry
from bot.logging import get_logger
from bot.models import (
    EVERY_IMAGE,
    Answer,
    Asked,
    ChannelRef,
    Image,
    ImageFilter,
    Match,
    Ranked,
    Readable,
    SearchResult,
    Sort,
)
from bot.monitoring.metrics import ANSWER_SECONDS, ANSWERS, RECENT_ANSWERS
from bot.protocols import Engine, ImageIds, VectorSearch
from bot.search.emoji_names import with_emoji_named
from bot.search.question import Question
from bot.search.ranking import Entry, fold, fuse, is_foldable, look_numbers, select_matches, steer_away
from bot.store.image_texts import ImageTextStore
from bot.store.images import ImageStore
from clipcore.errors import EngineClosed, QueueFull
from clipcore.fair_places import Owner
from clipcore.folder_search.duplicates import near_threshold
from clipcore.relevance import Population, cut
from clipcore.types import Lane, SearchHit, Vectors

log = get_logger(__name__)

RANKED = 200
"""Images of an answer, over all its pages."""
NEAREST = 20
"""Images that are offered where none matches."""

# Candidates for each match of a page whose threads are asked about.
_CANDIDATES = 4
# Matches that are looked up in Discord at most, for each one shown on the first page.
_LOOKED_UP = 3
# Searches at most, where matches turn out to be gone or forbidden and the page is not full.
_SEARCHES = 3
# Hits that a question looks through at most: reposts, and what is left out, take the places of others.
_MOST_HITS = 4096
# Of them, images that are read where they are put in the order of time.
_MOST_READ = 800
# Of words in a question that has an image, too: neither is to outweigh the other.
_WORDS_SHARE = 0.5
# A look-up that takes longer costs its own match and not the answer. And for all those of one question.
LONGEST_LOOK_UP_S, LONGEST_LOOK_UPS_S = 8.0, 25.0

NotShown = ImageGone | ImageForbidden | ImageUnreachable


class Audience(Protocol):
    """The people who will read the answer to one question."""

    @property
    def guild_id(self) -> int: ...

    def readable(self, channels: Iterable[ChannelRef]) -> Readable:
        """Which of these channels and threads have images that may be shown to all of this audience now."""

    async def ask(self, thread_ids: Iterable[int]) -> None:
        """Asks Discord about these threads; from then on `readable` knows of each. What is not known counts as no."""


async def may_see(audience: Audience, channel: ChannelRef) -> bool:
    """Whether the images of one channel may be shown to the audience."""
    await audience.ask(audience.readable([channel]).to_ask)
    return channel.channel_id in audience.readable([channel]).certain


async def readable_channels(store: ImageStore, audience: Audience, within: int | None = None) -> frozenset[int]:
    """The channels and threads with images that may be shown to the audience. within: only this one and its threads."""
    channels = await store.searchable_channels(audience.guild_id)
    if within is not None:
        channels = [one for one in channels if within in (one.channel_id, one.parent_id)]
    await audience.ask(audience.readable(channels).to_ask)
    return audience.readable(channels).certain


class SearchService:
    """Searches one guild for an audience.

    Visibility is checked twice: only channels that the audience can read are searched, and each match is checked again
    when its message is fetched. Matches whose message is gone are forgotten. Indexing yields while a search runs, but
    not while Discord is asked.

    page_size: matches of a page, where the question does not say.
    """

    def __init__(
        self,
        engine: Engine,
        store: ImageStore,
        index: VectorSearch,
        registry: ImageRegistry,
        look_up: LookUp,
        *,
        texts: ImageTextStore,
        page_size: int,
    ) -> None:
        self._engine = engine
        self._store = store
        self._index = index
        self._texts = texts
        self._registry = registry
        self._look_up = look_up
        self._page_size = page_size
        self._questions = _Questions()

    @property
    def model_key(self) -> str:
        """Of the model that answers now."""
        return self._engine.card.key

    def use(self, engine: Engine, index: VectorSearch) -> Callable[[], Awaitable[object]]:
        """From the next question on. Returns what waits for the end of those that the former model still answers."""
        answered = self._questions.answered.wait
        self._engine, self._index, self._questions = engine, index, _Questions()
        return answered

    @contextmanager
    def by_one_model(self) -> Iterator[SearchService]:
        """This service as it is now: the model and its vectors remain what they are until the block ends."""
        with self._questions:
            yield copy(self)

    async def ask(self, audience: Audience, question: Question) -> SearchResult:
        """The answer's first page, and the ranking for the others. Raises QueueFull or EngineClosed, also where the
        question's image was encoded by a model that does not answer any more.
        """
        if question.model is not None and question.model != self.model_key:
            raise EngineClosed("Another model answers since this image was encoded: ask again.")
        began, outcome = perf_counter(), None
        try:
            with self.by_one_model() as this:
                result = await this._search(audience, question)
            outcome = _outcome(result)
            return result
        except (QueueFull, EngineClosed):
            outcome = "busy"
            raise
        finally:
            if outcome is not None:
                ANSWERS.labels(question.asked, outcome).inc()
                seconds = perf_counter() - began
                ANSWER_SECONDS.labels(question.asked).observe(seconds)
                RECENT_ANSWERS.note(seconds)

    async def page(self, audience: Audience, answer: Answer, number: int, *, folded: bool) -> SearchResult:
        """A page of an earlier answer, counted from 0; the last one where there are fewer by now.

        What the audience may not see any more, and what is deleted, is left out and not counted.
        """
        deadline, size = asyncio.get_running_loop().time() + LONGEST_LOOK_UPS_S, answer.page_size
        for _ in range(_SEARCHES):
            images = await self._still_visible(audience, [ranked.image_id for ranked in answer.ranking])
            entries = fold(answer.ranking, images, folded=folded)
            first = size * max(0, min(number, (len(entries) - 1) // size))
            checked = await self._check(audience, entries[first : first + size], size, deadline)
            if not checked.replaceable:
                break
        return SearchResult(
            await self._with_copies(audience, answer.asked, checked.matches),
            searched=True,
            unreachable=checked.unreachable,
            first=first,
            total=len(entries),
            more=answer.more,
            nearest=answer.nearest,
            foldable=is_foldable([ranked for ranked in answer.ranking if ranked.image_id in images]),
            threshold=answer.threshold,
        )

    async def embedding_of(self, image: Image) -> Vectors | None:
        """The stored embedding of an image, float32 [dim]; None where the current model has not indexed it, or it is to
        be forgotten.
        """
        if self._registry.hides(image.ref):
            return None
        stored = await self._store.embedding(image.id, self._engine.card.key)
        return None if stored is None else np.asarray(stored, np.float32)

    async def embedding_of_file(self, data: bytes, asker: Owner = (0, 0)) -> Vectors:
        """The embedding of a query image, float32 [dim]; nothing is stored. Raises ImageRejected or QueueFull.

        asker: guild and member.

        It is made anew even where the file is indexed: a quick answer would tell that it was posted somewhere.
        """
        return (await self._engine.encode_image(data, Lane.INTERACTIVE, asker)).vector

    async def visible_image(self, audience: Audience, image_id: int) -> Image | None:
        """The image with this id, if the audience may see it."""
        image = (await self._store.get([image_id])).get(image_id)
        if image is None or image.ref.channel.guild_id != audience.guild_id or self._registry.hides(image.ref):
            return None
        return image if await may_see(audience, image.ref.channel) else None

    async def alike(
        self, audience: Audience, embedding: Vectors, wanted: ImageFilter, k: int
    ) -> list[tuple[Image, float]]:
        """At most k images that are alike, the most alike first, in channels that the audience can certainly read. None
        is looked up in Discord: do that with each that is to be shown, by `still_there`.
        """
        channels = await self._store.searchable_channels(audience.guild_id)
        readable = audience.readable(channels).certain
        only = await self._store.matching(audience.guild_id, readable, wanted)
        hits = (await self._index.search(audience.guild_id, embedding, readable, k, only)).hits
        hits = [hit for hit in hits if hit.score >= self._engine.calibration.image_threshold]
        return select_matches(hits, await self._images(audience, hits))

    async def vectors(self, guild_id: int, image_ids: Sequence[int]) -> Vectors:
        """As `VectorSearch.vectors`."""
        with self.by_one_model() as this:
            return await this._index.vectors(guild_id, image_ids)

    async def still_there(self, audience: Audience, image: Image, score: float) -> Match | None:
        """The image as its message shows it now; None where that is gone, or the audience may not see it."""
        deadline = asyncio.get_running_loop().time() + LONGEST_LOOK_UP_S
        checked = await self._check(audience, [Entry(image, score)], 1, deadline)
        return next(iter(checked.matches), None)

    @property
    def near_copy(self) -> float:
        """The least score of an image that looks much like another one."""
        return near_threshold(self._engine.calibration)

    async def _search(self, audience: Audience, question: Question) -> SearchResult:
        with self._engine.pause_background():  # also where nothing can be read: a quick refusal would tell so
            target = await self._target(question)
            channels = await self._store.searchable_channels(audience.guild_id)
            if question.channels is not None:
                channels = [one for one in channels if question.channels & {one.channel_id, one.parent_id}]
            if target.vector is not None and question.filter != EVERY_IMAGE:
                channel_ids = [channel.channel_id for channel in channels]
                only = await self._store.matching(audience.guild_id, channel_ids, question.filter)
                target = replace(target, only=only)
        size = question.page_size or self._page_size
        deadline = asyncio.get_running_loop().time() + LONGEST_LOOK_UPS_S
        for _ in range(_SEARCHES):
            await self._ask(audience, channels, target, size)
            with self._engine.pause_background():
                readable = audience.readable(channels).certain
                found = await self._find(audience, target, readable)
            entries = fold(found.ranking, found.images, folded=question.folded)
            candidates = [] if found.nearest else entries[: _LOOKED_UP * size]
            checked = await self._check(audience, candidates, size, deadline)
            if len(checked.matches) >= size or not checked.replaceable:
                break
            # What is gone or forbidden has taken places, and hidden its reposts: search without it.
            target = replace(target, left_out=target.left_out | checked.replaceable)
        entries = [entry for entry in entries if entry.image.id not in checked.left_out]
        kept = entries[: question.limit]
        kept_ids = {image.id for entry in kept for image in (entry.image, *entry.others)}
        ranking = tuple(ranked for ranked in found.ranking if ranked.image_id in kept_ids)
        return SearchResult(
            await self._with_copies(audience, question.asked, checked.matches[:size]),
            searched=found.searched or (bool(readable) and question.filter != EVERY_IMAGE),
            unreachable=checked.unreachable,
            unverified=len(checked.matches) < size and await self._store.any_unverified(readable),
            ranking=ranking,
            total=len(kept),
            more=found.more or len(kept) < len(entries),
            nearest=found.nearest,
            foldable=is_foldable(ranking),
            threshold=found.threshold,
        )

    async def _target(self, question: Question) -> _Target:
        words, avoided, image = (
            await self._encoded(question.words),
            await self._encoded(question.unlike),
            question.image,
        )
        of_text, of_image = self._engine.calibration.text_threshold, self._engine.calibration.image_threshold
        target = partial(_Target, question, avoided=avoided, left_out=question.left_out)
        if words is not None and image is not None:
            share = _WORDS_SHARE  # a score is the mean of two cosines then, and so is its threshold
            return target(share * words + (1 - share) * image, share * of_text + (1 - share) * of_image)
        if words is not None:
            return target(words, of_text, relevant=partial(cut, calibration=self._engine.calibration))
        return target(image, of_image) if image is not None else target(None, 0.0)

    async def _encoded(self, text: str | None) -> Vectors | None:
        if text is None:
            return None
        return np.asarray(await self._engine.encode_query(with_emoji_named(text)), np.float32)

    async def _ask(self, audience: Audience, channels: Sequence[ChannelRef], target: _Target, size: int) -> None:
        """Lets the audience ask about the threads of the best matches. Where it can read nothing else, about those of
        the best hits: the answer says whether there was anything to search. By the model's own threshold: scores of
        images that may be hidden decide nothing else.
        """
        while (readable := audience.readable(channels)).to_ask:
            with self._engine.pause_background():
                hits = await self._hits(audience, target, readable.to_ask, _CANDIDATES * size)
                best_first = hits.matching(target.threshold if readable.certain else -1.0)
                images = await self._images(audience, best_first)
            best = target.matches(best_first, images)
            if not best:
                break
            await audience.ask(dict.fromkeys(image.ref.channel.channel_id for image, _ in best))

    async def _find(self, audience: Audience, target: _Target, channels: Collection[int]) -> _Found:
        """Everything of these channels that answers the question, or else what is nearest to that."""
        k = _MOST_HITS if target.by_time else RANKED + len(target.left_out)
        while True:
            found = await self._hits(audience, target, channels, k)
            hits, threshold = found.alike, target.threshold
            if target.relevant is not None:
                threshold = target.relevant(found.population)
            candidates = await self._arranged(audience, target, channels, found.matching(threshold))
            images = await self._images(audience, candidates or hits[: k // 10])
            matches = target.matches(candidates, images)
            exhausted, all_good = len(hits) < k, not hits or hits[-1].score >= threshold
            enough = len(matches) >= RANKED or (not all_good and images)
            if exhausted or enough or k >= _MOST_HITS:
                break
            k *= 4  # reposts, deleted images, or what is left out took too many places
        more = len(matches) > RANKED or (not exhausted and all_good)
        nearest = not matches
        if nearest:
            hits = await self._arranged(audience, target, channels, hits[: NEAREST + len(target.left_out)])
            images |= await self._images(audience, hits)
            matches = target.matches(hits, images)[:NEAREST]
        vectors = await self._index.vectors(audience.guild_id, [image.id for image, _ in matches[:RANKED]])
        looks = look_numbers(vectors, near_threshold(self._engine.calibration))
        written = {hit.key for hit in found.written}
        ranking = [
            Ranked(image.id, score, look, image.id in written)
            for (image, score), look in zip(matches[:RANKED], looks, strict=True)
        ]
        return _Found(ranking, images, threshold, more, nearest and bool(ranking), bool(images))

    async def _hits(self, audience: Audience, target: _Target, channels: Collection[int], k: int) -> _Hits:
        """The first k images of these channels, as the question ranks them, and those in which its words stand."""
        question = target.question
        if target.vector is None:
            ids = await self._store.listed(audience.guild_id, channels, question.filter, question.sort, k)
            return _Hits([SearchHit(id_, 1.0) for id_ in ids])
        scored = await self._index.search(audience.guild_id, target.vector, channels, k, target.only)
        written: list[SearchHit] = []
        if question.words is not None and question.image is None:
            most = RANKED + len(target.left_out)
            ids = await self._texts.find(channels, fold_text(question.words), most, target.only)
            scores = await self._scores(audience, target.vector, channels, ids) if ids else {}
            written = [SearchHit(id_, scores.get(id_, 0.0)) for id_ in ids]
        return _Hits(scored.hits, written, scored.population)

    async def _arranged(
        self, audience: Audience, target: _Target, channels: Collection[int], hits: list[SearchHit]
    ) -> list[SearchHit]:
        """Without what the question avoids, in any frame, and in the order that it wants."""
        if target.avoided is not None and hits:
            likeness = await self._scores(audience, target.avoided, channels, [hit.key for hit in hits])
            avoided = np.array([likeness.get(hit.key, 0.0) for hit in hits], np.float32)
            hits = steer_away(hits, avoided, self._engine.calibration.text_threshold)
        if target.by_time:
            by_id = {hit.key: hit for hit in hits}
            ordered = await self._store.in_order_of_time([*by_id], target.question.sort)
            hits = [by_id[id_] for id_ in ordered[:_MOST_READ]]
        return hits

    async def _scores(
        self, audience: Audience, vector: Vectors, channels: Collection[int], ids: Sequence[int]
    ) -> dict[int, float]:
        """How these images of the channels score, by id: by the best of their frames."""
        scored = await self._index.search(audience.guild_id, vector, channels, len(ids), np.array(ids, np.int64))
        return {hit.key: hit.score for hit in scored.hits}

    async def _images(self, audience: Audience, hits: Sequence[SearchHit]) -> dict[int, Image]:
        """The images of these hits that exist and may be shown, by id."""
        images = await self._store.get([hit.key for hit in hits])
        if gone := [hit.key for hit in hits if hit.key not in images]:
            await self._index.discard(gone)
        return {id_: image for id_, image in images.items() if not self._registry.hides(image.ref)}

    async def _still_visible(self, audience: Audience, ids: Sequence[int]) -> dict[int, Image]:
        """Those of these images that the audience may see now, by id. It asks about threads in the order of the ids."""
        images = await self._store.searchable(ids)
        channels = dict.fromkeys(images[id_].ref.channel for id_ in ids if id_ in images)
        to_ask = audience.readable(channels).to_ask
        await audience.ask(channel.channel_id for channel in channels if channel.channel_id in to_ask)
        readable = audience.readable(channels).certain
        return {
            id_: image
            for id_, image in images.items()
            if image.ref.channel.channel_id in readable and not self._registry.hides(image.ref)
        }

    async def _with_copies(self, audience: Audience, asked: Asked, matches: tuple[Match, ...]) -> tuple[Match, ...]:
        """Counts the posts of each file, where an answer shows one of them."""
        if asked is Asked.LIKENESS or not matches:
            return matches
        contents = [match.image.content_hash or "" for match in matches]
        readable = audience.readable(await self._store.searchable_channels(audience.guild_id)).certain
        posts = await self._store.posts(contents, readable)
        return tuple(
            replace(match, copies=max(0, posts.get(content, 1) - 1))
            for match, content in zip(matches, contents, strict=True)
        )

    async def _check(self, audience: Audience, entries: Sequence[Entry], size: int, deadline: float) -> _Checked:
        """Looks the first of these up, until there are as many as a page has that the audience may see and that exist,
        both as of now and not as of the search.
        """
        matches: list[Match] = []
        replaceable: set[int] = set()
        left_out: set[int] = set()
        unreachable = 0
        for start in range(0, len(entries), size):
            page = entries[start : start + size]
            readable = audience.readable({entry.image.ref.channel for entry in page}).certain
            left_out |= {entry.image.id for entry in page}
            page = [entry for entry in page if entry.image.ref.channel.channel_id in readable]
            until = min(deadline, asyncio.get_running_loop().time() + LONGEST_LOOK_UP_S)
            for outcome, entry in zip(
                await asyncio.gather(*(self._verify(entry, until) for entry in page)), page, strict=True
            ):
                if isinstance(outcome, Match):
                    matches.append(outcome)
                    left_out.discard(entry.image.id)
                elif isinstance(outcome, ImageUnreachable):
                    unreachable += 1
                else:
                    replaceable.add(entry.image.id)
            if len(matches) >= size:
                break
        return _Checked(tuple(matches), unreachable, frozenset(replaceable), frozenset(left_out))

    async def _verify(self, entry: Entry, until: float) -> Match | NotShown:
        """Fetches the image's message. Forgets what is gone."""
        image, ref = entry.image, entry.image.ref
        try:
            async with asyncio.timeout_at(until):
                carried = await self._look_up(ref)
        except ImageGone as error:
            await self._registry.forget_messages([ref.message_id])
            return error
        except (ImageForbidden, ImageUnreachable) as error:
            log.info("match skipped", reason=str(error), image_id=image.id)
            return error
        except TimeoutError:
            log.info("match skipped", reason="Discord did not answer in time", image_id=image.id)
            return ImageUnreachable("Discord did not answer in time")
        if self._registry.hides(ref):
            return ImageGone("the image is to be forgotten")
        remote = next((one for one in carried if one.key == ref.key), None)
        if remote is None:
            await self._registry.forget_images(ref.message_id, [ref.key])
            return ImageGone("the message no longer carries this image")
        return Match(image, entry.score, remote, alike=len(entry.others), written=entry.written)


class _Questions:
    """Those that are being answered by one model."""

    def __init__(self) -> None:
        self._open = 0
        self.answered = asyncio.Event()
        self.answered.set()

    def __enter__(self) -> None:
        self._open += 1
        self.answered.clear()

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        if not self._open:
            self.answered.set()


@dataclass(frozen=True, slots=True)
class _Target:
    """What a question's hits are ranked by. vector: None: by time. threshold: the least score of a match. avoided: an
    embedding. left_out: images not to show. only: those to choose from. relevant: the least score of a match by how the
    question scores over all images that it is asked of; None where the threshold alone decides.
    """

    question: Question
    vector: Vectors | None
    threshold: float
    avoided: Vectors | None
    left_out: frozenset[int]
    only: ImageIds | None = None
    relevant: Callable[[Population | None], float] | None = None

    @property
    def by_time(self) -> bool:
        """Whether hits that were ranked by their scores are to be put in the order of time."""
        return self.vector is not None and self.question.sort is not Sort.BEST

    def matches(self, hits: Sequence[SearchHit], images: Mapping[int, Image]) -> list[tuple[Image, float]]:
        return select_matches(
            hits,
            images,
            exclude=self.left_out,
            exclude_message=self.question.left_out_message,
            one_per_content=not self.question.every_post,
        )


@dataclass(frozen=True, slots=True)
class _Hits:
    """alike: best first, by the question's own score. written: the images in which its words stand, whatever they
    score. population: how all images score.
    """

    alike: list[SearchHit]
    written: Sequence[SearchHit] = ()
    population: Population | None = None

    def matching(self, threshold: float) -> list[SearchHit]:
        """Best first."""
        good = [hit for hit in self.alike if hit.score >= threshold]
        return fuse(good, self.written) if self.written else good


@dataclass(frozen=True, slots=True)
class _Found:
    """images: those of the ranking, and maybe others. threshold: the least score of a match. searched: whether there
    was any image to find.
    """

    ranking: Sequence[Ranked]
    images: Mapping[int, Image]
    threshold: float
    more: bool
    nearest: bool
    searched: bool


@dataclass(frozen=True, slots=True)
class _Checked:
    """matches: they may be more than a page. replaceable: ids of images that are gone or forbidden, so that others take
    their places. left_out: ids of all that were looked at and are not shown.
    """

    matches: tuple[Match, ...]
    unreachable: int
    replaceable: frozenset[int]
    left_out: frozenset[int]


def _outcome(result: SearchResult) -> str:
    if result.matches:
        return "answered"
    if result.unreachable:
        return "unreachable"
    return "nothing_alike" if result.searched else "nothing_readable"
