"""A loaded model of any family, run by torch or OpenVINO."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipcore.batching import DEFAULT_BATCH_SIZE, batches_of
from clipcore.errors import BadInput, ClipError, InvalidCheckpoint, ModelUnavailable, TextNotSupported
from clipcore.images.decode import OWN_FILES, as_pixels, read_image, read_image_file
from clipcore.images.formats import has_image_suffix
from clipcore.models import clip
from clipcore.models.checkpoint import Checkpoint, find_checkpoint, model_type
from clipcore.models.easynlp import easynlp_layout, open_easynlp
from clipcore.models.known_models import LIBRARY_MODEL, languages_of
from clipcore.models.open_clip import is_open_clip_file, open_open_clip_file
from clipcore.models.openai import open_weights_file
from clipcore.models.towers import Opened, Tokens, Towers
from clipcore.runtime.openvino import OpenVinoUnavailable, openvino_forward, openvino_is_installed
from clipcore.runtime.torch import (
    ImageForward,
    ImageTower,
    as_tensor,
    find_device,
    find_dtype,
    memory_errors,
    to_numpy,
    torch_forward,
)
from clipcore.types import Calibration, Label, LabelScore, ModelCard, Pixels, Prepare, Vectors
from clipcore.zero_shot import ZeroShotClassifier

log = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "openvino"]
Input = str | os.PathLike[str] | Image.Image | Pixels
"""A text, a path of an image, or an image."""


def classify(
    image: Input, labels: Sequence[str | Label], *, model: str = LIBRARY_MODEL, top: int = 5
) -> tuple[LabelScore, ...]:
    """`clipcore.classify("cat.jpg", ["cat", "dog"])`: as `ClipModel.classify`, with a model that stays loaded."""
    return _loaded(model).classify(image, labels, top=top)


class ClipModel:
    """A loaded checkpoint; an `Encoder`. Blocking and not thread-safe: one thread owns it, see engine/executor.py. Only
    `prepare` and the properties may be used on any thread.

    All vectors are float32 [n, dim], unit length, so a dot product is a cosine (Radford et al. 2021, §2.3).
    """

    def __init__(
        self, opened: Opened, card: ModelCard, calibration: Calibration, forward: ImageForward | None = None
    ) -> None:
        """forward: encodes prepared images; by default torch does."""
        self.card = card
        self.calibration = calibration
        self.opened = opened
        self.towers = opened.towers
        self.preprocessing = opened.preprocessing
        self._image_tower = ImageTower(opened)
        self._forward = forward or partial(torch_forward, self._image_tower)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        local_only: bool = False,
        compile: bool = False,  # noqa: A002 - torch's own word for it
        backend: Backend = "torch",
        cache_dir: Path | None = None,
    ) -> ClipModel:
        """name: one of `available_models`, a hub id, a directory, or a weights file such as OpenAI's `RN50.pt`. Raises
        ModelUnavailable with one sentence that says what to do, and BadInput for an unknown precision or backend.

        device: `auto` (a GPU if there is one) or torch's name. precision: `auto` is bf16 where the hardware has it.
        local_only: never use the network. compile: compile the towers with `torch.compile`, which takes seconds to
        minutes and pays off when one process encodes very much. backend: what encodes images on a CPU. `openvino`, an
        optional extra, takes seconds to load and is then faster; it does not notice when weights change, as by
        training. `auto` is openvino if it is installed, the towers are not compiled, and its vectors equal torch's.
        cache_dir: where the hub's files are kept, in place of the hub's own cache.
        """
        chosen = find_device(device)
        dtype = find_dtype(precision, chosen)
        runner = _find_backend(backend, chosen, compiled=compile)
        checkpoint = find_checkpoint(name, local_only=local_only, cache_dir=cache_dir)
        try:
            with memory_errors():
                loaded = cls._from_checkpoint(checkpoint, chosen, dtype, runner)
        except MemoryError as error:
            raise ModelUnavailable(
                f"The model {str(name)!r} does not fit the memory of {chosen}; choose a smaller one, or another device."
            ) from error
        return loaded._compiled() if compile else loaded

    @classmethod
    def _from_checkpoint(
        cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, backend: Backend
    ) -> ClipModel:
        opened = open_checkpoint(checkpoint)
        card = _card(checkpoint, opened)
        calibration = checkpoint.calibration(logit_scale=card.logit_scale, logit_bias=card.logit_bias)
        module = opened.towers.module.eval().requires_grad_(False)
        if backend == "torch":
            forward = None
        else:
            # Converted before rounding: OpenVINO rounds the weights itself, and converts exact weights twice as fast.
            module.to(device=device, dtype=torch.float32)
            forward = _openvino_or_none(opened, card, dtype, required=backend == "openvino")
        module.to(device=device)
        _round_weights(opened.towers, dtype)
        loaded = cls(opened, card, calibration, forward)
        runner = "openvino" if forward else "torch"
        log.info("model %s loaded on %s as %s, images encoded by %s", card.key, device.type, loaded.dtype, runner)
        return loaded

    def _compiled(self) -> ClipModel:
        size = self.preprocessing.crop
        try:
            towers = replace(
                self.towers,
                image_features=torch.compile(self.towers.image_features),
                text_features=torch.compile(self.towers.text_features),
            )
            compiled = ClipModel(replace(self.opened, towers=towers), self.card, self.calibration)
            # torch compiles at the first call, and fails only then.
            compiled.encode_prepared(np.zeros((1, size, size, 3), np.uint8))
            if self.card.reads_text:
                compiled.encode_texts(["a"])
        except Exception as error:
            raise ModelUnavailable(
                f"The model {self.card.id!r} could not be compiled on this machine ({_summary(error)}); "
                "load it without compiling."
            ) from error
        return compiled

    @property
    def dtype(self) -> str:
        """The precision of the weights: float32, bfloat16 or float16."""
        return str(self._image_tower.weight.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._image_tower.weight.device

    @property
    def runs_on_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def prepare(self) -> Prepare:
        """uint8 [h, w, 3] -> uint8 [s, s, 3], the model's input size. Uses no torch."""
        return self.preprocessing.prepare

    def encode(
        self, inputs: Input | Iterable[Input], *, batch_size: int = DEFAULT_BATCH_SIZE, progress: bool = False
    ) -> Vectors:
        """One input -> float32 [dim]; n inputs, images and texts mixed -> [n, dim]. All of unit length.

        An image is a path, a Pillow image or uint8 [h, w, 3]. A str is a path where it ends as image files do
        (`cat.jpg`), else a text. progress: show a bar on the terminal. Raises BadInput for an input that is none of
        these and for a file that cannot be read, ImageRejected for a broken image, TextNotSupported.
        """
        if isinstance(inputs, str | os.PathLike | Image.Image) or (isinstance(inputs, np.ndarray) and inputs.ndim == 3):
            vector: Vectors = self.encode([inputs])[0]
            return vector
        items: list[Any] = list(inputs)
        texts = [row for row, item in enumerate(items) if isinstance(item, str) and not has_image_suffix(item)]
        images = sorted(set(range(len(items))).difference(texts))
        batches: Iterable[tuple[Callable[[list[Any]], Vectors], list[int]]] = [
            *((self.encode_texts, rows) for rows in batches_of(texts, batch_size)),
            *((self._encode_files, rows) for rows in batches_of(images, batch_size)),
        ]
        if progress:
            from rich.progress import track

            batches = track(batches, "Encoding", transient=True)
        vectors = np.empty((len(items), self.card.dimension), np.float32)
        for encode, rows in batches:
            vectors[rows] = encode([items[row] for row in rows])
        return vectors

    def classify(self, image: Input, labels: Sequence[str | Label], *, top: int = 5) -> tuple[LabelScore, ...]:
        """The `top` most probable labels of an image, best first: `model.classify("cat.jpg", ["cat", "dog"])`.

        The probabilities of all labels add up to 1, except with SigLIP's sigmoid. To classify many images, build a
        `ZeroShotClassifier` once. Raises BadInput for empty and repeated labels, and as `encode`.
        """
        background = replace(self.card.prompts, background=())
        classifier = ZeroShotClassifier.for_model(self, labels, background)
        if isinstance(image, str):
            image = Path(image)
        return classifier.classify(self.encode(image)[None], top)[0]

    def _encode_files(self, images: Sequence[Input]) -> Vectors:
        return self.encode_prepared(np.stack([self._prepared(image) for image in images]))

    def _prepared(self, image: Input) -> Pixels:
        if isinstance(image, str | os.PathLike):
            decoded = read_image(read_image_file(Path(image)), OWN_FILES, min_edge=self.card.detail)
            return self.prepare(decoded.pixels, decoded.box)
        return self.prepare(as_pixels(image))

    def encode_images(self, images: Sequence[Pixels | Image.Image]) -> Vectors:
        """images: uint8 [h, w, 3] or Pillow images, of any sizes, in one batch. Returns float32 [n, dim], unit length.

        Raises BadInput for anything else. See `encode` for paths, single inputs and many batches.
        """
        if len(images) == 0:
            return np.empty((0, self.card.dimension), np.float32)
        return self.encode_prepared(np.stack([self.prepare(as_pixels(image)) for image in images]))

    def encode_prepared(self, batch: Pixels) -> Vectors:
        """batch: uint8 [n, s, s, 3] from `prepare`. Returns float32 [n, dim], unit length. Raises MemoryError if the
        batch does not fit the device.
        """
        if len(batch) == 0:
            return np.empty((0, self.card.dimension), np.float32)
        with memory_errors():
            return self._forward(batch)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n texts, in one batch -> float32 [n, dim], unit length. Longer texts are truncated to the context.

        Raises TextNotSupported in image-only models, and BadInput for a single str, whose letters would be texts.
        """
        if self.opened.tokenize is None:
            raise TextNotSupported(self.card.id)
        if isinstance(texts, str):
            raise BadInput("encode_texts takes a list of texts; put a single one into a list.")
        if not texts:
            return np.empty((0, self.card.dimension), np.float32)
        with torch.inference_mode(), memory_errors():
            return to_numpy(self.towers.text_features(self.as_tokens(texts)))

    def as_input(self, batch: Pixels) -> Tensor:
        """uint8 [n, s, s, 3] from `prepare` -> float32 [n, 3, s, s], normalised, on the model's device."""
        return self._image_tower.normalise(as_tensor(batch).to(self.device))

    def as_tokens(self, texts: Sequence[str]) -> Tokens:
        """What the text tower takes, on the device. Raises TextNotSupported in image-only models."""
        if self.opened.tokenize is None:
            raise TextNotSupported(self.card.id)
        return {name: ids.to(self.device) for name, ids in self.opened.tokenize(texts).items()}


