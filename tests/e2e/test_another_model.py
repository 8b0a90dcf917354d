"""Another model takes over without an outage: at a start, by the command, and over a kill."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

import clipcore
from sandbox.faults import Fault
from tests.e2e.harness import ROOT, House, captions, kill, sample, settings_for, until

SCENES = ("panda", "rocket", "octopus", "bicycle", "sailboat", "umbrella", "sunflower", "red-apple")
MANY = 70  # more than one transaction commits


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model that knows as much: the bundled one under another name."""
    folder = tmp_path_factory.mktemp("models") / "other"
    shutil.copytree(ROOT / "clipcore" / "bundled", folder, ignore=shutil.ignore_patterns("samples"))
    return folder


def models(home: House) -> dict[str, tuple[int, bool]]:
    """By model, how many images it has encoded, and whether it answers."""
    with closing(sqlite3.connect(home.directory / "magpie.sqlite3")) as connection:
        rows = connection.execute(
            "SELECT model, count(image_id), answering FROM models LEFT JOIN embeddings ON model_id = models.id"
            " GROUP BY models.id"
        ).fetchall()
    return {Path(model).name: (count, bool(answering)) for model, count, answering in rows}


async def found(home: House, name: str) -> list[str]:
    ann = await home.member("ann")
    return (await ann.find(home.nest, home.channel("pictures"), captions(name)[0])).ids


async def test_the_former_model_answers_until_the_new_one_has_encoded_everything(home: House, other: Path) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot():
        posted = {name: await ann.post(images, sample(name)) for name in SCENES[:3]}
        await home.indexed(*posted.values())
    home.encoder = clipcore.ClipModel.load(other, device="cpu")
    outage = home.sandbox.faults.add(Fault("server_error", path="/attachments/*", times=None, bots_only=False))
    async with home.bot() as bot:
        await until(lambda: _is(outage.triggered >= 3), "the new model asks for the pictures")
        for name, message in posted.items():
            assert message["id"] in await found(home, name)
        assert models(home) == {"bundled": (3, True)}
        assert bot.services.succession.progress is not None
        home.sandbox.faults.clear()
        await until(lambda: _is(models(home) == {"bundled": (0, False), "other": (3, True)}), "the new model answers")
        for name, message in posted.items():
            assert message["id"] in await found(home, name)
        await home.indexed(await ann.post(images, sample("umbrella")))
        assert models(home)["other"] == (4, True)
        await asyncio.wait_for(bot.services.retagger.settled(), 60)


async def test_a_kill_in_the_middle_costs_nothing_and_the_former_embeddings_go_in_the_end(
    home: House, other: Path
) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot():
        pictures = [sample(SCENES[number % len(SCENES)]) + number.to_bytes(4) for number in range(MANY)]
        await home.indexed(*[await ann.post(images, picture) for picture in pictures])
    home.sandbox.faults.add(Fault("delay", path="/attachments/*", times=None, seconds=0.3, bots_only=False))
    async with home.bot_process(CLIP_MODEL=str(other)) as process:
        await until(lambda: _is(models(home).get("other", (0, False))[0] > 0), "the new model has encoded some")
        await kill(process)
    assert models(home) == {"bundled": (MANY, True), "other": (64, False)}
    async with home.bot_process(CLIP_MODEL=str(other)):
        assert models(home)["other"][0] >= 64, "nothing is encoded twice"
        await until(
            lambda: _is(models(home) == {"bundled": (0, False), "other": (MANY, True)}), "the new model has taken over"
        )


async def test_the_command_has_another_model_take_over_while_the_bot_runs_and_for_later_starts(
    home: House, other: Path
) -> None:
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot_process():
        await ann.post(images, sample("panda"))
        await until(lambda: _is(models(home) == {"bundled": (1, True)}), "the picture is indexed")
        assert "takes over" in await reindex(home, other)
        await until(lambda: _is(models(home) == {"bundled": (0, False), "other": (1, True)}), "the model takes over")
    async with home.bot_process():
        await ann.post(images, sample("rocket"))
        await until(lambda: _is(models(home) == {"bundled": (0, False), "other": (2, True)}), "it goes on answering")


async def test_a_model_that_cannot_be_loaded_is_refused_by_the_command(home: House, tmp_path: Path) -> None:
    assert "must hold a complete CLIP checkpoint" in await reindex(home, tmp_path)
    assert not (home.directory / "magpie.sqlite3.model").exists()


async def test_where_the_former_model_is_gone_the_new_one_answers_at_once_with_what_there_is(
    home: House, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundled, gone = home.encoder, home.directory / "other"
    shutil.copytree(other, gone)
    home.encoder = clipcore.ClipModel.load(gone, device="cpu")
    ann, images = await home.member("ann"), home.channel("pictures")
    async with home.bot():
        posted = await ann.post(images, sample("panda"))
        await home.indexed(posted)
    shutil.rmtree(gone)
    home.encoder = bundled
    async with home.bot() as bot:
        assert bot.services.engine.card.id == "bundled"
        assert "the former model is not there any more" in caplog.text
        await until(lambda: _is(models(home) == {"other": (0, False), "bundled": (1, True)}), "it is encoded again")
        assert posted["id"] in await found(home, "panda")


async def reindex(home: House, model: Path) -> str:
    """What the command prints."""
    environment = {**os.environ, **settings_for(home.sandbox, home.directory), "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "reindex", "--model", str(model)),
        env=environment,
        cwd=home.directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


async def _is(condition: bool) -> bool:
    return condition
