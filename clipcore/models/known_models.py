"""Models known by name, with what one wants to know before downloading any of them, and what a name resolves to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipcore.errors import ModelUnavailable
from clipcore.files import read_object
from clipcore.types import Calibration, Standing

ENGLISH = ("en",)
CHINESE = ("zh",)
MANY = ("mul",)  # ISO 639-2: more than are listed
APACHE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """name: short, for people. id: what the hub, or the model's own file, calls it; stored embeddings name it.

    dimension: of its embeddings. input_size: edge in pixels of the square that it takes. parameters: their number; a
    download is two or four bytes for each. context_length: tokens that a text may have, 0 in image-only models.
    languages: ISO 639 codes of the texts that it was trained on; `mul` are many. repository: the hub's, where its
    weights are open_clip's single file.
    """

    name: str
    id: str
    dimension: int
    input_size: int
    parameters: int
    context_length: int = 77
    languages: tuple[str, ...] = ENGLISH
    licence: str = "MIT"
    repository: str | None = None

    @property
    def reads_text(self) -> bool:
        return self.context_length > 0


def available_models() -> list[str]:
    """The names that `load` accepts: the bundled model, OpenAI's nine, and the others that we recommend. Any other
    checkpoint of a known family works as well.
    """
    return [model.name for model in list_models()]


def list_models() -> tuple[KnownModel, ...]:
    """As `available_models`, with what is known of each."""
    return _BUNDLED, *_OPENAI, *_RECOMMENDED


def _openai_resnet(name: str, dimension: int, input_size: int, parameters: int) -> KnownModel:
    """The hub has them in open_clip's layout only (open_clip/pretrained.py)."""
    repository = f"timm/{name.replace('RN', 'resnet')}_clip.openai"
    return KnownModel(name, name, dimension, input_size, parameters, repository=repository)


def _laion5b(name: str, repository: str, dimension: int, parameters: int) -> KnownModel:
    """Texts in XLM-RoBERTa's hundred languages; open_clip reads 77 tokens of them."""
    return KnownModel(name, repository, dimension, 224, parameters, languages=MANY, repository=repository)


_BUNDLED = KnownModel("bundled", "bundled", 256, 60, 5_076_097, 32, (*ENGLISH, *CHINESE))

# Dimensions and input sizes: Radford et al. 2021, tables 19 and 20, and open_clip's docs/model_profile.csv, with which
# the parameters agree; these were counted on models built from the published configurations. Licence: openai/CLIP.
_OPENAI = (
    _openai_resnet("RN50", 1024, 224, 102_007_137),
    _openai_resnet("RN101", 512, 224, 119_688_033),
    _openai_resnet("RN50x4", 640, 288, 178_300_601),
    _openai_resnet("RN50x16", 768, 384, 290_979_217),
    _openai_resnet("RN50x64", 1024, 448, 623_258_305),
    KnownModel("ViT-B/32", "openai/clip-vit-base-patch32", 512, 224, 151_277_313),
    KnownModel("ViT-B/16", "openai/clip-vit-base-patch16", 512, 224, 149_620_737),
    KnownModel("ViT-L/14", "openai/clip-vit-large-patch14", 768, 224, 427_616_513),
    KnownModel("ViT-L/14@336px", "openai/clip-vit-large-patch14-336", 768, 336, 427_944_193),
)

