"""The small file that says how pictures are prepared, for checkpoints that came without one."""

from __future__ import annotations

import json
from pathlib import Path

from clipcore.preprocess import Preprocessing


def write_preprocessing(preprocessing: Preprocessing, directory: Path) -> None:
    """`preprocessor_config.json` as transformers writes and `Preprocessing.read` reads it."""
    size = (
        {"height": preprocessing.size, "width": preprocessing.size}
        if preprocessing.squash
        else {"shortest_edge": preprocessing.size}
    )
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": size,
        "resample": preprocessing.resample,
        "do_center_crop": True,
        "crop_size": {"height": preprocessing.crop, "width": preprocessing.crop},
        "do_rescale": True,
        "rescale_factor": preprocessing.rescale,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
