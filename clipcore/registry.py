"""The models we know by name, and where their cosines begin to mean something."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from clipcore.catalogue import PublishedFile, available_models
from clipcore.errors import ModelUnavailable
from clipcore.json_file import read_object
from clipcore.types import Calibration

BUNDLED = "bundled"
BUNDLED_DIRECTORY = Path(__file__).parent / "bundled"
DEFAULT_MODEL = "openai/clip-vit-base-patch32"

# Words that were names here before the catalogue, and the names of `hf download`'s directories.
_OTHER_NAMES = {
    "base": DEFAULT_MODEL,
    "clip-vit-base-patch32": DEFAULT_MODEL,
    "large": "openai/clip-vit-large-patch14",
    "clip-vit-large-patch14": "openai/clip-vit-large-patch14",
}
_BY_NAME = {model.name: model for model in available_models()}
_ALIASES = _OTHER_NAMES | {model.name: model.id for model in available_models()}

# What a model that nobody measured gets: OpenAI's ViT-B/32 figures, since most CLIP checkpoints share its temperature
# of 0.01. Put a calibration.json beside the weights to do better (see `read_calibration`).
FALLBACK = Calibration(text_match=0.22, image_match=0.75, tag_match=0.2)

# Starting points, not measurements of ours; `calibration.json` in a model's directory overrides them.
# text_match: Schuhmann et al. 2021 (LAION-400M, §2) kept caption pairs from a ViT-B/32 cosine of 0.3 as good matches,
# and unrelated pairs lie around 0.15 to 0.2. Short queries score lower than full captions, so the line lies between.
# The larger models spread wider and lower: ViT-L/14 puts matching pairs around 0.2 to 0.3, unrelated ones at 0.1 to
# 0.15. image_match: unrelated photographs lie around 0.45 to 0.6 (ViT-B/32) and 0.4 to 0.55 (ViT-L/14).
_KNOWN = {
    "openai/clip-vit-base-patch32": FALLBACK,
    "openai/clip-vit-base-patch16": FALLBACK,
    "openai/clip-vit-large-patch14": Calibration(text_match=0.18, image_match=0.7, tag_match=0.2),
    "openai/clip-vit-large-patch14-336": Calibration(text_match=0.18, image_match=0.7, tag_match=0.2),
}

# Models with a bias give each pair a probability by itself, far below a softmax's: with SigLIP so400m CLIP's diagram is
# "a diagram" by 0.22 and "a dog" by 0.00014 (https://github.com/mlfoundations/open_clip/issues/716). The line lies
# between, at a thousandth.
_LEAST_LOGIT = math.log(0.001 / 0.999)


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a person asked for.

    id: what vectors will name. directory, file: where it lies, unless it has to be looked for. published: the file to
    download where the hub has none. revision: the hub's commit, where the directory tells.
    """

    id: str
    directory: Path | None = None
    revision: str | None = None
    file: Path | None = None
    published: PublishedFile | None = None


def resolve(name: str) -> ModelName:
    """A name from `available_models`, a directory, a file or a hub id -> which model that is.

    Touches the disk, never the network.
    """
    name = name.strip()
    if name == BUNDLED:
        return ModelName(BUNDLED, BUNDLED_DIRECTORY)
    if known := _BY_NAME.get(name):
        return ModelName(known.id, published=known.file)
    name = _OTHER_NAMES.get(name, name)
    try:
        path = Path(name).expanduser()
        if path.is_file():
            return ModelName(path.stem, file=path)
        if path.is_dir():
            return _named_by_cache(path) or ModelName(path.resolve().name, path)
    except (OSError, RuntimeError):
        pass  # too long for a path, or in the home of nobody: whoever asks the hub for it will say that it is no name
    return ModelName(name)


def _named_by_cache(directory: Path) -> ModelName | None:
    """`hf download` prints .../models--openai--clip-vit-base-patch32/snapshots/<commit>: the same model, the same
    name.
    """
    *_, repository, snapshots, commit = ("", "", *directory.absolute().parts)
    if snapshots != "snapshots" or not repository.startswith("models--"):
        return None
    return ModelName(repository.removeprefix("models--").replace("--", "/"), directory, commit)


def read_calibration(model_id: str, path: Path, *, logit_scale: float = 1.0, logit_bias: float = 0.0) -> Calibration:
    """path: a file that may be there, `calibration.json` ({"text_match", "image_match", "tag_match"}); else the table,
    else the fallback. logit_scale, logit_bias: as on the model's card, where it is loaded.

    Raises ModelUnavailable where the file is broken.
    """
    if path.is_file():
        measured = read_object(path)
        try:
            return Calibration(*(float(measured[field]) for field in ("text_match", "image_match", "tag_match")))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelUnavailable(
                f"{str(path)!r} lacks one of the numbers text_match, image_match and tag_match; add it, or delete the "
                "file."
            ) from error
    if known := _KNOWN.get(_ALIASES.get(model_id, model_id)):
        return known
    if logit_bias:
        return replace(FALLBACK, text_match=(_LEAST_LOGIT - logit_bias) / logit_scale)
    return FALLBACK
