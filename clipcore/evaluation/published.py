"""What others report on data sets of which everybody has a copy, to stand beside one's own figures.

Percentages, as printed. Each was compared number by number: with OpenCLIP's table, Chinese-CLIP's Results.md and
EasyNLP's README themselves; those of the CLIP paper at second hand, with papers and READMEs that quote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TOP_1, TOP_5 = "top-1", "top-5"
TO_TEXT = ("image→text R@1", "image→text R@5", "image→text R@10")
TO_IMAGE = ("text→image R@1", "text→image R@5", "text→image R@10")


@dataclass(frozen=True, slots=True)
class Published:
    """figures: percent by name. note: what differs from measuring here."""

    dataset: str
    model: str
    figures: dict[str, float]
    source: str
    note: str = ""


def known_as(name: str) -> str | None:
    """The data set that a person, a file or a folder calls so: `flickr30k_test.tsv`, `ILSVRC2012_val`, `Flickr30K-CN`.

    Only the whole name counts: ImageNet-V2 is not ImageNet.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word and word not in _SAYS_WHICH_PART]
    return _NAMES.get("".join(words))


def known_datasets() -> tuple[str, ...]:
    """Those that figures are kept of, in alphabetical order."""
    return tuple(sorted({one.dataset for one in _EVERYTHING}))


def dataset_of(path: Path) -> str | None:
    """The data set that lies there, judged by the file's or folder's name, or by its parent's: `imagenet/val`."""
    resolved = path.resolve()
    return known_as(resolved.stem if resolved.is_file() else resolved.name) or known_as(resolved.parent.name)


def published_on(dataset: str) -> tuple[Published, ...]:
    """dataset: as `known_as` gives it."""
    return tuple(one for one in _EVERYTHING if one.dataset == dataset)


_SAYS_WHICH_PART = {
    "dataset",
    "test",
    "val",
    "valid",
    "validation",
    "dev",
    "karpathy",
    "1k",
    "5k",
    "captions",
    "retrieval",
    "split",
}
_NAMES = {
    "imagenet": "imagenet",
    "imagenet1k": "imagenet",
    "ilsvrc2012": "imagenet",
    "flickr30k": "flickr30k",
    "f30k": "flickr30k",
    "coco": "coco",
    "mscoco": "coco",
    "coco2014": "coco",
    "mscoco2014": "coco",
    "flickr30kcn": "flickr30k-cn",
    "cococn": "coco-cn",
    "muge": "muge",
    "mugepart": "muge-part",
    "mugemrbase64part": "muge-part",
}

_CLIP = "Radford et al. 2021 (CLIP), as others quote it"
_CLIP_TABLE_13 = "Radford et al. 2021 (CLIP), table 13, as others quote it"
_OPENCLIP = "the same weights as OpenCLIP measured them, docs/openclip_results.csv"
_CHINESE_CLIP = "Yang et al. 2022 (Chinese-CLIP), Results.md"
_EASYNLP = "EasyNLP, examples/appzoo_tutorials/clip/README.md"

# With ImageNet's 80 templates averaged. The first as OpenCLIP's README quotes it; the other stands in §3.1.3.
_IMAGENET_PAPER = {"ViT-B/32": {TOP_1: 63.2}, "ViT-L/14@336px": {TOP_1: 76.2, TOP_5: 95.0}}
_IMAGENET_OPENCLIP = {
    "RN50": 59.82,
    "RN101": 62.28,
    "RN50x4": 66.27,
    "RN50x16": 70.72,
    "RN50x64": 73.91,
    "ViT-B/32": 63.32,
    "ViT-B/16": 68.34,
    "ViT-L/14": 75.54,
    "ViT-L/14@336px": 76.56,
}
# data set: image→text, text→image; captions behind "a photo of".
_CLIP_RETRIEVAL = {
    "flickr30k": ((88.0, 98.7, 99.4), (68.7, 90.6, 95.2)),
    "coco": ((58.4, 81.5, 88.1), (37.8, 62.4, 72.2)),
}
# Zero-shot. data set: model: image→text, text→image; MUGE has only the latter.
_CHINESE: dict[str, dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "muge": {
        "RN50": ((), (42.6, 68.6, 77.9)),
        "ViT-B/16": ((), (52.1, 76.7, 84.4)),
        "ViT-L/14": ((), (56.3, 79.8, 86.2)),
        "ViT-L/14@336px": ((), (59.0, 81.4, 87.8)),
        "ViT-H/14": ((), (63.0, 84.1, 89.2)),
    },
    "flickr30k-cn": {
        "RN50": ((60.0, 85.9, 92.0), (48.8, 76.0, 84.6)),
        "ViT-B/16": ((74.6, 93.5, 97.1), (62.7, 86.9, 92.8)),
        "ViT-L/14": ((80.2, 96.6, 98.2), (68.0, 89.7, 94.4)),
        "ViT-L/14@336px": ((83.3, 97.2, 98.5), (69.0, 90.7, 95.4)),
        "ViT-H/14": ((81.6, 97.5, 98.8), (71.2, 91.4, 95.5)),
    },
    "coco-cn": {
        "RN50": ((51.6, 81.2, 90.5), (48.1, 81.3, 90.5)),
        "ViT-B/16": ((57.0, 84.1, 93.6), (62.2, 86.6, 94.9)),
        "ViT-L/14": ((60.4, 84.2, 92.9), (64.0, 89.2, 94.4)),
        "ViT-L/14@336px": ((63.4, 87.2, 94.4), (64.7, 89.6, 94.6)),
        "ViT-H/14": ((63.0, 86.6, 92.9), (69.2, 89.9, 96.1)),
    },
}


def _recalls(to_text: tuple[float, ...], to_image: tuple[float, ...]) -> dict[str, float]:
    named = [(TO_TEXT, to_text), (TO_IMAGE, to_image)]
    return {name: value for names, values in named if values for name, value in zip(names, values, strict=True)}


_EVERYTHING = (
    *(Published("imagenet", f"CLIP {model}", figures, _CLIP) for model, figures in _IMAGENET_PAPER.items()),
    *(
        Published("imagenet", f"CLIP {model}", {TOP_1: measured}, _OPENCLIP)
        for model, measured in _IMAGENET_OPENCLIP.items()
    ),
    *(
        Published(dataset, "CLIP ViT-L/14@336px", _recalls(*found), _CLIP_TABLE_13, 'captions behind "a photo of"')
        for dataset, found in _CLIP_RETRIEVAL.items()
    ),
    *(
        Published(dataset, f"Chinese-CLIP {model}", _recalls(*found), _CHINESE_CLIP)
        for dataset, models in _CHINESE.items()
        for model, found in models.items()
    ),
    Published(
        "muge-part",
        "clip_chinese_roberta_large_with_vit_large",
        _recalls((), (28.6, 59.0, 72.0)),
        _EASYNLP,
        "after an epoch on its training part; the model is that of the script beside it then",
    ),
)
