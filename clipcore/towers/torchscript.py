"""The tensors of a TorchScript archive, read without running anything that is in it.

`torch.jit.load` compiles the archive's code, and `torch.load(weights_only=True)` refuses such archives. An archive is a
zip file: `<name>/data.pkl` describes a tree of modules (see weights_pickle.py), `<name>/data/<key>` are its numbers.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

import torch
from torch import Tensor

from clipcore.towers.not_weights import NotWeights
from clipcore.towers.weights_pickle import read_tree

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