# Licences as each model's page on the hub states them. SigLIP 2: Tschannen et al. 2025, §2, texts of 64 tokens in 109
# languages. LAION: open_clip, trained on the English part of LAION-5B, with XLM-RoBERTa on all of it. Chinese-CLIP: the
# table of models in its README, and its context length of 52. DINOv2 and ResNet-50 give the class token, or the pooled
# map, of their configurations.
_RECOMMENDED = (
    KnownModel("siglip2-B/32", "google/siglip2-base-patch32-256", 768, 256, 376_856_066, 64, MANY, APACHE),
    KnownModel("siglip2-base", "google/siglip2-base-patch16-224", 768, 224, 375_187_970, 64, MANY, APACHE),
    KnownModel("siglip2-so400m", "google/siglip2-so400m-patch14-384", 1152, 384, 1_136_008_498, 64, MANY, APACHE),
    KnownModel("laion-B/32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 512, 224, 151_277_313),
    KnownModel("laion-L/14", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", 768, 224, 427_616_513),
    KnownModel("chinese-B/16", "OFA-Sys/chinese-clip-vit-base-patch16", 512, 224, 188_262_913, 52, CHINESE, APACHE),
    KnownModel("chinese-L/14", "OFA-Sys/chinese-clip-vit-large-patch14", 768, 224, 406_233_089, 52, CHINESE, APACHE),
    KnownModel("chinese-H/14", "OFA-Sys/chinese-clip-vit-huge-patch14", 1024, 224, 957_598_209, 52, CHINESE, APACHE),
    _laion5b("xlm-B/32", "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k", 512, 366_121_473),
    _laion5b("xlm-H/14", "laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k", 1024, 1_193_014_785),
    KnownModel("dinov2-base", "facebook/dinov2-base", 768, 224, 86_580_480, 0, (), APACHE),
    KnownModel("resnet-50", "microsoft/resnet-50", 2048, 224, 23_508_032, 0, (), APACHE),
)


BUNDLED = "bundled"
BUNDLED_DIRECTORY = Path(__file__).parent.parent / "bundled"
DEFAULT_MODEL = "google/siglip2-base-patch32-256"
"""The bot's."""
LIBRARY_MODEL = "ViT-B/32"
"""The command's and the library's: it loads sooner, and its probabilities of labels add up to 1."""

_BY_NAME = {model.name: model for model in list_models()}
_BY_NAME |= {model.id: model for model in list_models() if model.repository == model.id}
# Former names, and those of the directories that `hf download` fills.
_BY_NAME |= {name: _BY_NAME["ViT-B/32"] for name in ("base", "clip-vit-base-patch32")}
_BY_NAME |= {name: _BY_NAME["ViT-L/14"] for name in ("large", "clip-vit-large-patch14")}

# Starting points, not measurements of ours; `calibration.json` in a model's directory overrides them.
# Text: Schuhmann et al. 2021 (LAION-400M, §2) kept caption pairs from a ViT-B/32 cosine of 0.3 as good matches, and
# unrelated pairs lie around 0.15 to 0.2. Short queries score lower than full captions, so the line lies between.
# Images: unrelated photographs lie around 0.45 to 0.6.
_VIT_B_32 = Calibration(text_threshold=0.22, image_threshold=0.75, tag_threshold=0.2)
# The larger models spread wider and lower: ViT-L/14 puts matching pairs around 0.2 to 0.3, unrelated ones at 0.1 to
# 0.15, and unrelated photographs around 0.4 to 0.55.
_VIT_L_14 = Calibration(text_threshold=0.18, image_threshold=0.7, tag_threshold=0.2)
# By the last part of the id, which is the name of a directory that `hf download` fills. All others get ViT-B/32's,
# since most CLIP checkpoints share its temperature of 0.01.
_KNOWN = {
    "clip-vit-base-patch32": _VIT_B_32,
    "clip-vit-large-patch14": _VIT_L_14,
    "clip-vit-large-patch14-336": _VIT_L_14,
}

# Models with a bias give each pair an independent probability, far below a softmax's: with SigLIP so400m CLIP's diagram
# is "a diagram" by 0.22 and "a dog" by 0.00014 (https://github.com/mlfoundations/open_clip/issues/716), and with SigLIP
# 2 so400m a photograph of two cats is "two cats" by 0.37, "a cat" by 0.00042 and "a dog" by 0.0000002
# (https://github.com/google-research/big_vision/issues/180). A search should find "a cat" there, so its line lies
# between 0.00014 and 0.00042; a tag is said unasked and must be surer.
_LEAST_PROBABILITY_OF_MATCH = 0.00025
_LEAST_PROBABILITY_OF_TAG = 0.001

# As far from the threshold as the measured bounds of the bundled model, the only one that could be measured here.
_DOUBTFUL_LOGITS, _CERTAIN_LOGITS = 3.0, 5.0


@dataclass(frozen=True, slots=True)
class ModelName:
    """id: what stored embeddings will name. directory, file: where it lies on this machine, if the name is a path.

    revision: the hub's commit, where the directory tells it. repository: as in KnownModel.
    """

    id: str
    directory: Path | None = None
    revision: str | None = None
    file: Path | None = None
    repository: str | None = None


def resolve(name: str | Path) -> ModelName:
    """A name from `available_models`, a directory, a file or a hub id -> which model that is.

    Touches the disk, never the network. Raises ModelUnavailable for an empty name.
    """
    name = str(name).strip()
    if not name:
        raise ModelUnavailable(f"The model's name is empty; give a name such as {DEFAULT_MODEL}, or a path.")
    if name == BUNDLED:
        return ModelName(BUNDLED, BUNDLED_DIRECTORY)
    if known := _BY_NAME.get(name):
        return ModelName(known.id, repository=known.repository)
    try:
        path = Path(name).expanduser()
        if path.is_file():
            return ModelName(path.stem, file=path)
        if path.is_dir():
            return _named_by_cache(path) or ModelName(path.resolve().name, path)
    except (OSError, RuntimeError):
        pass  # too long for a path, or in an unknown user's home: `find_checkpoint` refuses it
    return ModelName(name)


def _named_by_cache(directory: Path) -> ModelName | None:
    """`hf download` prints .../models--openai--clip-vit-base-patch32/snapshots/<commit>: the same model, the same
    name.
    """
    *_, repository, snapshots, commit = ("", "", *directory.absolute().parts)
    if snapshots != "snapshots" or not repository.startswith("models--"):
        return None
    return ModelName(repository.removeprefix("models--").replace("--", "/"), directory, commit)


def languages_of(model_id: str) -> tuple[str, ...]:
    """As in KnownModel; empty for a model that is not known. A directory may be named like the end of the id."""
    name = model_id.rsplit("/", 1)[-1]
    return next((model.languages for model in list_models() if name == model.id.rsplit("/", 1)[-1]), ())


def read_calibration(
    model_id: str, path: Path, *, logit_scale: float | None = None, logit_bias: float = 0.0
) -> Calibration:
    """path: a file that may be there, `calibration.json` with the three numbers; else the table, else the fallback.
    logit_scale, logit_bias: as on the model's card, where it is loaded: without the scale no standing is derived.

    Raises ModelUnavailable where the file is broken.
    """
    calibration = _in_file(path) if path.is_file() else _in_table(model_id, logit_scale or 1.0, logit_bias)
    if calibration.standing is not None or logit_scale is None:
        return calibration
    return replace(calibration, standing=derived_standing(calibration.text_threshold, logit_scale))


def derived_standing(text_threshold: float, logit_scale: float) -> Standing:
    """For a model whose standing was not measured. Populations tell their spread themselves; the bounds are so many
    logits from the threshold, since the logit scale is how finely the model learned to tell cosines apart.
    """
    doubtful, certain = text_threshold - _DOUBTFUL_LOGITS / logit_scale, text_threshold + _CERTAIN_LOGITS / logit_scale
    return Standing(None, doubtful, certain)


def _in_file(path: Path) -> Calibration:
    # Older files call them `text_match` and so on.
    measured = {name.replace("_match", "_threshold"): value for name, value in read_object(path).items()}
    names = ("text_threshold", "image_threshold", "tag_threshold")
    try:
        text, image, tag = (float(measured[name]) for name in names)
        return Calibration(text, image, tag, _standing(measured.get("standing")))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelUnavailable(
            f"{str(path)!r} lacks one of the numbers {', '.join(names)}, or has a standing without one of spread, "
            "doubtful and certain; add it, or delete the file."
        ) from error


def _standing(values: Any) -> Standing | None:  # noqa: ANN401 - whatever the file holds
    if values is None:
        return None
    spread = values["spread"]
    return Standing(None if spread is None else float(spread), float(values["doubtful"]), float(values["certain"]))


def _in_table(model_id: str, logit_scale: float, logit_bias: float) -> Calibration:
    if known := _KNOWN.get(model_id.rsplit("/", 1)[-1]):
        return known
    if logit_bias:
        least_logit = math.log(_LEAST_PROBABILITY_OF_MATCH / (1 - _LEAST_PROBABILITY_OF_MATCH))
        text_threshold = (least_logit - logit_bias) / logit_scale
        return replace(_VIT_B_32, text_threshold=text_threshold, tag_threshold=_LEAST_PROBABILITY_OF_TAG)
    return _VIT_B_32
