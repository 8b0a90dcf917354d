"""Interrupted and resumed, a run ends at the very weights of one that was not."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clipcore.cli.app import run as run_command
from clipcore.errors import BadInput
from clipcore.training import TrainingPlan, train
from clipcore.training.fine_tuning import Trained
from clipcore.training.record import TrainingObserver, prepare_folder
from tests.cli.run import clipcore, start_clipcore
from tests.training.full_disk import disk_full_at
from tests.training.world import load, patches, write_tsv

PLAN = TrainingPlan(epochs=4, batch_size=8, micro_batch=3, learning_rate=1e-3, log_every=3, checkpoint_every=2)
STEPS = 12


def run(directory: Path, folder: Path, stopped: Callable[[], bool] = lambda: False, **changes) -> Trained:
    """In a process that has just started, as far as the run can tell."""
    torch.manual_seed(len(folder.name))
    plan = TrainingPlan(**(PLAN.fixed_settings() | {"micro_batch": 3, "log_every": 3, "checkpoint_every": 2} | changes))
    pairs = patches(24, captions_each=3, broken=[7])
    return train(load(directory), pairs, plan, folder, validation=patches(8, seed=1), stopped=stopped)


def after(steps: int) -> Callable[[], bool]:
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= steps


def ends(folder: Path) -> dict[str, torch.Tensor]:
    """Both models' weights; the optimiser's state; what was logged, but for the clock."""
    found = {f"{name}/{key}": value for name in ("last", "best") for key, value in _weights(folder / name).items()}
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["states"]["optimiser"]["state"]
    for index, moments in state.items():
        found |= {f"{index}/{key}": value for key, value in moments.items()}
    return found


def assert_same_ends(one: Path, other: Path) -> None:
    mine, theirs = ends(one), ends(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name
    assert _log(one) == _log(other)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def _log(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "training.jsonl").read_text("utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    trained = run(tiny_directory, folder)
    assert (trained.steps, trained.finished) == (STEPS, True)
    return folder


@pytest.mark.parametrize("steps", [1, 11])
def test_a_stopped_run_resumes_to_the_same_weights(tiny_directory, tmp_path, whole, steps):
    stopped = run(tiny_directory, tmp_path, after(steps))
    assert (stopped.done, stopped.finished) == (steps, False)
    trained = run(tiny_directory, tmp_path)
    assert (trained.done, list(trained.skipped)) == (STEPS, ["image 7"])
    assert_same_ends(tmp_path, whole)


def test_a_run_that_is_stopped_repeatedly_ends_at_the_same_weights(tiny_directory, tmp_path, whole):
    while not run(tiny_directory, tmp_path, after(5)).finished:
        pass
    assert_same_ends(tmp_path, whole)


class PowerCut(Exception):
    pass


def cut() -> bool:
    raise PowerCut


@pytest.mark.parametrize("steps", [1, 5])
def test_a_run_that_died_resumes_from_its_last_checkpoint_to_the_same_weights(tiny_directory, tmp_path, whole, steps):
    dies = after(steps)
    with pytest.raises(PowerCut):
        run(tiny_directory, tmp_path, lambda: dies() and cut())
    (tmp_path / "checkpoint.new").write_bytes(b"half written")
    resumed: list[int] = []

    class Watching(TrainingObserver):
        def progress(self, steps, done, total):
            resumed.append(done)
            return steps

    pairs = patches(24, captions_each=3, broken=[7])
    train(load(tiny_directory), pairs, PLAN, tmp_path, validation=patches(8, seed=1), observer=Watching())
    assert resumed == [steps - steps % 2]
    assert_same_ends(tmp_path, whole)


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_model_whose_replacement_was_interrupted_is_restored(tiny_directory, tmp_path, name):
    run(tiny_directory, tmp_path, after(3))
    before = _weights(tmp_path / name)
    # Killed between the two renames.
    (tmp_path / name).rename(tmp_path / f"{name}.old")
    with pytest.raises(BadInput, match="seed"):
        run(tiny_directory, tmp_path, seed=1)
    assert all(torch.equal(before[key], weight) for key, weight in _weights(tmp_path / name).items())


def test_restart_deletes_a_model_whose_replacement_was_interrupted(tmp_path):
    (tmp_path / "best.old").mkdir()
    prepare_folder(tmp_path, restart=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_full_disk_is_reported_and_the_run_resumes_when_there_is_space(tiny_directory, tmp_path, whole, size):
    run(tiny_directory, tmp_path, after(5))
    with disk_full_at(size), pytest.raises(BadInput, match=r"cannot be written to \(.*File too large.*; see to the"):
        run(tiny_directory, tmp_path)
    run(tiny_directory, tmp_path)
    assert_same_ends(tmp_path, whole)


def test_a_finished_run_is_not_repeated(tiny_directory, whole):
    before = (whole / "last" / "model.safetensors").stat().st_mtime_ns
    trained = run(tiny_directory, whole)
    assert (trained.finished, trained.best.mean_recall) == (True, max(row.get("mean_recall", 0) for row in _log(whole)))
    assert (whole / "last" / "model.safetensors").stat().st_mtime_ns == before


def test_another_plan_is_refused_and_restart_deletes_the_run(tiny_directory, tmp_path, whole):
    run(tiny_directory, tmp_path, after(3), seed=5)
    with pytest.raises(BadInput, match=r"a run with seed 5, not 0; .* or add --restart"):
        run(tiny_directory, tmp_path)
    pairs = patches(24, captions_each=3, broken=[7])
    train(load(tiny_directory), pairs, PLAN, tmp_path, validation=patches(8, seed=1), restart=True)
    assert_same_ends(tmp_path, whole)


@pytest.mark.parametrize(
    ("pairs", "validation", "words"),
    [
        (patches(24, captions_each=3, seed=4, broken=[7]), patches(8, seed=1), "training data"),
        (patches(23, captions_each=3, broken=[7]), patches(8, seed=1), "training data"),
        (patches(24, captions_each=3, broken=[7]), None, "validation data"),
    ],
)
def test_other_data_are_refused(tiny_directory, tmp_path, pairs, validation, words):
    run(tiny_directory, tmp_path, after(1))
    with pytest.raises(BadInput, match=words):
        train(load(tiny_directory), pairs, PLAN, tmp_path, validation=validation)


def test_a_broken_checkpoint_is_refused(tiny_directory, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="cannot be read .* start over with --restart"):
        run(tiny_directory, tmp_path)


@pytest.fixture(scope="module")
def command(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    table = write_tsv(tmp_path_factory.mktemp("pairs") / "train.tsv", patches(24, captions_each=2))
    options = ["--model", tiny_directory, "--device", "cpu", "--epochs", "8", "--batch-size", "8", "--log-every", "1"]
    options += ["--learning-rate", "1e-3", "--checkpoint-every", "3", "--validation", table, "--validate-every", "12"]
    return ["train", table, *options, "--output"]


@pytest.fixture(scope="module")
def undisturbed(command: list[str | Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert clipcore(*command, folder).code == 0
    return folder


def test_a_killed_command_resumes_from_its_last_checkpoint(command, undisturbed, tmp_path):
    with start_clipcore(*command, tmp_path) as process:
        for line in process.stderr:
            if line.startswith("step 4/"):
                process.kill()
                break
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert clipcore(*command, tmp_path).err.startswith("Resuming from step")
    assert_same_ends(tmp_path, undisturbed)


class Pressing(io.StringIO):
    """The terminal of someone who presses Ctrl-C whenever a line begins with one of these words."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self._words = words

    def write(self, text: str) -> int:
        if text.startswith(self._words):
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def press(words: tuple[str, ...], *arguments: str | Path) -> tuple[int, str]:
    """Returns the exit code and stderr."""
    terminal = Pressing(*words)
    with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(io.StringIO()):
        return run_command([str(argument) for argument in arguments]), terminal.getvalue()


def test_ctrl_c_saves_the_run_and_does_not_change_the_result(command, undisturbed, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    code, words = press(("step 7/",), *command, tmp_path)
    assert code == 130
    assert "Stopping after this step" in words
    assert clipcore(*command, tmp_path).err.startswith("Resuming from step 7 of 24.")
    assert_same_ends(tmp_path, undisturbed)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_twice_stops_at_once(command, tmp_path):
    code, words = press(("step 7/", "Stopping"), *command, tmp_path)
    assert code == 130
    assert "step 8/" not in words
    assert not (tmp_path / "last").exists()
