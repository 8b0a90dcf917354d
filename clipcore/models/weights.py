"""One file of weights, whoever wrote it, as tensors by name. Nothing in the file is run."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from enum import Enum, auto
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

import safetensors.torch
import torch
from torch import Tensor

from clipcore.errors import NotWeights

Storage = Callable[[torch.dtype, str, int], Tensor]
"""Type, key and count of a storage -> its numbers [count]; the same memory whenever it is asked for again."""


def read_tree(pickled: bytes, storage: Storage) -> object:
    """What the pickle describes: dicts for modules, tensors, plain values. Raises NotWeights."""
    machine = _Machine(storage)
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "STOP":
                return machine.pop()
            if opcode.name not in _STEPS:
                raise NotWeights(f"its data.pkl holds the instruction {opcode.name}")
            _STEPS[opcode.name](machine, argument)
    except NotWeights:
        raise
    # Where a file that contradicts itself leads: a stack too short, a list where a tensor should be. The warning, where
    # warnings are errors, is of a string that escapes what needs no escape.
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RuntimeError, DeprecationWarning) as error:
        raise NotWeights("its data.pkl is broken") from error
    raise NotWeights("its data.pkl has no end")


class _Name(Enum):
    """What an archive may speak of. Each is a mark on the stack; none is a thing that can be called."""

    MODULE = auto()
    TENSOR = auto()
    DICTIONARY = auto()
    UNCHANGED = auto()


_NAMES = {
    "torch._utils _rebuild_tensor_v2": _Name.TENSOR,
    "collections OrderedDict": _Name.DICTIONARY,
    "torch.jit._pickle build_intlist": _Name.UNCHANGED,
    "torch.jit._pickle build_doublelist": _Name.UNCHANGED,
    "torch.jit._pickle build_boollist": _Name.UNCHANGED,
    "torch.jit._pickle build_tensorlist": _Name.UNCHANGED,
    "torch.jit._pickle restore_type_tag": _Name.UNCHANGED,
}

_DTYPES = {
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}


class _Machine:
    """The stack machine that pickles are written for (described in CPython's Lib/pickletools.py)."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[object, object] = {}

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> object:
        return self._stack.pop()

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def marked(self) -> list[object]:
        """Everything above the last mark."""
        return self.take(len(self._stack) - self._marks.pop())

    def take(self, count: int) -> list[object]:
        if not 0 <= count <= len(self._stack):
            raise NotWeights("its data.pkl is broken")
        start = len(self._stack) - count
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def remember(self, place: object) -> None:
        self._memo[place] = self._stack[-1]

    def recall(self, place: object) -> None:
        self.push(self._memo[place])

    def name(self, name: str) -> None:
        if name.startswith(("__torch__.", "__torch__ ")):
            self.push(_Name.MODULE)
        elif (known := _DTYPES.get(name) or _NAMES.get(name)) is not None:
            self.push(known)
        else:
            raise NotWeights(f"it asks for {name.replace(' ', '.')}, which no weights need")

    def new_module(self) -> None:
        kind, _arguments = self.take(2)
        if kind is not _Name.MODULE:
            raise NotWeights("it makes an object that is no module")
        self.push({})

    def build(self) -> None:
        state = self.pop()
        # A class may bring code that says what its state is; a state that is no dict holds no modules.
        if isinstance(state, dict):
            self._dictionary().update(state)

    def set_items(self, items: list[object]) -> None:
        keys = items[::2]
        # Python finds the hash of a tuple of tuples by recursion, and a file could nest them deeper than its stack.
        if not all(isinstance(key, str | int | float) for key in keys):
            raise NotWeights("it names an attribute by what is no name")
        self._dictionary().update(zip(keys, items[1::2], strict=True))

    def append(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise NotWeights("it appends to what is no list")
        target.extend(items)

    def storage(self) -> None:
        kind, dtype, key, _device, count = _parts(self.pop(), 5)
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
            raise NotWeights("it describes a storage wrongly")
        self.push(self._storage(dtype, str(key), count))

    def reduce(self) -> None:
        kind, arguments = self.take(2)
        if kind is _Name.TENSOR:
            self.push(_tensor(*_parts(arguments, 6)[:4]))
        elif kind is _Name.DICTIONARY:
            self.push({})
        elif kind is _Name.UNCHANGED and isinstance(arguments, tuple):
            self.push(arguments[0])
        else:
            raise NotWeights("it calls something that no weights need")

    def _dictionary(self) -> dict[object, object]:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise NotWeights("it sets attributes of what is no module")
        return target


def _tensor(storage: object, offset: object, shape: object, strides: object) -> Tensor:
    sizes, steps = _naturals(shape), _naturals(strides)
    # A stride of nothing would make a huge tensor of one number; no weights do. as_strided itself refuses whatever lies
    # outside of the storage.
    if not isinstance(storage, Tensor) or not isinstance(offset, int) or prod(sizes) > storage.numel():
        raise NotWeights("it describes a tensor larger than its storage")
    return storage.as_strided(sizes, steps, offset)


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(isinstance(value, int) and value >= 0 for value in values):
        raise NotWeights("it describes a tensor wrongly")
    return values


def _parts(value: object, length: int) -> tuple[object, ...]:
    if not isinstance(value, tuple) or len(value) != length:
        raise NotWeights("it describes a tensor wrongly")
    return value


_STEPS: dict[str, Callable[[_Machine, object], None]] = {
    "PROTO": lambda machine, version: None,
    "MARK": lambda machine, _: machine.mark(),
    "GLOBAL": lambda machine, name: machine.name(str(name)),
    "BINPUT": lambda machine, place: machine.remember(place),
    "LONG_BINPUT": lambda machine, place: machine.remember(place),
    "BINGET": lambda machine, place: machine.recall(place),
    "LONG_BINGET": lambda machine, place: machine.recall(place),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "BININT": lambda machine, number: machine.push(number),
    "BININT1": lambda machine, number: machine.push(number),
    "BININT2": lambda machine, number: machine.push(number),
    "LONG1": lambda machine, number: machine.push(number),
    "BINFLOAT": lambda machine, number: machine.push(number),
    "BINUNICODE": lambda machine, text: machine.push(text),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "SETITEM": lambda machine, _: machine.set_items(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.take(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.take(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.take(3))),
    "NEWOBJ": lambda machine, _: machine.new_module(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(),
    "REDUCE": lambda machine, _: machine.reduce(),
}


# What is believed of a file. OpenAI's largest archive has a few thousand entries and a data.pkl of about 2 MiB.
_MOST_ENTRIES = 100_000
_LONGEST_PICKLE = 64 * 2**20
_MOST_ATTRIBUTES = 200_000
_LONGEST_NAME = 500


def is_torchscript(path: Path) -> bool:
    """A TorchScript archive has constants beside its tensors; what `torch.save` writes is a zip file without any."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Every tensor by its dotted name, as the module's `state_dict` has it; on the CPU, in the archive's precision.

    Tensor attributes that are no weights are among them, since only the code tells them apart. Raises NotWeights.
    """
    try:
        with ZipFile(path) as archive:
            storages = _Storages(archive, path.stat().st_size)
            return _flat(read_tree(storages.description(), storages.read))
    except BadZipFile as error:
        raise NotWeights(f"the zip file is broken ({error})") from error


def _flat(tree: object) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, object]] = [("", tree)]
    attributes = 0
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, dict):
            attributes += len(value)
            # A module may be named in many places, and even hold itself.
            if attributes > _MOST_ATTRIBUTES or len(name) > _LONGEST_NAME:
                raise NotWeights("its modules have no end")
            waiting.extend((f"{name}.{key}" if name else str(key), part) for key, part in value.items())
    return found


class _Storages:
    """The numbers, each entry read once, when it is first asked for."""

    def __init__(self, archive: ZipFile, file_size: int) -> None:
        entries = archive.infolist()
        if len(entries) > _MOST_ENTRIES:
            raise NotWeights(f"it has {len(entries)} entries")
        self._archive = archive
        self._pickle = _described(entries)
        self._root = self._pickle.filename.removesuffix("data.pkl")
        # Weights lie there uncompressed, so that what is read can never be more than the file is long.
        self._left = file_size
        self._known: dict[str, Tensor] = {}

    def description(self) -> bytes:
        if self._pickle.file_size > _LONGEST_PICKLE:
            raise NotWeights(f"its data.pkl has {self._pickle.file_size} bytes")
        return self._entry("data.pkl", self._pickle.file_size)

    def read(self, dtype: torch.dtype, key: str, count: int) -> Tensor:
        if key not in self._known:
            raw = bytearray(self._entry(f"data/{key}", count * dtype.itemsize))
            self._known[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        known = self._known[key]
        if known.dtype != dtype or known.numel() != count:
            raise NotWeights(f"it describes its storage {key} in two ways")
        return known

    def _entry(self, name: str, size: int) -> bytes:
        try:
            entry = self._archive.getinfo(self._root + name)
        except KeyError as error:
            raise NotWeights(f"it has no {name}") from error
        if entry.file_size != size or entry.compress_type != ZIP_STORED or size > self._left:
            raise NotWeights(f"its {name} is not the {size} plain bytes that it should be")
        self._left -= size
        return self._archive.read(entry)


def _described(entries: list[ZipInfo]) -> ZipInfo:
    found = [entry for entry in entries if entry.filename.count("/") == 1 and entry.filename.endswith("/data.pkl")]
    if len(found) != 1:
        raise NotWeights("it has no data.pkl")
    return found[0]


# Where training scripts put the weights among their other state, and what wrapping a model puts before its names.
_WRAPPERS = ("state_dict", "model_state_dict")
_PREFIX = "module."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Floating point numbers as float32 whatever the file has, on the CPU.

    path: a TorchScript archive, what `torch.save` wrote (a state dict, alone or among a training script's state), or
    safetensors. Raises NotWeights.
    """
    weights = _unwrapped(_read(path))
    floats = {}
    for name in list(weights):
        # One by one, so that a large file in half precision never lies there twice as a whole.
        value = weights.pop(name)
        floats[name.removeprefix(_PREFIX)] = value.float() if value.is_floating_point() else value
    return floats


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if is_torchscript(path):
            return read_torchscript(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise NotWeights(
            "the file is no checkpoint, or holds more than weights, which could be code; save its state dict alone"
        ) from error
    except (NotWeights, MemoryError):
        raise
    except Exception as error:
        # torch's readers meet bytes that are no checkpoint with whatever comes up, a KeyError or an IndexError as well.
        raise NotWeights(f"the file is broken or no checkpoint ({type(error).__name__}); download it again") from error


def _unwrapped(loaded: object) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(name, str) for name in loaded):
        raise NotWeights("the file holds no state dict, names and their tensors")
    return {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
