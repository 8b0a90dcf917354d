"""A TorchScript archive is read for its numbers. Whatever else a file asks for is refused, and never done."""

from __future__ import annotations

import functools
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clipcore.errors import InvalidCheckpoint, ModelUnavailable
from clipcore.models.weights import read_weights
from tests.clipcore import originals

# Instructions of a pickle, by their letters in CPython's Lib/pickletools.py.
PROTO, STOP, MARK, TUPLE, REDUCE, EMPTY_TUPLE, NEWOBJ, EMPTY_DICT, SETITEMS, BUILD, PERSISTENT = (
    b"\x80\x02", b".", b"(", b"t", b"R", b")", b"\x81", b"}", b"u", b"b", b"Q",
)  # fmt: skip
MODULE = b"c__torch__\nClip\n" + EMPTY_TUPLE + NEWOBJ


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(*values: int) -> bytes:
    return MARK + b"".join(map(number, values)) + TUPLE


def storage(count: int, *, kind: str = "FloatStorage", key: str = "0") -> bytes:
    described = text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(count)
    return MARK + described + TUPLE + PERSISTENT


def tensor(stored: bytes, *, offset: int = 0, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    hooks = b"ccollections\nOrderedDict\n" + EMPTY_TUPLE + REDUCE
    parts = stored + number(offset) + numbers(*shape) + numbers(*strides) + b"\x89" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + MARK + parts + TUPLE + REDUCE


def module(**attributes: bytes) -> bytes:
    items = b"".join(text(name) + value for name, value in attributes.items())
    return MODULE + EMPTY_DICT + MARK + items + SETITEMS + BUILD


def archive(path: Path, pickled: bytes, *, entries: dict[str, bytes] | None = None, method: int = 0) -> Path:
    """As `torch.jit.save` lays it out; six numbers lie in the storage "0"."""
    with zipfile.ZipFile(path, "w", method) as written:
        written.writestr("clip/data.pkl", pickled)
        written.writestr("clip/constants.pkl", b"\x80\x02).")
        for name, content in (entries or {"clip/data/0": struct.pack("<6f", *range(6))}).items():
            written.writestr(name, content)
    return path


def read(tmp_path: Path, value: bytes, **options: Any) -> dict[str, Any]:
    return read_weights(archive(tmp_path / "clip.pt", PROTO + module(weight=value) + STOP, **options))


def test_tensors_are_views_of_their_storage(tmp_path):
    found = read(tmp_path, tensor(storage(6), offset=1, shape=(2, 2), strides=(1, 2)))
    assert found["weight"].tolist() == [[1, 3], [2, 4]]


def test_an_archive_that_torch_saved_is_read_completely(tmp_path):
    weights = originals.resnet_weights()
    scripted = originals.write_torchscript(tmp_path / "scripted.pt", weights)
    found = read_weights(scripted)
    assert set(found) - set(weights) == {"input_resolution", "context_length", "vocab_size"}
    assert all((found[name].float() == value).all() for name, value in weights.items())


class Calls:
    """Unpickled as Python would, this calls the function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def malicious(path: Path) -> list[object]:
    """Each of them creates the file when Python's unpickler has its way."""
    return [
        Calls(os.system, f"touch {path}"),
        Calls(eval, f"__import__('os').mkdir({str(path)!r})"),
        Calls(exec, f"import os; os.mkdir({str(path)!r})"),
        Calls(os.mkdir, str(path)),
        Calls(functools.partial(os.mkdir, str(path))),
    ]


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize("number", range(5))
def test_code_in_an_archive_is_refused_and_not_run(tmp_path, number, protocol):
    evidence = tmp_path / "evidence"
    pickled = pickle.dumps(malicious(evidence)[number], protocol)
    path = archive(tmp_path / "evil.pt", pickled)
    with pytest.raises(InvalidCheckpoint):
        read_weights(path)
    assert not evidence.exists()
    pickle.loads(pickled)
    assert evidence.exists(), "the pickle is harmless, and the test shows nothing"


@pytest.mark.parametrize("number", range(5))
def test_code_in_a_state_dict_is_refused_and_not_run(tmp_path, number):
    import torch

    from clipcore.model import ClipModel

    evidence, path = tmp_path / "evidence", tmp_path / "evil.pt"
    torch.save({"text_projection": malicious(evidence)[number]}, path)
    with pytest.raises(ModelUnavailable, match="'evil' cannot be loaded: it asks for .* no weights need; save"):
        ClipModel.load(str(path), device="cpu", precision="fp32", local_only=True)
    assert not evidence.exists()


def test_a_refusal_says_what_was_asked_for(tmp_path):
    from clipcore.model import ClipModel

    path = archive(tmp_path / "evil.pt", PROTO + b"cposix\nsystem\n" + text("true") + b"\x85" + REDUCE + STOP)
    with pytest.raises(ModelUnavailable, match=r"'evil' cannot be loaded: it asks for posix\.system"):
        ClipModel.load(str(path), device="cpu", precision="fp32", local_only=True)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (tensor(storage(6), shape=(10**6, 10**6), strides=(0, 0)), "larger than its storage"),
        (tensor(storage(6), offset=5, shape=(2,), strides=(1,)), "broken"),
        (tensor(storage(6), shape=(2,), strides=(2**62,)), "broken"),
        (tensor(storage(6), shape=(-1,), strides=(1,)), "wrongly"),
        (tensor(storage(6), offset=-1, shape=(2,), strides=(1,)), "wrongly"),
        (tensor(storage(2**60), shape=(1,), strides=(1,)), "not the .* plain bytes"),
        (tensor(storage(5), shape=(1,), strides=(1,)), "not the 20 plain bytes"),
        (tensor(storage(1, key="1"), shape=(1,), strides=(1,)), "no data/1"),
        (tensor(storage(1, key="../data.pkl"), shape=(1,), strides=(1,)), "no data/"),
        (tensor(storage(6, kind="Tensor"), shape=(1,), strides=(1,)), "asks for torch.Tensor"),
        (tensor(text("0"), shape=(1,), strides=(1,)), "wrongly"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n" + EMPTY_TUPLE + NEWOBJ, "no checkpoint"),
        (b"ctorch\nFloatStorage\n" + EMPTY_TUPLE + REDUCE, "broken"),
        (MODULE + EMPTY_TUPLE + REDUCE, "broken"),
        (storage(6) + EMPTY_DICT + MARK + text("a") + number(1) + SETITEMS + BUILD, "state of a tensor"),
        (storage(6) + MARK + text("a") + number(1) + SETITEMS, "broken"),
        (EMPTY_DICT + MARK + EMPTY_TUPLE + number(1) + SETITEMS, "no name"),
        (EMPTY_DICT + b"r" + struct.pack("<I", 2**31), "larger than any model"),  # the memo's index
        (b"0", "the instruction POP"),
    ],
)
def test_descriptions_that_contradict_the_file_are_refused(tmp_path, value, why):
    with pytest.raises(InvalidCheckpoint, match=why):
        read(tmp_path, value)


