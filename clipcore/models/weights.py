"""Files of weights -> tensors by name. Nothing in a file is executed."""

from __future__ import annotations

import pickle
import pickletools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from math import isqrt, prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar, cast
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from clipcore.errors import InvalidCheckpoint
from clipcore.models.checkpoint import weight_files

Weights = dict[str, Tensor]

# Where training scripts put the weights among their other state, and what wrapping a model puts before its names.
_WRAPPERS = ("state_dict", "model_state_dict")
_PREFIX = "module."
# Twice for half precision, and again where two names share weights. Beyond, many tensors show the same numbers.
_MAX_GROWTH = 8


def read_weights(path: Path) -> Weights:
    """Floating-point weights as float32 whatever the file has, on the CPU.

    path: a TorchScript archive, what `torch.save` wrote (a state dict, alone or among a training script's state), or
    safetensors. Raises InvalidCheckpoint.
    """
    with _refusals():
        weights = _unwrapped(load_file(path) if path.suffix == ".safetensors" else read_pickled(path))
    if 4 * sum(value.numel() for value in weights.values()) > _MAX_GROWTH * path.stat().st_size:
        raise InvalidCheckpoint(f"its tensors would fill more than {_MAX_GROWTH} times the memory that the file does")
    floats = {}
    for name in list(weights):
        # One by one, so that a large file in half precision is never in memory twice as a whole.
        value = weights.pop(name)
        floats[name.removeprefix(_PREFIX)] = value.float() if value.is_floating_point() else value
    return floats


def read_checkpoint_weights(directory: Path) -> Weights:
    """As `read_weights`, from a directory in the hub's layout, sharded or not."""
    return {name: value for file in weight_files(directory) for name, value in read_weights(file).items()}


Network = TypeVar("Network", bound=nn.Module)


def build_exactly(build: Callable[[], Network], weights: Callable[[Network], Weights]) -> Network:
    """A network with its weights. It is built without memory first, for config.json may claim any size. Raises as
    `load_exactly`.
    """
    with torch.device("meta"):
        network = build()
        load_exactly(network, weights(network))
    network = build()
    load_exactly(network, weights(network))
    return network


def load_exactly(model: nn.Module, weights: Weights) -> None:
    """Raises InvalidCheckpoint where a weight is missing, left over, or of another shape."""
    # How many batches a normalisation has counted in training is not in every checkpoint.
    counters = [name for name, _ in model.named_buffers() if name.endswith("num_batches_tracked")]
    zeros = {name: torch.zeros((), dtype=torch.int64) for name in counters}
    try:
        report = model.load_state_dict(zeros | weights, strict=False, assign=True)
    except RuntimeError as error:
        raise InvalidCheckpoint("its weights do not fit each other's shapes; download it again") from error
    if report.missing_keys:
        raise InvalidCheckpoint(f"its weights are incomplete, {report.missing_keys[0]} is missing; download it again")
    if report.unexpected_keys:
        raise InvalidCheckpoint(
            f"its weights are of another kind of model, for CLIP has no {report.unexpected_keys[0]}"
        )


def without_buffers(weights: Weights) -> Weights:
    """Without sizes stored as numbers, the causal mask, counters and position numbers."""
    return {name: value for name, value in weights.items() if not _BUFFERS.fullmatch(name)}


def weight_shape(weights: Weights, name: str, axes: int) -> tuple[int, ...]:
    """Raises InvalidCheckpoint where there is no such weight of so many axes."""
    if name not in weights or weights[name].ndim != axes:
        raise InvalidCheckpoint(f"these are no weights of a CLIP model, which have a {name} of {axes} axes")
    return tuple(weights[name].shape)


def grid(weights: Weights, positions: str) -> int:
    """Patches along an edge. The first of the positions is no patch: the class token, or the mean of all."""
    count = weight_shape(weights, positions, 2)[0] - 1
    edge = isqrt(count)
    if edge**2 != count:
        raise InvalidCheckpoint(f"its weights have {count} patches, which make no square")
    return edge


_BUFFERS = re.compile(
    r"(input_resolution|context_length|vocab_size)$|(.*\.)?(attn_mask|num_batches_tracked|position_ids)$"
)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except UnpicklingError as error:
        raise InvalidCheckpoint(
            "the file is no checkpoint, or holds more than weights, which could be code; save its state dict alone"
        ) from error
    except (InvalidCheckpoint, MemoryError):
        raise
    except Exception as error:
        # On bytes that are no checkpoint readers raise nearly anything, a KeyError or an IndexError as well.
        raise InvalidCheckpoint(
            f"the file is broken or no checkpoint ({type(error).__name__}); download it again"
        ) from error


def _unwrapped(loaded: object) -> Weights:
    for key in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(name, str) for name in loaded):
        raise InvalidCheckpoint("the file holds no state dict of names and tensors")
    return {name: value for name, value in loaded.items() if isinstance(value, Tensor)}