_loaded = lru_cache(maxsize=1)(ClipModel.load)


def open_checkpoint(checkpoint: Checkpoint) -> Opened:
    """In float32, on the CPU. Raises ModelUnavailable, and MemoryError."""
    try:
        with memory_errors():
            return _open(checkpoint)
    except (ClipError, MemoryError):
        raise
    except InvalidCheckpoint as error:
        raise ModelUnavailable(f"The model {checkpoint.id!r} cannot be loaded: {error}.") from error
    except Exception as error:
        # Broken files raise whatever the parser that reads them raises.
        raise ModelUnavailable(
            f"The model {checkpoint.id!r} could not be loaded: its files are broken or of a kind that is not supported "
            f"({_summary(error)}); download it again, or use the bundled model for a trial."
        ) from error


def _open(checkpoint: Checkpoint) -> Opened:
    if (file := checkpoint.file) is not None:
        return open_open_clip_file(checkpoint, file) if is_open_clip_file(file) else open_weights_file(file)
    if layout := easynlp_layout(checkpoint.directory):
        return open_easynlp(checkpoint.directory, layout)
    kind = model_type(checkpoint.directory)
    if kind in clip.MODEL_TYPES:
        return clip.open_clip_directory(checkpoint)
    # transformers takes longer to import than torch, so it is imported only for the families that need it.
    from clipcore.models.hub import open_with_transformers

    return open_with_transformers(checkpoint)


