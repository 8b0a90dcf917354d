"""A small file of weights stays small: what it claims to hold is measured before it is inflated or made room for."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clipcore.errors import BadInput, InvalidCheckpoint, ModelUnavailable
from clipcore.models.easynlp import _read_merges
from clipcore.models.weights import read_pickled, read_weights
from clipcore.training.trainer import Trainer
from tests.clipcore import originals
from tests.clipcore.easynlp_layouts import write_chinese_clip, write_huggingface_clip
from tests.clipcore.families import FAMILIES, Family
from tests.clipcore.images import noise
from tests.clipcore.test_families import load
from tests.clipcore.test_torchscript import (
    EMPTY_DICT,
    MARK,
    PROTO,
    REDUCE,
    SETITEMS,
    STOP,
    TUPLE,
    number,
    storage,
    tensor,
    text,
)
from tests.clipcore.tiny import write_tiny_chinese_clip, write_tiny_clip

MIB = 2**20
GIB = 2**30
BOMB = 256 * MIB


def state_dict(**values: bytes) -> bytes:
    return PROTO + EMPTY_DICT + MARK + b"".join(text(name) + value for name, value in values.items()) + SETITEMS + STOP


def archive(path: Path, pickled: bytes, numbers: int = 24, *, deflate: tuple[str, ...] = ()) -> Path:
    """As `torch.save` lays it out. numbers: how many bytes. deflate: what is compressed, which torch never does."""
    with zipfile.ZipFile(path, "w") as written:
        for name, content in {"data.pkl": pickled, "byteorder": b"little", "version": b"3"}.items():
            written.writestr(f"archive/{name}", content, zipfile.ZIP_DEFLATED if name in deflate else None)
        entry = zipfile.ZipInfo("archive/data/0")
        entry.compress_type = zipfile.ZIP_DEFLATED if "data/0" in deflate else zipfile.ZIP_STORED
        with written.open(entry, "w") as storage:
            for start in range(0, numbers, MIB):
                storage.write(bytes(min(MIB, numbers - start)))
    return path


def inflating_numbers(path: Path) -> Path:
    pickled = state_dict(w=tensor(storage(BOMB // 4), shape=(BOMB // 4,), strides=(1,)))
    return archive(path, pickled, BOMB, deflate=("data/0",))


def inflating_pickle(path: Path) -> Path:
    return archive(path, state_dict(w=text("x" * (32 * MIB))), deflate=("data.pkl",))


def lying_about_the_size(path: Path) -> Path:
    """The list at its end says 24 bytes, as the pickle does; 256 MiB come out."""
    archive(path, state_dict(w=tensor(storage(6), shape=(6,), strides=(1,))), BOMB, deflate=("data/0",))
    return listed_as(path, 24, struct.pack("<I", 24))


def lying_about_the_method(path: Path) -> Path:
    """The list says that the bytes are plain."""
    return listed_as(inflating_numbers(path), 10, b"\0\0")


def listed_as(path: Path, field: int, value: bytes) -> Path:
    """Changes a field of the numbers' entry in the list at the end (APPNOTE.TXT, §4.3.12)."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"archive/data/0")) + field
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def overlapping(path: Path) -> Path:
    """A thousand entries are one mebibyte, which stands in the file once."""
    count = 1_000
    values = {f"w{each}": tensor(storage(2**18, key=str(each)), shape=(2**18,), strides=(1,)) for each in range(count)}
    archive(path, state_dict(**values), MIB)
    with zipfile.ZipFile(path, "a") as written:
        first = written.getinfo("archive/data/0")
        for each in range(1, count):
            again = zipfile.ZipInfo(f"archive/data/{each}")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            written.filelist.append(again)
        written._didModify = True
    return path


def the_same_numbers_again(path: Path) -> Path:
    """In half precision, so that each of the thousand tensors becomes floats of its own."""
    stored = storage(2**19, kind="HalfStorage")
    values = {f"w{each}": tensor(stored, shape=(2**19,), strides=(1,)) for each in range(1_000)}
    return archive(path, state_dict(**values), MIB)


def one_number_a_milliard_times(path: Path) -> Path:
    return archive(path, state_dict(w=tensor(storage(6), shape=(10**9,), strides=(0,))))


def a_function_that_makes_room(path: Path) -> Path:
    return archive(path, state_dict(w=b"c__builtin__\nbytearray\n" + number(4 * GIB) + b"\x85" + REDUCE))


def a_function_that_doubles(path: Path) -> Path:
    value = text("x")
    for _ in range(40):
        value = b"c_codecs\nencode\n" + value + text("hex") + b"\x86" + REDUCE
    return archive(path, state_dict(w=value))


