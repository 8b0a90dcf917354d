"""A small model as open_clip saves its multilingual ones: CLIP's image tower beside XLM-RoBERTa. Random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clipcore.originals import DIMENSION, drawn, linear, norm, vision_shapes, write_state_dict
from tests.clipcore.tiny_families import CORPUS

if TYPE_CHECKING:
    from tests.clipcore.originals import Weights

WORDS, WIDTH, LAYERS, POSITIONS, CONTEXT = 96, 128, 2, 40, 24
HIDDEN = (WIDTH + DIMENSION) // 2  # as `HFTextEncoder` sizes the layer within its projection
TEXTS = [
    "a cat on a sofa",
    "一只猫坐在沙发上",
    "  A Cat &amp;  a DOG\tasleep  ",  # entities and spaces are repaired, capitals stay
    "mÃ¤h <pad> кошка",  # wrongly decoded, and a mark that open_clip takes for padding
    "the quick brown fox jumps over the lazy dog " * 5,
    "",
]


def weights(*, projection: str = "mlp") -> Weights:
    embeddings, layers = "text.transformer.embeddings", "text.transformer.encoder.layer"
    shapes: dict[str, tuple[int, ...]] = {
        **vision_shapes(),
        f"{embeddings}.word_embeddings.weight": (WORDS, WIDTH),
        f"{embeddings}.position_embeddings.weight": (POSITIONS, WIDTH),
        f"{embeddings}.token_type_embeddings.weight": (1, WIDTH),
        f"{embeddings}.position_ids": (1, POSITIONS),
        **norm(f"{embeddings}.LayerNorm", WIDTH),
    }
    for layer in (f"{layers}.{number}" for number in range(LAYERS)):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= linear(f"{layer}.{part}", WIDTH, WIDTH)
        shapes |= {
            **norm(f"{layer}.attention.output.LayerNorm", WIDTH),
            **linear(f"{layer}.intermediate.dense", WIDTH, 2 * WIDTH),
            **linear(f"{layer}.output.dense", 2 * WIDTH, WIDTH),
            **norm(f"{layer}.output.LayerNorm", WIDTH),
        }
    if projection == "mlp":
        shapes |= {"text.proj.0.weight": (HIDDEN, WIDTH), "text.proj.2.weight": (DIMENSION, HIDDEN)}
    else:
        shapes |= {"text.proj.weight": (DIMENSION, WIDTH)}
    return drawn({**shapes, "logit_scale": ()}, seed=3)


def model_config(**texts: Any) -> dict[str, Any]:
    """open_clip's own, but for the sizes, which XLM-RoBERTa's name stands for."""
    vision = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8}
    text = {"hf_model_name": "xlm-roberta-base", "hf_tokenizer_name": "xlm-roberta-base", "context_length": CONTEXT}
    return {"embed_dim": DIMENSION, "vision_cfg": vision, "text_cfg": {**text, **texts}}


def write(directory: Path, *, projection: str = "mlp", described: bool = True, **texts: Any) -> Path:
    """As `hf download` leaves such a repository. described: with open_clip_config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    write_state_dict(directory / "open_clip_pytorch_model.bin", weights(projection=projection))
    write_tokenizer(directory)
    # The hub's have this file as well, which open_clip does not read: it crops as torchvision does.
    (directory / "preprocessor_config.json").write_text('{"size": 224, "crop_size": 224}')
    if described:
        config = {"model_cfg": model_config(**texts), "preprocess_cfg": {}}
        (directory / "open_clip_config.json").write_text(json.dumps(config))
    return directory


def write_tokenizer(directory: Path) -> None:
    """Unigram pieces between `<s>` and `</s>`, as XLM-RoBERTa's tokenizer.json has them."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = sorted({letter for line in CORPUS for letter in line if letter != " "})[: WORDS - 11]
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*specials, "▁", *letters, "▁cat", "▁dog", "▁a", "at"]
    vocabulary = [(piece, 0.0 if piece in specials else -2.0 - number / 7) for number, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([*specials, "<mask>"])
    tokenizer.save(str(directory / "tokenizer.json"))
