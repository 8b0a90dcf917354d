"""One file of weights, whoever wrote it, as tensors by name. Nothing in the file is run."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from torch import Tensor

from clipcore.towers.not_weights import NotWeights
from clipcore.towers.torchscript import is_torchscript, read_torchscript

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
