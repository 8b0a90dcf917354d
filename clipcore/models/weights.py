"""Files of weights -> tensors by name. Nothing in a file is executed."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from math import isqrt, prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import safetensors.torch
import torch
from torch import Tensor, nn

from clipcore.errors import InvalidCheckpoint
from clipcore.models.checkpoint import weight_files

Weights = dict[str, Tensor]

# Where training scripts put the weights among their other state, and what wrapping a model puts before its names.
_WRAPPERS = ("state_dict", "model_state_dict")
_PREFIX = "module."


def read_weights(path: Path) -> Weights:
    """Floating-point weights as float32 whatever the file has, on the CPU.

    path: a TorchScript archive, what `torch.save` wrote (a state dict, alone or among a training script's state), or
    safetensors. Raises InvalidCheckpoint.
    """
    weights = _unwrapped(_read(path))
    floats = {}
    for name in list(weights):
        # One by one, so that a large file in half precision is never in memory twice as a whole.
        value = weights.pop(name)
        floats[name.removeprefix(_PREFIX)] = value.float() if value.is_floating_point() else value
    return floats


def read_checkpoint_weights(directory: Path) -> Weights:
    """As `read_weights`, from a directory in the hub's layout, sharded or not."""
    return {name: value for file in weight_files(directory) for name, value in read_weights(file).items()}


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


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if is_torchscript(path):
            return read_torchscript(path)
        return torch.load(path, map_location="cpu", weights_only=True)
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


# Limits on a TorchScript archive. OpenAI's largest has a few thousand entries and a data.pkl of about 2 MiB.
_MAX_ENTRIES = 100_000
_MAX_PICKLE_BYTES = 64 * 2**20
_MAX_ATTRIBUTES = 200_000
_MAX_NAME_LENGTH = 500
# Python hashes nested tuples by recursion in C, and 200,000 levels overflow a stack of 8 MiB.
_MAX_TUPLES = 50_000
# The memo is a list as long as its largest index.
_MAX_MEMO = 1_000_000
# Everything that torch.jit writes.
_OPCODES = (
    *("PROTO", "STOP", "MARK", "GLOBAL", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE"),
    *("NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NEWOBJ", "BUILD"),
    *("BINPERSID", "REDUCE"),
)


def is_torchscript(path: Path) -> bool:
    """A TorchScript archive has constants beside its tensors; what `torch.save` writes is a zip file without any."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> Weights:
    """Every tensor by its dotted name, as the module's `state_dict` has it; on the CPU, in the archive's precision.

    Tensor attributes that are no weights are among them, since only the archive's code could tell. Raises
    InvalidCheckpoint for what torch.jit would not write, and anything for a pickle that contradicts itself.
    """
    with ZipFile(path) as archive:
        return _flat(_Unpickler(archive, path.stat().st_size).load())


class _Unpickler(pickle.Unpickler):
    """Reads an archive's data.pkl. Builds nothing but the classes below: `find_class` is the only way by which a pickle
    reaches a callable.
    """

    def __init__(self, archive: ZipFile, file_size: int) -> None:
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise InvalidCheckpoint(f"it has {len(entries)} entries")
        pickles = [each for each in entries if each.filename.count("/") == 1 and each.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InvalidCheckpoint("it has no data.pkl")
        size = pickles[0].file_size
        if size > _MAX_PICKLE_BYTES:
            raise InvalidCheckpoint(f"its data.pkl has {size} bytes")
        self._archive = archive
        self._root = pickles[0].filename.removesuffix("data.pkl")
        # Weights are stored uncompressed, so no more is ever read than the file is long.
        self._left = file_size
        self._storages: dict[str, Tensor] = {}
        pickled = self._entry("data.pkl", size)
        _check_instructions(pickled)
        super().__init__(io.BytesIO(pickled))

    def find_class(self, module: str, name: str) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (allowed := _ALLOWED.get(f"{module}.{name}")) is None:
            raise InvalidCheckpoint(f"it asks for {module}.{name}, which no weights need")
        return allowed

    def persistent_load(self, pid: Any) -> _Numbers:  # noqa: ANN401 - whatever the file holds
        """A storage. Each is read once, when it is first needed."""
        kind, dtype, key, _device, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
            raise InvalidCheckpoint("it describes a storage wrongly")
        key = str(key)
        if key not in self._storages:
            raw = bytearray(self._entry(f"data/{key}", count * dtype.itemsize))
            self._storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        numbers = self._storages[key]
        if numbers.dtype != dtype or numbers.numel() != count:
            raise InvalidCheckpoint(f"it describes its storage {key} in two ways")
        return _Numbers(numbers)

    def _entry(self, name: str, size: int) -> bytes:
        try:
            entry = self._archive.getinfo(self._root + name)
        except KeyError as error:
            raise InvalidCheckpoint(f"it has no {name}") from error
        if entry.file_size != size or entry.compress_type != ZIP_STORED or size > self._left:
            raise InvalidCheckpoint(f"its {name} is not the {size} plain bytes that it should be")
        self._left -= size
        return self._archive.read(entry)


def _check_instructions(pickled: bytes) -> None:
    tuples = 0
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name not in _OPCODES:
            raise InvalidCheckpoint(f"its data.pkl holds the instruction {opcode.name}")
        tuples += opcode.name.startswith("TUPLE")
        if tuples > _MAX_TUPLES or (opcode.name == "LONG_BINPUT" and int(argument or 0) > _MAX_MEMO):
            raise InvalidCheckpoint("its data.pkl is larger than any model's")


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
    """Stands for OrderedDict."""


def _rebuild_tensor(storage: object, offset: Any, shape: Any, strides: Any, *_hooks: object) -> _Numbers:  # noqa: ANN401
    if not isinstance(storage, _Numbers) or not (_naturals((offset,)) and _naturals(shape) and _naturals(strides)):
        raise InvalidCheckpoint("it describes a tensor wrongly")
    # A stride of 0 would make a huge tensor of one number; no weights do. as_strided itself refuses what lies outside
    # the storage.
    if prod(shape) > storage.tensor.numel():
        raise InvalidCheckpoint("it describes a tensor larger than its storage")
    return _Numbers(storage.tensor.as_strided(shape, strides, offset))


def _naturals(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, int) and value >= 0 for value in values)


def _unchanged(value: object, *_: object) -> object:
    return value


_ALLOWED: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "collections.OrderedDict": _Dictionary,
    **dict.fromkeys(
        ("torch.jit._pickle." + name for name in (
            "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag",
        )),
        _unchanged,
    ),
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
