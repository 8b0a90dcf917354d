"""Running a model in torch: device, precision and threads, and the image tower itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from clipcore.errors import BadInput, ModelUnavailable
from clipcore.models.towers import Opened
from clipcore.types import Pixels, Vectors

ImageForward = Callable[[Pixels], Vectors]
"""Prepared images, uint8 [n, s, s, 3], n > 0 -> float32 [n, dim], unit length. One thread at a time."""

# By our names and by torch's.
_DTYPES = {
    **{"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16},
    **{"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16},
}


class ImageTower:
    """Pixels -> image features. Reads the weights where and as they are at each call, so they may be moved, rounded
    or trained in between.
    """

    def __init__(self, opened: Opened) -> None:
        preprocessing = opened.preprocessing
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (preprocessing.mean, preprocessing.std))
        self._scale, self._shift = preprocessing.rescale / std, -mean / std
        self._features = opened.towers.image_features
        self._vision = opened.towers.vision[0]

    @property
    def weight(self) -> Tensor:
        """Any one of the image tower's: all have the same device and precision. The logit scale stays float32."""
        return next(self._vision.parameters())

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [n, s, s, 3] -> float32 [n, 3, s, s] on the same device."""
        # One pass over the pixels: (x * rescale - mean) / std in steps takes twice as long.
        scale, shift = self._scale.to(pixels.device), self._shift.to(pixels.device)
        return torch.addcmul(shift, pixels.permute(0, 3, 1, 2), scale)

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [n, s, s, 3] on the weights' device -> [n, dim], not of unit length, in the weights' precision."""
        return self._features(self.normalise(pixels).to(self.weight.dtype))


def torch_forward(tower: ImageTower, batch: Pixels) -> Vectors:
    """An `ImageForward` once the tower is bound. Raises torch's own errors, see `memory_errors`."""
    device = tower.weight.device
    pixels = as_tensor(batch)
    with torch.inference_mode():
        if device.type == "cuda":
            # Work queued on the same stream waits for the copy on the GPU. torch caches pinned memory, and reuses a
            # block only after the copies from it are done.
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        return to_numpy(tower(pixels.to(device)))


def as_tensor(batch: Pixels) -> Tensor:
    """Shares the memory where torch can: it takes no array that is read-only or not contiguous."""
    return torch.from_numpy(np.require(batch, requirements=["C", "W"]))


def unit_length(features: Tensor) -> Tensor:
    """[n, dim] of any length and precision -> float32 [n, dim], unit length, on the same device."""
    return torch.nn.functional.normalize(features.float(), dim=-1)


def to_numpy(features: Tensor) -> Vectors:
    """[n, dim] of any length and precision -> float32 [n, dim], unit length."""
    vectors: Vectors = unit_length(features).cpu().numpy()
    return vectors


def find_device(name: str) -> torch.device:
    """name: `auto` (a GPU if there is one) or torch's name. Raises ModelUnavailable if there is no such device."""
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise ModelUnavailable(f"The device {name!r} cannot be used here; set it to 'auto' or 'cpu'.") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def find_dtype(precision: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where the hardware computes in it, else fp32. Raises BadInput for an unknown name."""
    if precision == "auto":
        return torch.bfloat16 if _has_native_bf16(device) else torch.float32
    if precision not in _DTYPES:
        raise BadInput(f"There is no precision {precision!r}; choose auto, fp32, bf16 or fp16.")
    return _DTYPES[precision]


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Emulated bf16 is slower than fp32, so only CPUs with the instructions count. torch has no public name for
        # this.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns torch's out-of-memory errors into MemoryError, so that callers need not import torch."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise MemoryError(str(error)) from error


def limit_threads(cores: int) -> None:
    """Caps torch's threads, here and on every thread that computes later. OpenVINO is given the same number.

    torch counts the cores that it may run on, not the CPU time that a container is granted: more threads than that
    are throttled, all at once, until the next scheduling period of 0.1 s. OMP_NUM_THREADS takes precedence.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