def _round_weights(towers: Towers, dtype: torch.dtype) -> None:
    """All but the logit scale and bias: bf16 would turn a scale of 100 into 98.8."""
    exact = [(each, each.detach().clone()) for each in (towers.log_scale, towers.logit_bias) if each is not None]
    towers.module.to(dtype=dtype)
    for parameter, value in exact:
        parameter.data = value


def _card(checkpoint: Checkpoint, opened: Opened) -> ModelCard:
    log_scale, bias = opened.towers.log_scale, opened.towers.logit_bias
    return ModelCard(
        id=checkpoint.id,
        revision=checkpoint.revision,
        dimension=opened.dimension,
        input_size=opened.preprocessing.crop,
        preprocessing=opened.preprocessing.version,
        context_length=opened.context_length,
        prompts=checkpoint.prompts,
        languages=languages_of(checkpoint.id),
        logit_scale=1.0 if log_scale is None else float(log_scale.detach().exp()),
        logit_bias=0.0 if bias is None else float(bias.detach()),
    )


def _find_backend(backend: Backend, device: torch.device, *, compiled: bool) -> Backend:
    """`torch` unless OpenVINO may be tried. Raises ModelUnavailable if OpenVINO is required and cannot run here."""
    if backend not in get_args(Backend):
        raise BadInput(f"There is no backend {backend!r}; choose auto, torch or openvino.")
    if backend == "openvino" and (compiled or device.type != "cpu"):
        raise ModelUnavailable("OpenVINO runs models on the CPU, uncompiled; choose the backend 'auto' or 'torch'.")
    if backend == "auto" and (compiled or device.type != "cpu" or not openvino_is_installed()):
        return "torch"
    return backend


def _openvino_or_none(opened: Opened, card: ModelCard, dtype: torch.dtype, *, required: bool) -> ImageForward | None:
    """None if OpenVINO cannot run this tower; raises ModelUnavailable instead if it is required."""
    try:
        return openvino_forward(ImageTower(opened), card.input_size, dtype)
    except OpenVinoUnavailable as error:
        if required:
            raise ModelUnavailable(
                f"OpenVINO cannot run the model {card.id!r} because {error}; choose torch: "
                'CLIP_BACKEND=torch for the bot, backend="torch" in code.'
            ) from error
        log.warning("model %s: torch encodes images instead of OpenVINO, because %s", card.key, error)
        return None


def _summary(error: Exception) -> str:
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line[:200]}".rstrip(": ")
