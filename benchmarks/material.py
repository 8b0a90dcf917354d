"""What benchmarks work on: models of exact geometry with random weights, and real photographs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, SiglipConfig, SiglipImageProcessorPil, SiglipModel

from clipcore.models.tokenizers import ClipTokenizer
from clipcore.types import Pixels

PHOTOS = Path(__file__).parent.parent.parent / "shared" / "photos"
NO_PHOTOS = "There are no photographs beside the repository (../shared/photos)."

_ORDINARY = (640, 480)
_LARGE = (4000, 3000)
_TILE = (500, 375)  # most of the photographs' own size
_QUALITY = 90


def write_vit_b32(directory: Path) -> Path:
    """A checkpoint in the hub's layout: openai/clip-vit-base-patch32's geometry and tokenizer, random weights.

    Speed does not depend on the values.
    """
    torch.manual_seed(0)
    config = CLIPConfig()
    CLIPModel(config).save_pretrained(directory)
    CLIPImageProcessor().save_pretrained(directory)
    text = config.text_config
    ClipTokenizer(text.vocab_size, text.max_position_embeddings).save(directory)
    return directory


def write_siglip2_b32(directory: Path, *, small: bool = False) -> Path:
    """google/siglip2-base-patch32-256's geometry in the hub's layout, random weights, and a tokenizer of bytes in
    place of its 256,000 tokens. small: few and narrow layers, as little to write.
    """
    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    few = layers if small else {}
    text = {**few, "vocab_size": 300 if small else 256_000, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    vision = {**few, "image_size": 256, "patch_size": 32}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(directory)
    SiglipImageProcessorPil(size={"height": 256, "width": 256}).save_pretrained(directory)
    marks = ["<pad>", "<eos>", "<bos>", "<unk>"]
    tokens = [*marks, *(f"<0x{byte:02X}>" for byte in range(256))]
    ids = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(ids, [], unk_token=marks[-1], byte_fallback=True))
    tokenizer.add_special_tokens(marks)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def photographs(count: int | None = None) -> list[Pixels]:
    """Real photographs as uint8 [480, 640, 3]; empty where there are none. The larger side is cropped, not squeezed."""
    paths = sorted(PHOTOS.glob("*.jpg"))
    wanted = paths if count is None else [paths[at % len(paths)] for at in range(count)] if paths else []
    return [np.asarray(_covering(Image.open(path), _ORDINARY)) for path in wanted]


def ordinary_jpegs(count: int | None = None) -> list[bytes]:
    """Photographs of 640 x 480 pixels as JPEG files."""
    return [_jpeg(Image.fromarray(pixels)) for pixels in photographs(count)]


def large_jpegs(count: int) -> list[bytes]:
    """Photographs of 12 megapixels as JPEG files, enlarged from smaller ones."""
    paths = sorted(PHOTOS.glob("*.jpg"))[:count]
    return [_jpeg(_covering(Image.open(path), _LARGE)) for path in paths]


def mosaic_jpegs(count: int, size: tuple[int, int] = _LARGE) -> list[bytes]:
    """Photographs of 12 megapixels as JPEG files, laid together from small ones as they are: full of detail."""
    paths = sorted(PHOTOS.glob("*.jpg"))
    return [_jpeg(_mosaic(paths[start:] + paths[:start], size)) for start in range(count)]


def _mosaic(paths: Sequence[Path], size: tuple[int, int]) -> Image.Image:
    whole = Image.new("RGB", size)
    tiles = cycle(paths)
    for top in range(0, size[1], _TILE[1]):
        for left in range(0, size[0], _TILE[0]):
            whole.paste(_covering(Image.open(next(tiles)), _TILE), (left, top))
    return whole


def _covering(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scale = max(size[0] / image.width, size[1] / image.height)
    whole = image.convert("RGB").resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )
    left, top = (whole.width - size[0]) // 2, (whole.height - size[1]) // 2
    return whole.crop((left, top, left + size[0], top + size[1]))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