# Limits on what torch writes. OpenAI's largest archive has a few thousand entries and a data.pkl of about 2 MiB.
_MAX_ENTRIES = 100_000
_MAX_PICKLE_BYTES = 64 * 2**20
_MAX_AXES = 8
# Each may make an object of half a kilobyte.
_MAX_INSTRUCTIONS = 2_000_000
_MAX_ATTRIBUTES = 200_000
_MAX_NAME_LENGTH = 500
# Python hashes nested tuples by recursion in C, and 200,000 levels overflow a stack of 8 MiB.
_MAX_TUPLES = 50_000
# The memo is a list as long as its largest index.
_MAX_MEMO = 1_000_000
# Everything that torch.jit.save and torch.save write.
_OPCODES = (
    *("PROTO", "STOP", "MARK", "GLOBAL", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE"),
    *("NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NEWOBJ", "BUILD"),
    *("BINPERSID", "REDUCE", "EMPTY_SET", "SHORT_BINSTRING"),
)


def read_pickled(path: Path) -> object:
    """What `torch.save` wrote, its tensors on the CPU; of what `torch.jit.save` wrote, the tensors as `Weights`.

    Without `torch.load`, which inflates whatever an archive holds, allocates what a pickle claims, and offers it, with
    `weights_only` too, functions by which sixty bytes fill any memory (`bytearray`, `_codecs.encode`). No more is read
    here than the file is long. Raises InvalidCheckpoint.
    """
    with _refusals():
        if not is_zipfile(path):
            return _read_legacy(path)
        with ZipFile(path) as zipped:
            archive = _Archive(zipped, path.stat().st_size)
            tree = _Unpickler(BytesIO(archive.pickled()), archive.storage).load()
            return _flat(tree) if archive.is_torchscript else _plain(tree)


class _Archive:
    """A zip file of `torch.save` or `torch.jit.save`. Raises InvalidCheckpoint for what neither would write."""

    def __init__(self, archive: ZipFile, file_size: int) -> None:
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise InvalidCheckpoint(f"it has {len(entries)} entries")
        pickles = [each for each in entries if each.filename.count("/") == 1 and each.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InvalidCheckpoint("it has no data.pkl")
        self._archive = archive
        self._root = pickles[0].filename.removesuffix("data.pkl")
        # Weights are stored uncompressed, so no more is ever read than the file is long.
        self._left = file_size

    @property
    def is_torchscript(self) -> bool:
        """Then it has constants beside its tensors."""
        return self._root + "constants.pkl" in self._archive.NameToInfo

    def pickled(self) -> bytes:
        order = self._archive.NameToInfo.get(self._root + "byteorder")
        if order and self._entry("byteorder", len(sys.byteorder)) != sys.byteorder.encode():
            raise InvalidCheckpoint("its numbers are in another machine's byte order; save it as safetensors")
        size = self._archive.getinfo(self._root + "data.pkl").file_size
        if size > _MAX_PICKLE_BYTES:
            raise InvalidCheckpoint(f"its data.pkl has {size} bytes")
        return self._entry("data.pkl", size)

    def storage(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        raw = self._entry(f"data/{key}", count * dtype.itemsize)
        return _fill(torch.empty(count, dtype=dtype), raw)

    def _entry(self, name: str, size: int) -> bytes:
        try:
            entry = self._archive.getinfo(self._root + name)
        except KeyError as error:
            raise InvalidCheckpoint(f"it has no {name}") from error
        if entry.file_size != size or entry.compress_type != ZIP_STORED or size > self._left:
            raise InvalidCheckpoint(f"its {name} is not the {size} plain bytes that it should be")
        self._left -= size
        return self._archive.read(entry)


def _fill(room: Tensor, raw: bytes) -> Tensor:
    """A copy, since torch's kernels are fastest on memory that torch aligned."""
    if len(raw) != room.nbytes:
        raise InvalidCheckpoint("it ends in the midst of its numbers; download it again")
    return room.copy_(torch.frombuffer(bytearray(raw), dtype=room.dtype)) if raw else room


# What `torch.save` put first before it wrote zip files (torch < 1.6): a number, a version, the machine.
_LEGACY = 0x1950A86A20F9469CFC6C, 1001


def _read_legacy(path: Path) -> object:
    """The pickles, the names of the storages, and the storages one after the other."""
    storages: dict[str, Tensor] = {}
    left = path.stat().st_size

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal left
        left -= count * dtype.itemsize
        if left < 0:
            raise InvalidCheckpoint("its tensors are larger than the file")
        storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    # Mapped, since a pickle may ask for more than the file has, and a file would make room for that first.
    with path.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as file:
        number, version, machine, tree, keys = (_Unpickler(file, storage).load() for _ in range(5))
        if (number, version) != _LEGACY or not machine["little_endian"]:
            raise InvalidCheckpoint("the file is no checkpoint; save its state dict, or safetensors")
        for key in keys:
            room = storages[str(key)]
            if int.from_bytes(file.read(8), "little") != len(room):
                raise InvalidCheckpoint(f"it describes its storage {key} in two ways")
            _fill(room, file.read(room.nbytes))
    if set(map(str, keys)) != storages.keys():
        raise InvalidCheckpoint("it describes storages that it does not hold")
    return _plain(tree)


class _Unpickler(pickle.Unpickler):
    """Builds nothing but the classes below: `find_class` is the only way by which a pickle reaches a callable.

    storage: makes the numbers of a storage, once, when it is first needed.
    """

    def __init__(self, file: BytesIO | mmap, storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        self._storage = storage
        self._storages: dict[str, Tensor] = {}
        start = file.tell()
        _check_instructions(file)
        file.seek(start)
        super().__init__(file)

    def find_class(self, module: str, name: str) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (allowed := _ALLOWED.get(f"{module}.{name}")) is None:
            raise InvalidCheckpoint(f"it asks for {module}.{name}, which no weights need; save its state dict alone")
        return allowed

    def persistent_load(self, pid: Any) -> _Numbers:  # noqa: ANN401 - whatever the file holds
        kind, dtype, key, _device, count, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
            raise InvalidCheckpoint("it describes a storage wrongly")
        if any(view):
            raise InvalidCheckpoint("it is of a release of torch that is too old; save it again with a newer one")
        key = str(key)
        if key not in self._storages:
            self._storages[key] = self._storage(key, dtype, count)
        numbers = self._storages[key]
        if numbers.dtype != dtype or numbers.numel() != count:
            raise InvalidCheckpoint(f"it describes its storage {key} in two ways")
        return _Numbers(numbers)


def _check_instructions(pickled: BytesIO | mmap) -> None:
    tuples = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(BytesIO, pickled))):
        if opcode.name not in _OPCODES:
            raise InvalidCheckpoint(f"it holds the instruction {opcode.name}, which is not for weights")
        tuples += opcode.name.startswith("TUPLE")
        memo = int(argument or 0) if opcode.name == "LONG_BINPUT" else 0
        if count > _MAX_INSTRUCTIONS or tuples > _MAX_TUPLES or memo > _MAX_MEMO:
            raise InvalidCheckpoint("its description is larger than any model's")


class _Module:
    """Stands for every class of the archive."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Numbers:
    """A storage or a tensor. Not a Tensor itself, whose `__setstate__` a pickle could call."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __setstate__(self, state: object) -> None:
        raise InvalidCheckpoint("it sets the state of a tensor")


class _Dictionary(dict[object, object]):
    """Stands for OrderedDict. It begins empty: five bytes would be enough for each copy of another one."""

    def __init__(self) -> None:
        super().__init__()


def _rebuild_tensor(storage: object, offset: Any, shape: Any, strides: Any, *_hooks: object) -> _Numbers:  # noqa: ANN401
    if not isinstance(storage, _Numbers) or not (_naturals((offset,)) and _naturals(shape) and _naturals(strides)):
        raise InvalidCheckpoint("it describes a tensor wrongly")
    # A stride of 0 would make a huge tensor of one number; no weights do. as_strided itself refuses what lies outside
    # the storage.
    if prod(shape) > storage.tensor.numel():
        raise InvalidCheckpoint("it describes a tensor larger than its storage")
    return _Numbers(storage.tensor.as_strided(shape, strides, offset))


def _naturals(values: object) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= _MAX_AXES
        and all(isinstance(value, int) and value >= 0 for value in values)
    )


def _unchanged(value: object, *_: object) -> object:
    return value


_ALLOWED: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _unchanged,
    "torch.Size": _unchanged,
    "torch.device": _unchanged,
    "torch.serialization._get_layout": _unchanged,
    "collections.OrderedDict": _Dictionary,
    "collections.Counter": _unchanged,  # schedulers of learning rates have one
    **dict.fromkeys(
        ("torch.jit._pickle." + name for name in (
            "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag",
        )),
        _unchanged,
    ),
    **{str(dtype): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)},
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}  # fmt: skip