def a_dictionary_again_and_again(path: Path) -> Path:
    """Ten thousand copies of 65,536 entries would take 25 GB."""
    entries = b"".join(b"M" + struct.pack("<H", key) + b"N" for key in range(65_536))
    copied = b"ccollections\nOrderedDict\nq\0" + EMPTY_DICT + MARK + entries + SETITEMS + b"\x85q\1"
    return archive(path, PROTO + b"]" + MARK + copied + (b"h\0h\1" + REDUCE) * 10_000 + b"e" + STOP)


def axes_without_end(path: Path) -> Path:
    """Ten thousand views of 100,000 axes would take 16 GB."""
    ones = MARK + b"K\1" * 100_000 + TUPLE
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\nq\0"
    arguments = MARK + storage(6) + number(0) + ones + b"q\1h\1\x89" + EMPTY_DICT + TUPLE + b"q\2"
    again = (b"h\0h\2" + REDUCE) * 10_000
    return archive(path, PROTO + b"]" + MARK + rebuild + arguments + REDUCE + again + b"e" + STOP)


def objects_of_one_byte(path: Path) -> Path:
    """Each of these bytes is a dictionary of 64."""
    return archive(path, PROTO + b"]" + MARK + EMPTY_DICT * (5 * MIB // 2) + b"e" + STOP)


def legacy(path: Path, pickled: bytes, keys: list[str], after: bytes = b"") -> Path:
    heading = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    before = b"".join(pickle.dumps(each, 2) for each in heading)
    path.write_bytes(before + pickled + pickle.dumps(keys, 2) + after)
    return path


def a_legacy_storage_that_is_not_there(path: Path) -> Path:
    return legacy(path, state_dict(w=tensor(storage(GIB), shape=(GIB,), strides=(1,))), ["0"])


def a_legacy_text_that_is_not_there(path: Path) -> Path:
    path.write_bytes(b"\x80\x02X" + struct.pack("<I", 2**32 - 1))
    return path


# With words of the refusal.
BOMBS = {
    inflating_numbers: "plain bytes",
    inflating_pickle: "plain bytes",
    lying_about_the_size: "plain bytes",
    lying_about_the_method: "plain bytes",
    overlapping: "plain bytes",
    the_same_numbers_again: "more than 8 times the memory",
    one_number_a_milliard_times: "larger than its storage",
    a_function_that_makes_room: "asks for __builtin__.bytearray",
    a_function_that_doubles: "asks for _codecs.encode",
    a_dictionary_again_and_again: "broken or no checkpoint",
    axes_without_end: "describes a tensor wrongly",
    objects_of_one_byte: "larger than any model's",
    a_legacy_storage_that_is_not_there: "larger than the file",
    a_legacy_text_that_is_not_there: "broken or no checkpoint",
}


def into_a_file(bomb: Path, folder: Path) -> Path:
    return Path(shutil.copy(bomb, folder / "clip.pt"))


def into_open_clip(bomb: Path, folder: Path) -> Path:
    (folder / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}')
    shutil.copy(bomb, folder / "open_clip_pytorch_model.bin")
    return folder


def into_a_directory(write: Callable[[Path], Path]) -> Callable[[Path, Path], Path]:
    def into(bomb: Path, folder: Path) -> Path:
        directory = write(folder / "model")
        (directory / "model.safetensors").unlink()
        shutil.copy(bomb, directory / "pytorch_model.bin")
        return directory

    return into


def into_easynlp(bomb: Path, folder: Path) -> Path:
    (folder / "config.json").write_text('{"model_type": "open_clip", "embed_dim": 8}')
    (folder / "vocab.txt").write_bytes(gzip.compress(b""))
    shutil.copy(bomb, folder / "pytorch_model.bin")
    return folder


WAYS_IN = {
    "a file": into_a_file,
    "open_clip": into_open_clip,
    "clip": into_a_directory(write_tiny_clip),
    "easynlp": into_easynlp,
    **{family.name: into_a_directory(family.write) for family in FAMILIES if family.name in ("altclip", "siglip")},
}
# Opens models with as little memory as a bomb's claims would exceed at once, and says what came of each.
OPEN = """
import resource, sys
from pathlib import Path
from clipcore.model import ClipModel
from clipcore.errors import ModelUnavailable

ClipModel.load("bundled", device="cpu", precision="fp32")  # whatever loading a model needs is there
import transformers.models.auto.modeling_auto, transformers.models.altclip.modeling_altclip
import transformers.models.siglip.modeling_siglip
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 128 * 2**20, resource.RLIM_INFINITY))
for path in sys.argv[1:]:
    try:
        ClipModel.load(path, device="cpu", precision="fp32", local_only=True)
        print("opened")
    except ModelUnavailable as error:
        print(error)
"""


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bombs")
    made = {make.__name__: make(folder / make.__name__) for make in BOMBS}
    assert all(bomb.stat().st_size < 3 * MIB for bomb in made.values())
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_file_that_would_fill_memory_is_refused_on_every_way_in(bombs, tmp_path):
    paths = {}
    for way, into in WAYS_IN.items():
        for name, bomb in bombs.items():
            folder = tmp_path / way / name
            folder.mkdir(parents=True)
            paths[f"{name} as {way}"] = str(into(bomb, folder))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", OPEN, *paths.values()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    assert len(said) == len(paths), done.stderr
    words = [*BOMBS.values()] * len(WAYS_IN)
    assert [case for case in zip(paths, said, words, strict=True) if case[2] not in case[1]] == []


@pytest.mark.parametrize("name", [make.__name__ for make in BOMBS])
def test_a_run_does_not_resume_from_a_file_that_would_fill_memory(name, bombs):
    bomb = bombs[name]
    trainer = Trainer(lambda _: 0.0, (), bomb, states={}, settings={}, steps=1, rate=lambda _: 1.0)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match="cannot be read|holds a run with"):
            trainer.resume()
        assert tracemalloc.get_traced_memory()[1] < 72 * MIB
    finally:
        tracemalloc.stop()


def test_a_vocabulary_that_inflates_beyond_measure_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(gzip.compress(b"\n" * (64 * MIB)))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidCheckpoint, match="inflates to more than"):
            _read_merges(path)
        assert tracemalloc.get_traced_memory()[1] < 48 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", [write_tiny_chinese_clip, write_huggingface_clip, write_chinese_clip])
