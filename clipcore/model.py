"""A loaded model of any family. With towers/ and train/ the torch side; imported when a model is first wanted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipcore.errors import BadInput, ModelUnavailable, WordsNotUnderstood
from clipcore.images.decode import as_pixels
from clipcore.images.preprocess import Preprocessing
from clipcore.models.checkpoint import Checkpoint, find_checkpoint
from clipcore.models.families import open_checkpoint
from clipcore.models.towers import Opened, Tokens, Towers, quiet
from clipcore.runtime.cuda import CudaDevice, PipelinedForward
from clipcore.runtime.openvino import NotRunning, OpenVinoForward, openvino_forward, openvino_is_installed
from clipcore.runtime.torch import EagerForward, ImageForward, Pending, as_tensor, unit
from clipcore.types import Box, Calibration, ModelCard, Pixels, Vectors

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Backend = Literal["auto", "torch", "openvino"]


class ClipModel:
    """A loaded checkpoint. Blocking and not thread-safe: one thread owns it (see executor.py); `prepare` and
    `overlaps` alone may be used anywhere.

    All vectors are float32 [n, dim], unit length, so a dot product is a cosine (Radford et al. 2021, §2.3).
    """

    def __init__(self, opened: Opened, card: ModelCard, calibration: Calibration) -> None:
        self.card = card
        self.calibration = calibration
        self.opened = opened
        preprocessing = opened.preprocessing
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (preprocessing.mean, preprocessing.std))
        self._scale, self._shift = preprocessing.rescale / std, -mean / std
        self._forward = self._new_forward()
        self._suits = self._place()

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        local_only: bool = False,
        compile: bool = False,  # noqa: A002 - torch's own word for it
        backend: Backend = "torch",
    ) -> ClipModel:
        """name: a hub id, a directory, a file of weights such as OpenAI's `RN50.pt`, or `bundled`. Raises
        ModelUnavailable with one sentence that says what to do.

        device: `auto` (a GPU where there is one), or torch's name for one. precision: `auto` is bf16 where the
        hardware has it. local_only: never ask the network. compile: have torch compile the towers, which takes from
        seconds to minutes and then pays where the same model encodes very much. backend: what looks at images on a
        CPU. `openvino`, an optional extra, takes seconds to load and is then quicker; it does not see when weights are
        changed, as by training. `auto` is openvino where it is installed and gives the same vectors, but for compiled
        towers.
        """
        checkpoint = find_checkpoint(name, local_only=local_only)
        chosen = find_device(device)
        runner = _find_backend(backend, chosen, compiled=compile)
        try:
            with quiet(), _memory_errors():
                loaded = cls._from_checkpoint(checkpoint, chosen, _dtype(precision, chosen), runner)
            return loaded._compiled() if compile else loaded
        except ModelUnavailable:
            raise
        except MemoryError as error:
            raise ModelUnavailable(
                f"The model {name!r} does not fit the memory of {chosen}; choose a smaller one, or another device."
            ) from error
        except Exception as error:
            # Broken files raise whatever the parser that met them raises; the person who can act needs one sentence.
            raise ModelUnavailable(
                f"The model {name!r} could not be loaded ({_summary(error)}); "
                "download it again, or take the model bundled for a trial."
            ) from error

    @classmethod
    def _from_checkpoint(
        cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, backend: Backend
    ) -> ClipModel:
        opened = open_checkpoint(checkpoint)
        # The temperature is read before the weights are rounded: bf16 would make 98.8 of 100.
        card = _card(checkpoint, opened)
        exactly = torch.float32 if backend != "torch" else dtype
        opened.towers.module.to(device=device, dtype=exactly).eval().requires_grad_(False)
        calibration = checkpoint.calibration(logit_scale=card.logit_scale, logit_bias=card.logit_bias)
        loaded = cls(opened, card, calibration)
        if backend != "torch":
            loaded._take_openvino(dtype, insisted=backend == "openvino")
            opened.towers.module.to(dtype=dtype)
        runner = "openvino" if isinstance(loaded._forward, OpenVinoForward) else "torch"
        log.info("model %s loaded on %s as %s, images by %s", card.key, device.type, loaded.dtype, runner)
        return loaded

    def _take_openvino(self, dtype: torch.dtype, *, insisted: bool) -> None:
        """Before the weights are rounded to dtype: OpenVINO does that itself, and takes exact ones twice as quickly."""
        try:
            self._forward = openvino_forward(self._image_features, self.preprocessing.crop, dtype)
        except NotRunning as error:
            if insisted:
                raise ModelUnavailable(
                    f"OpenVINO cannot run the model {self.card.id!r}, for {error}; choose torch: "
                    'CLIP_BACKEND=torch for the bot, backend="torch" in code.'
                ) from error
            log.warning("torch looks at images for model %s; OpenVINO does not, for %s", self.card.key, error)

    def _compiled(self) -> ClipModel:
        size = self.preprocessing.crop
        quick = self.towers.quick_image_features
        try:
            towers = replace(
                self.towers,
                image_features=torch.compile(self.towers.image_features),
                text_features=torch.compile(self.towers.text_features),
                quick_image_features=torch.compile(quick) if quick else None,
            )
            faster = ClipModel(replace(self.opened, towers=towers), self.card, self.calibration)
            # torch compiles at the first call, and only then finds out whether it can.
            faster.encode_prepared(np.zeros((1, size, size, 3), np.uint8))
            if self.card.reads_text:
                faster.encode_texts(["a"])
        except Exception as error:
            raise ModelUnavailable(
                f"The model {self.card.id!r} could not be compiled on this machine ({_summary(error)}); "
                "load it without compiling."
            ) from error
        return faster

    @property
    def dtype(self) -> str:
        """The precision of the weights: float32, bfloat16 or float16."""
        return str(self._weight.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weight.device

    @property
    def preprocessing(self) -> Preprocessing:
        return self.opened.preprocessing

    @property
    def towers(self) -> Towers:
        return self.opened.towers

    @property
    def _weight(self) -> Tensor:
        """Any one of them."""
        return next(self.towers.module.parameters())

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """uint8 [h, w, 3] -> uint8 [s, s, 3], what this model looks at. box: where in them the image lies; see
        `DecodedImage`. Needs no torch; any thread may call it.
        """
        return self.preprocessing.prepare(pixels, box)

    def encode_images(self, images: Sequence[Pixels | Image.Image]) -> Vectors:
        """images: uint8 [h, w, 3] or Pillow images, of any sizes. Returns float32 [n, dim], unit length.

        Raises BadInput for anything else, such as paths.
        """
        if len(images) == 0:
            return np.empty((0, self.card.dimension), np.float32)
        return self.encode_prepared(np.stack([self.prepare(as_pixels(image)) for image in images]))

    def encode_prepared(self, batch: Pixels) -> Vectors:
        """batch: uint8 [n, s, s, 3] as `prepare` makes them. Raises MemoryError where the batch does not fit the
        device.
        """
        return self.begin_prepared(batch)()

    def begin_prepared(self, batch: Pixels) -> Pending:
        """As `encode_prepared`, in two steps: the device may work on this batch while the next one is made ready. Call
        what comes back to wait for the vectors, in the order in which batches were begun.
        """
        with _memory_errors():
            pending = self._suited().begin(batch)

        def wait() -> Vectors:
            with _memory_errors():
                return pending()

        return wait

    @property
    def overlaps(self) -> bool:
        """Whether an image batch may be begun ahead of the one that is waited for. Any thread may ask."""
        return self._forward.overlaps

    def _suited(self) -> ImageForward:
        """Made anew where the weights were moved since, as `TorchClip.float` does: a recording reads them where they
        were.
        """
        if (place := self._place()) != self._suits:
            self._forward, self._suits = self._new_forward(), place
        return self._forward

    def _place(self) -> tuple[torch.device, tuple[int, ...]]:
        device = self.device
        if device.type != "cuda":
            return device, ()
        return device, tuple(weight.data_ptr() for part in self.towers.vision for weight in part.parameters())

    def _new_forward(self) -> ImageForward:
        device = self.device
        if device.type == "cuda":
            # A recording may hold no copy from the host.
            self._scale, self._shift = self._scale.to(device), self._shift.to(device)
            return PipelinedForward(self._image_features, self.card.dimension, CudaDevice(device))
        return EagerForward(self._features_of_batch)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Returns float32 [n, dim], unit length. Texts longer than the context are cut, keeping the end mark.

        Raises WordsNotUnderstood where the model sees images alone, and BadInput for a text that is in no list: each
        of its letters would be one.
        """
        if self.opened.tokenize is None:
            raise WordsNotUnderstood(self.card.id)
        if isinstance(texts, str):
            raise BadInput("encode_texts takes a list of texts; put a single one into a list.")
        if not texts:
            return np.empty((0, self.card.dimension), np.float32)
        with torch.inference_mode(), _memory_errors():
            return unit(self.towers.text_features(self.as_tokens(texts)))

    def as_input(self, batch: Pixels) -> Tensor:
        """uint8 [n, s, s, 3] as `prepare` makes them -> float32 [n, 3, s, s], normalised, on the device."""
        return self._normalised(as_tensor(batch).to(self.device))

    def _normalised(self, pixels: Tensor) -> Tensor:
        # In one pass: in steps, as (x * rescale - mean) / std, it takes twice as long.
        scale, shift = self._scale.to(pixels.device), self._shift.to(pixels.device)
        return torch.addcmul(shift, pixels.permute(0, 3, 1, 2), scale)

    def _features_of_batch(self, batch: Pixels) -> Tensor:
        return self._image_features(as_tensor(batch).to(self.device))

    def _image_features(self, pixels: Tensor) -> Tensor:
        """uint8 [n, s, s, 3] on the device."""
        features = self.towers.quick_image_features or self.towers.image_features
        return features(self._normalised(pixels).to(self._weight.dtype))

    def as_tokens(self, texts: Sequence[str]) -> Tokens:
        """What the text tower takes, on the device. Raises WordsNotUnderstood where the model sees images alone."""
        if self.opened.tokenize is None:
            raise WordsNotUnderstood(self.card.id)
        # Half a surrogate pair can arrive through JSON, and the tokenizer takes nothing that is not UTF-8.
        tokens = self.opened.tokenize([text.encode(errors="replace").decode() for text in texts])
        return {name: ids.to(self.device) for name, ids in tokens.items()}