def test_one_storage_has_one_description(tmp_path):
    first = tensor(storage(6), shape=(1,), strides=(1,))
    other = tensor(storage(3, kind="DoubleStorage"), shape=(1,), strides=(1,))
    path = archive(tmp_path / "clip.pt", PROTO + module(a=first, b=other) + STOP)
    with pytest.raises(InvalidCheckpoint, match="in two ways"):
        read_weights(path)


@pytest.mark.parametrize("beside", [0, 8192])
def test_compressed_numbers_are_refused_so_that_no_file_grows_when_read(tmp_path, beside):
    """Also where the file is longer than the numbers would be."""
    with pytest.raises(InvalidCheckpoint, match="plain bytes"):
        read(
            tmp_path,
            tensor(storage(1024), shape=(1,), strides=(1,)),
            entries={"clip/data/0": bytes(4096), "clip/beside": os.urandom(beside)},
            method=zipfile.ZIP_DEFLATED,
        )


def test_overlapping_entries_are_refused_so_that_no_file_grows_when_read(tmp_path):
    """Entries may be nested, each told of by the list at the end of the zip file, and so be read again and again."""
    path, data = tmp_path / "clip.pt", bytes(4096)
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.writestr("clip/data/1", data)
        inside = inner.infolist()[0]
    header = 30 + len("clip/data/1")
    within = (tmp_path / "inner.zip").read_bytes()[: header + len(data)]
    first = tensor(storage(len(within), kind="ByteStorage"), shape=(1,), strides=(1,))
    second = tensor(storage(len(data), kind="ByteStorage", key="1"), shape=(1,), strides=(1,))
    archive(path, PROTO + module(a=first, b=second) + STOP, entries={"clip/data/0": within})
    with zipfile.ZipFile(path, "a") as outer:
        inside.header_offset = outer.getinfo("clip/data/0").header_offset + header
        outer.filelist.append(inside)
        outer._didModify = True
    with pytest.raises(InvalidCheckpoint, match="plain bytes"):
        read_weights(path)


def test_a_module_that_contains_itself_is_refused(tmp_path):
    # The module is remembered (q) before it is built, and called back (h) as its own attribute.
    held = EMPTY_DICT + MARK + text("self") + b"h\x00" + SETITEMS + BUILD
    path = archive(tmp_path / "clip.pt", PROTO + MODULE + b"q\x00" + held + STOP)
    with pytest.raises(InvalidCheckpoint, match="no end"):
        read_weights(path)


def test_tuples_nested_deep_enough_to_overflow_the_stack_are_refused(tmp_path):
    nested = EMPTY_DICT + MARK + EMPTY_TUPLE + b"\x85" * 300_000 + number(1) + SETITEMS
    with pytest.raises(InvalidCheckpoint, match="larger than any model"):
        read(tmp_path, nested)


def test_a_broken_zip_file_is_refused(tmp_path):
    path = archive(tmp_path / "clip.pt", PROTO + module(weight=tensor(storage(6), shape=(6,), strides=(1,))) + STOP)
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<f", 5.0))] ^= 1  # which its check sum notices
    path.write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match=r"broken or no checkpoint \(BadZipFile\)"):
        read_weights(path)
    with zipfile.ZipFile(path, "w") as empty:
        empty.writestr("clip/constants.pkl", b"")
    with pytest.raises(InvalidCheckpoint, match=r"no data\.pkl"):
        read_weights(path)


WHOLE = PROTO + module(weight=tensor(storage(6), shape=(2, 3), strides=(3, 1)), training=b"\x88") + STOP
STEPS = [MODULE, EMPTY_DICT, MARK, SETITEMS, BUILD, REDUCE, NEWOBJ, PERSISTENT, TUPLE, storage(6)]
SNIPPETS = st.sampled_from([*STEPS, text("x"), number(1), b"q\x00", b"h\x00"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.one_of(SNIPPETS, st.binary(max_size=2)), max_size=25).map(b"".join),
        st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(max_size=6)).map(
            lambda change: WHOLE[: change[0]] + change[1] + WHOLE[change[0] + len(change[1]) :]
        ),
    )
)
@example(b"S'\\o'\n" + STOP)
def test_any_bytes_are_read_or_refused(tmp_path_factory, pickled):
    path = archive(tmp_path_factory.getbasetemp() / "any.pt", PROTO + pickled)
    try:
        read_weights(path)
    except InvalidCheckpoint as refusal:
        assert "\n" not in str(refusal)
