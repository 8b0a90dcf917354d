"""An image's whole life with the bundled model: posted, tagged, found in two languages, matched, forgotten."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

import clipcore
from bot.indexing.labels import shipped_labels
from bot.models import Image, ImageRef
from bot.search.question import Question
from bot.store.database import Database
from bot.store.labels import DEFAULT
from clipcore.engine.engine import ClipEngine
from clipcore.models.known_models import BUNDLED, BUNDLED_DIRECTORY
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import Readers, image_ref

SAMPLES = BUNDLED_DIRECTORY / "samples"

pytestmark = [
    pytest.mark.skipif(
        not (BUNDLED_DIRECTORY / "model.safetensors").exists(), reason="this checkout has no bundled model"
    ),
    # One model for the whole file: loading it is the slow part.
    pytest.mark.asyncio(loop_scope="module"),
]


class Server(Pipeline):
    """One server with every sample scene posted to it, as the real parts of the bot remember it."""

    def __init__(self, engine: ClipEngine, database: Database) -> None:
        super().__init__(database, engine=engine, labels=shipped_labels(engine.card.id).sets[DEFAULT])
        self.scenes = json.loads((SAMPLES / "samples.json").read_text("utf-8"))
        self.refs = {scene["file"]: self._post(number, scene["file"]) for number, scene in enumerate(self.scenes)}

    def _post(self, number: int, file: str) -> ImageRef:
        return self.cdn.put(image_ref(number), (SAMPLES / file).read_bytes())

    async def find(self, words: str) -> list[ImageRef]:
        result = await self.search.ask(Readers(image_ref(0)), Question(words))
        return [match.image.ref for match in result.matches[:5]]

    async def image(self, file: str) -> Image:
        [image] = await self.store.by_message(self.refs[file].message_id)
        return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundled")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folder: Path) -> AsyncIterator[Server]:
    engine = ClipEngine(partial(clipcore.ClipModel.load, BUNDLED, device="cpu"))
    await engine.start()
    async with await Database.open(folder / "magpie.sqlite3") as database:
        built = Server(engine, database)
        await built.indexer.start()
        await built.indexer.accept(list(built.refs.values()))
        await built.indexer.settled()
        yield built
        await built.close()
    await engine.close()


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_most_scenes_are_found_by_their_caption(server: Server, language: str) -> None:
    found = [server.refs[scene["file"]] in await server.find(scene[language]) for scene in server.scenes]
    assert sum(found) >= 0.75 * len(found)


@pytest.mark.parametrize("words", ["a cat on a sofa", "沙发上的猫"])
async def test_the_cat_on_the_sofa_comes_first(server: Server, words: str) -> None:
    assert (await server.find(words))[0] == server.refs["cat-on-sofa.png"]


@pytest.mark.parametrize(
    ("file", "label"), [("panda.png", "panda"), ("rocket.png", "rocket"), ("bicycle.png", "bicycle")]
)
async def test_a_single_thing_is_tagged_with_its_name(server: Server, file: str, label: str) -> None:
    image = await server.image(file)
    assert label in [tag.label for tag in image.tags]


async def test_a_query_for_what_is_not_there_matches_nothing(server: Server) -> None:
    result = await server.search.ask(Readers(image_ref(0)), Question("a toothbrush"))
    assert (result.matches, result.searched) == ((), True)


async def test_a_forgotten_image_is_never_found_again(server: Server) -> None:
    ref = server.refs["sunflower.png"]
    assert ref in await server.find("a sunflower")
    await server.registry.forget_messages([ref.message_id])
    for words in ("a sunflower", "向日葵", "a yellow flower"):
        assert ref not in await server.find(words)
    assert await server.indexer.accept([ref]) == []
