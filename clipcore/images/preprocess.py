"""Resizes and crops images as each family was trained, without torch: pixel for pixel as transformers' Pillow
processors.

transformers' torchvision processors, the default where torchvision is installed, round differently when resizing; the
authors' own code is closer to Pillow.

The result is a small uint8 square, made in the decoding threads; scaling to floats and normalising happen on the
device.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipcore.errors import ModelUnavailable
from clipcore.files import read_object
from clipcore.types import Box, Pixels

_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

_OPENAI = {
    "size": {"shortest_edge": 224},
    "crop_size": 224,
    "do_center_crop": True,
    "resample": Image.Resampling.BICUBIC,
    "image_mean": _OPENAI_MEAN,
    "image_std": _OPENAI_STD,
}
_SQUASHED = {
    "size": {"height": 224, "width": 224},
    "do_center_crop": False,
    "resample": Image.Resampling.BICUBIC,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
# transformers' defaults where a checkpoint's file is silent, by the class's name without its ending.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": _OPENAI,
    "ChineseCLIP": _OPENAI,
    "Bit": _OPENAI,  # DINOv2's
    "Siglip": _SQUASHED,
    "Siglip2": {**_SQUASHED, "resample": Image.Resampling.BILINEAR, "patch_size": 16, "max_num_patches": 256},
    "ViT": {**_SQUASHED, "resample": Image.Resampling.BILINEAR},
    "ConvNext": {**_SQUASHED, "size": {"shortest_edge": 384}, "crop_pct": 224 / 256},  # ResNet's
}
_ROUNDED_CROP = "round_center_crop"  # our own key in preprocessor_config.json; transformers ignores it
_CROPPED_BELOW = 384  # ConvNext: from this edge on images are squashed, not cropped

# A strip of 1 x 100,000 pixels resized to a short edge of 224 would be 22,400,000 pixels long. Images longer than this
# many times their short edge are cropped before they are resized; the center crop drops those ends anyway.
_MAX_RATIO = 8


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a checkpoint's images are prepared, in `preprocessor_config.json` or `processor_config.json`.

    size: the short edge after resizing, in pixels; squash: resize to size x size instead, losing the proportions.
    crop: the edge of the square that the model takes. rounded_crop: where an odd number of pixels is cropped away,
    round the square's corner half to even, as torchvision does and with it OpenAI's and open_clip's code. transformers
    rounds it down, and so do checkpoints in its layout: their square may lie one pixel beside.
    """

    size: int = 224
    crop: int = 224
    squash: bool = False
    resample: int = Image.Resampling.BICUBIC
    mean: tuple[float, ...] = _OPENAI_MEAN
    std: tuple[float, ...] = _OPENAI_STD
    rescale: float = 1 / 255
    rounded_crop: bool = False

    @property
    def version(self) -> str:
        """Names the steps in the key of stored embeddings."""
        return "2" if self.rounded_crop else "1"

    @classmethod
    def read(cls, path: Path) -> Preprocessing:
        """A file that `preprocessing_file` finds. Raises as `parse`."""
        config = read_object(path)
        return cls.parse(config.get("image_processor", config))

    @classmethod
    def parse(cls, config: dict[str, Any]) -> Preprocessing:
        """Older files have plain numbers for size and crop_size. Raises ModelUnavailable for what cannot be followed:
        an unknown kind of processor, or images that are not square.
        """
        kind = _kind(config)
        settings = {**_DEFAULTS[kind], **{name: value for name, value in config.items() if value is not None}}
        size, crop, squash = _geometry(kind, settings)
        normalised, rescaled = settings.get("do_normalize", True), settings.get("do_rescale", True)
        return cls(
            size=size,
            crop=crop,
            squash=squash,
            resample=int(settings["resample"]),
            mean=tuple(settings["image_mean"]) if normalised else (0.0, 0.0, 0.0),
            std=tuple(settings["image_std"]) if normalised else (1.0, 1.0, 1.0),
            rescale=float(settings.get("rescale_factor", 1 / 255)) if rescaled else 1.0,
            rounded_crop=bool(settings.get(_ROUNDED_CROP, False)),
        )

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """uint8 [h, w, 3] of any size -> uint8 [crop, crop, 3]. box: the part of the pixels that is the image (see
        `DecodedImage`); by default all.
        """
        box = box or (0, 0, pixels.shape[1], pixels.shape[0])
        width = height = self.size
        if not self.squash:
            left, top, right, bottom = box = _cropped_to_ratio(box)
            short = min(right - left, bottom - top)
            # Truncated, not rounded, as in torchvision and transformers. The millionth is less than one pixel's share
            # in the proportions of any image, and more than the rounding error of the floats.
            width, height = (int(self.size * length / short + 1e-6) for length in (right - left, bottom - top))
        image = Image.fromarray(np.ascontiguousarray(pixels))
        resized = image.resize((width, height), Image.Resampling(self.resample), box)
        rounding = round if self.rounded_crop else math.floor
        left, top = (rounding((length - self.crop) / 2) for length in resized.size)
        # Where the image is smaller than the crop, Pillow puts black around it.
        return np.array(resized.crop((left, top, left + self.crop, top + self.crop)))


