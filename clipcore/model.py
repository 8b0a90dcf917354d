"""CLIP through transformers: the one module here that imports torch. It is imported when a model is first wanted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import logging as transformers_logging

from clipcore.checkpoint import Checkpoint, find_checkpoint
from clipcore.errors import ModelUnavailable
from clipcore.preprocess import Preprocessing
from clipcore.registry import read_calibration
from clipcore.types import Calibration, ModelCard, Pixels, Vectors

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]

# Checkpoints whose text and image features share one space under one temperature.
_ARCHITECTURES = ("clip", "chinese_clip")


class ClipModel:
    """A loaded checkpoint. Blocking and not thread-safe: one thread owns it (see executor.py); `prepare` alone may
    run anywhere.

    All vectors are float32 [n, dim], unit length, so a dot product is a cosine (Radford et al. 2021, §2.3).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        preprocessing: Preprocessing,
        card: ModelCard,
        calibration: Calibration,
        device: torch.device,
    ) -> None:
        self.card = card
        self.calibration = calibration
        self._model = model
        self._tokenizer = tokenizer
        self._preprocessing = preprocessing
        self._device = device
        self._mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)

    @classmethod
    def load(
        cls, name: str, *, device: str = "auto", precision: Precision = "auto", local_only: bool = False
    ) -> ClipModel:
        """name: a hub id, a directory, or `bundled`. Raises ModelUnavailable with one sentence that says what to do.

        device: `auto` (a GPU where there is one), or torch's name for one. precision: `auto` is bf16 where the
        hardware has it. local_only: never ask the network.
        """
        checkpoint = find_checkpoint(name, local_only=local_only)
        chosen = _device(device)
        try:
            with _quiet():
                return cls._from_directory(checkpoint, chosen, _dtype(precision, chosen))
        except ModelUnavailable:
            raise
        except Exception as error:
            # Broken files raise whatever the parser that met them raises; the person who can act needs one sentence.
            summary = " ".join(str(error).split())[:200]
            raise ModelUnavailable(
                f"The model {name!r} could not be loaded ({type(error).__name__}: {summary}); "
                "download it again, or set CLIP_MODEL=bundled for a trial."
            ) from error

    @classmethod
    def _from_directory(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> ClipModel:
        directory = checkpoint.directory
        _check_architecture(checkpoint)
        model, report = AutoModel.from_pretrained(
            directory, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        if report["missing_keys"]:
            raise ModelUnavailable(f"The weights of {checkpoint.id!r} are incomplete; download the model again.")
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        preprocessing = Preprocessing.read(directory / "preprocessor_config.json")
        # The temperature is read before the weights are rounded: bf16 would make 98.8 of 100.
        card = _card(checkpoint, model, preprocessing)
        model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        loaded = cls(model, tokenizer, preprocessing, card, read_calibration(checkpoint.id, directory), device)
        log.info("model %s loaded on %s as %s", card.key, device.type, loaded.dtype)
        return loaded

    @property
    def dtype(self) -> str:
        """The precision of the weights: float32 or bfloat16."""
        return str(self._model.dtype).removeprefix("torch.")

    def prepare(self, pixels: Pixels) -> Pixels:
        """uint8 [h, w, 3] -> uint8 [s, s, 3], what this model looks at. Needs no torch; any thread may call it."""
        return self._preprocessing.prepare(pixels)

    def encode_images(self, pictures: Sequence[Pixels]) -> Vectors:
        """pictures: uint8 [h, w, 3] each, of any sizes. Returns float32 [n, dim], unit length."""
        if not pictures:
            return np.empty((0, self.card.dimension), np.float32)
        return self.encode_prepared(np.stack([self.prepare(picture) for picture in pictures]))

    def encode_prepared(self, batch: Pixels) -> Vectors:
        """batch: uint8 [n, s, s, 3] as `prepare` makes them. Raises MemoryError where the batch does not fit the
        device.
        """
        with torch.inference_mode(), _memory_errors():
            pixels = (
                torch.from_numpy(np.require(batch, requirements=["C", "W"]))
                .to(self._device)
                .permute(0, 3, 1, 2)
                .float()
            )
            pixels = (pixels * self._preprocessing.rescale - self._mean) / self._std
            return _unit(self._model.get_image_features(pixel_values=pixels.to(self._model.dtype)))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Returns float32 [n, dim], unit length. Texts longer than the context are cut, keeping the end mark."""
        if not texts:
            return np.empty((0, self.card.dimension), np.float32)
        with torch.inference_mode(), _memory_errors():
            # Half a surrogate pair can arrive through JSON, and the tokenizer takes nothing that is not UTF-8.
            sound = [text.encode(errors="replace").decode() for text in texts]
            tokens = self._tokenizer(
                sound, padding=True, truncation=True, max_length=self.card.context_length, return_tensors="pt"
            )
            return _unit(self._model.get_text_features(**tokens.to(self._device)))


def _unit(features: BaseModelOutputWithPooling) -> Vectors:
    """transformers 5 wraps features in an output object, whose pooler_output is the projection."""
    projected = features.pooler_output.float()
    vectors: Vectors = torch.nn.functional.normalize(projected, dim=-1).cpu().numpy()
    return vectors


def _check_architecture(checkpoint: Checkpoint) -> None:
    kind = json.loads((checkpoint.directory / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in _ARCHITECTURES:
        raise ModelUnavailable(f"The model {checkpoint.id!r} is a {kind!r} model; choose a CLIP checkpoint instead.")


def _card(checkpoint: Checkpoint, model: PreTrainedModel, preprocessing: Preprocessing) -> ModelCard:
    return ModelCard(
        id=checkpoint.id,
        revision=checkpoint.revision,
        dimension=int(model.config.projection_dim),
        input_size=preprocessing.crop,
        context_length=_context_length(model.config.text_config, checkpoint.directory),
        logit_scale=float(model.logit_scale.detach().exp()),
    )


def _context_length(text_config: PretrainedConfig, directory: Path) -> int:
    """Tokens. The position table is the hard bound; a tokenizer may ask for fewer (Chinese CLIP: 52 of 512)."""
    path = directory / "tokenizer_config.json"
    asked = json.loads(path.read_text(encoding="utf-8")).get("model_max_length") if path.is_file() else None
    bound = int(text_config.max_position_embeddings)
    return min(bound, int(asked)) if asked else bound


def _device(wanted: str) -> torch.device:
    if wanted != "auto":
        try:
            return torch.empty(0, device=wanted).device
        except (RuntimeError, AssertionError) as error:
            raise ModelUnavailable(f"The device {wanted!r} cannot be used here; set it to 'auto' or 'cpu'.") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _dtype(precision: Precision, device: torch.device) -> torch.dtype:
    if precision == "auto":
        return torch.bfloat16 if _has_native_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


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


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no chatter of transformers' while loading; what matters is logged or raised."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