def test_a_configuration_is_not_believed_about_its_sizes(write, tmp_path):
    """Two milliard words would take 256 GB."""
    directory = write(tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    (config if "vocab_size" in config else config["text_config"])["vocab_size"] = 2 * 10**9
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="do not fit each other's shapes"):
        load(directory)


def saved(value: object, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file


def same(one: Any, other: Any) -> bool:
    if isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_torch_saves_of_a_training_is_read_as_torch_reads_it(tmp_path, zipped):
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    rates = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 5, 5])
    shared = torch.arange(12.0)
    value = {
        "epoch": 3, "name": "run", "best": None, "done": True, "rate": 1e-4, "betas": (0.9, 0.98), "layers": [1, [2]],
        "state_dict": layer.state_dict(), "optimizer": optimiser.state_dict(), "parameter": layer.weight,
        "rates": rates.state_dict(), "precision": torch.bfloat16,
        "views": [shared, shared[2:4], shared.view(3, 4).t()], "empty": torch.empty(0), "shape": torch.Size([2, 3]),
        **{str(kind): torch.ones(5).to(kind) for kind in (torch.float16, torch.bfloat16, torch.int64, torch.bool)},
    }  # fmt: skip
    path = tmp_path / "run.pt"
    path.write_bytes(saved(value, _use_new_zipfile_serialization=zipped).getvalue())
    found, expected = read_pickled(path), torch.load(path, weights_only=True)
    assert same(found, expected)
    assert found["views"][0].data_ptr() + 8 == found["views"][1].data_ptr(), "views share their storage"
    assert set(read_weights(path)) == {"weight", "bias"}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_copy_of_a_checkpoint_is_the_same_model(family: Family, zipped, tmp_path):
    directory = family.write(tmp_path / family.name)
    images = [noise(64, 48), noise(90, 120, 1)]
    expected = load(directory).encode_images(images)
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    torch.save(weights, directory / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    # Weights of safetensors lie anywhere in memory, which changes the last digit.
    np.testing.assert_allclose(load(directory).encode_images(images), expected, atol=1e-6)


@pytest.mark.parametrize("missing", range(1, 25))
def test_a_legacy_file_that_lacks_its_last_numbers_is_refused(tmp_path, missing):
    path = tmp_path / "cut.pt"
    path.write_bytes(saved({"w": torch.ones(5)}, _use_new_zipfile_serialization=False).getvalue()[:-missing])
    with pytest.raises(InvalidCheckpoint):
        read_weights(path)


def test_an_archive_of_another_byte_order_is_refused(tmp_path):
    path = originals.write_state_dict(tmp_path / "plain.pt", originals.resnet_weights())
    path.write_bytes(path.read_bytes().replace(b"little", b"big\0\0\0"))
    with pytest.raises(InvalidCheckpoint):
        read_weights(path)