def preprocessing_file(directory: Path) -> Path | None:
    """The file that says how to prepare images; transformers 5 may nest that in its newer file."""
    if (file := directory / "preprocessor_config.json").is_file():
        return file
    newer = directory / "processor_config.json"
    return newer if newer.is_file() and "image_processor" in read_object(newer) else None


def _kind(config: dict[str, Any]) -> str:
    name = config.get("image_processor_type") or config.get("feature_extractor_type") or "CLIPImageProcessor"
    kind = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", name)
    if kind not in _DEFAULTS:
        raise ModelUnavailable(f"Images prepared by {name} are not supported; choose another checkpoint.")
    return kind


def _geometry(kind: str, settings: dict[str, Any]) -> tuple[int, int, bool]:
    """size, crop and squash, as in `Preprocessing`."""
    if kind == "Siglip2":
        # NaFlex: as many patches as fit, here always in one square (see models/hub.py).
        edge = math.isqrt(int(settings["max_num_patches"])) * int(settings["patch_size"])
        return edge, edge, True
    edge = _edge(settings["size"])
    if kind == "ConvNext":
        squash = edge >= _CROPPED_BELOW
        return edge if squash else int(edge / settings["crop_pct"]), edge, squash
    squash = "height" in settings["size"] if isinstance(settings["size"], dict) else kind == "ViT"
    return edge, _edge(settings.get("crop_size", edge)) if settings["do_center_crop"] else edge, squash


def _edge(size: int | dict[str, int]) -> int:
    """One edge in pixels, from `224`, `{"shortest_edge": 224}` or `{"height": 224, "width": 224}`."""
    edges = {size} if isinstance(size, int) else {int(length) for length in size.values() if length is not None}
    if len(edges) != 1 or (isinstance(size, dict) and not {"shortest_edge", "height"} & set(size)):
        raise ModelUnavailable(f"Images of the size {size} are not supported; choose a checkpoint for square ones.")
    return edges.pop()


def _cropped_to_ratio(box: Box) -> Box:
    left, top, right, bottom = box
    longest = _MAX_RATIO * min(right - left, bottom - top)
    left += max(0, (right - left - longest) // 2)
    top += max(0, (bottom - top - longest) // 2)
    return left, top, min(right, left + longest), min(bottom, top + longest)


def write_preprocessing(preprocessing: Preprocessing, directory: Path) -> None:
    """`preprocessor_config.json` as transformers writes and `Preprocessing.read` reads it."""
    edges = ("height", "width") if preprocessing.squash else ("shortest_edge",)
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": dict.fromkeys(edges, preprocessing.size),
        "resample": preprocessing.resample,
        "do_center_crop": True,
        "crop_size": {"height": preprocessing.crop, "width": preprocessing.crop},
        "do_rescale": True,
        "rescale_factor": preprocessing.rescale,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        **({_ROUNDED_CROP: True} if preprocessing.rounded_crop else {}),
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