def _plain(tree: object) -> object:
    """The tree with its tensors for `_Numbers`; what occurs twice stays one."""
    done: dict[int, object] = {}

    def plain(value: object) -> object:
        if id(value) in done:
            return done[id(value)]
        new: Any = value.tensor if isinstance(value, _Numbers) else value
        if isinstance(value, dict | list):
            new = done[id(value)] = {} if isinstance(value, dict) else []  # it may contain itself
        if isinstance(value, dict):
            new.update((key, plain(each)) for key, each in value.items())
        elif isinstance(value, list):
            new.extend(map(plain, value))
        elif isinstance(value, tuple):
            new = tuple(map(plain, value))
        done[id(value)] = new
        return new

    return plain(tree)


def _flat(tree: object) -> Weights:
    weights: Weights = {}
    pending: list[tuple[str, object]] = [("", tree)]
    attributes = 0
    while pending:
        name, value = pending.pop()
        children = value.state if isinstance(value, _Module) else value
        if isinstance(value, _Numbers):
            weights[name] = value.tensor
        elif isinstance(children, dict):
            attributes += len(children)
            if not all(isinstance(key, str | int) for key in children):
                raise InvalidCheckpoint("it names an attribute by what is no name")
            # A module may occur in many places, and even contain itself.
            if attributes > _MAX_ATTRIBUTES or len(name) > _MAX_NAME_LENGTH:
                raise InvalidCheckpoint("its modules have no end")
            pending.extend((f"{name}.{key}" if name else str(key), child) for key, child in children.items())
    return weights