def _card(checkpoint: Checkpoint, opened: Opened) -> ModelCard:
    log_scale, bias = opened.towers.log_scale, opened.towers.logit_bias
    return ModelCard(
        id=checkpoint.id,
        revision=checkpoint.revision,
        dimension=opened.dimension,
        input_size=opened.preprocessing.crop,
        context_length=opened.context_length,
        prompts=checkpoint.prompts,
        logit_scale=1.0 if log_scale is None else float(log_scale.detach().exp()),
        logit_bias=0.0 if bias is None else float(bias.detach()),
    )


def find_device(wanted: str) -> torch.device:
    """`auto` or torch's name for one. Raises ModelUnavailable where there is none."""
    if wanted != "auto":
        try:
            return torch.empty(0, device=wanted).device
        except (RuntimeError, AssertionError) as error:
            raise ModelUnavailable(f"The device {wanted!r} cannot be used here; set it to 'auto' or 'cpu'.") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _find_backend(wanted: Backend, device: torch.device, *, compiled: bool) -> Backend:
    """`torch` where nothing else can be. Raises ModelUnavailable where it has to be something else."""
    if wanted == "openvino" and (compiled or device.type != "cpu"):
        raise ModelUnavailable("OpenVINO runs models on the CPU, uncompiled; choose the backend 'auto' or 'torch'.")
    if wanted == "auto" and (compiled or device.type != "cpu" or not openvino_is_installed()):
        return "torch"
    return wanted


def _dtype(precision: Precision, device: torch.device) -> torch.dtype:
    if precision == "auto":
        return torch.bfloat16 if _has_native_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Emulated bf16 is slower than fp32, so only CPUs with the instructions count. torch has no public name for
        # this.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Says `MemoryError`, which needs no torch to understand, whichever way torch says that memory ran out."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise MemoryError(str(error)) from error


def _summary(error: Exception) -> str:
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line[:200]}".rstrip(": ")
