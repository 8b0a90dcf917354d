"""The pickle in a TorchScript archive, carried out by a table that knows no way to call anything.

Python's unpickler calls what a file names, and a filter on the names leaves much to think about. The writer of
TorchScript uses some thirty of a pickle's instructions (torch/csrc/jit/serialization/pickler.cpp); only they are here,
modules become dicts, and the few names that a file may speak of become marks.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from enum import Enum, auto
from math import prod

import torch
from torch import Tensor

from clipcore.towers.not_weights import NotWeights

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
