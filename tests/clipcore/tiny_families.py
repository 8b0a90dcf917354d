"""Tiny checkpoints with random weights of every family beside CLIP, written as downloaded ones lie on the hub.

The weights are spread wide enough that different images and texts get different vectors: with transformers' own
initial values everything would point the same way, and no comparison could fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EDGE = 48
SIGLIP_CONTEXT = 64
LAYERS: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
CORPUS = [
    "a photo of a cat and a dog on the sofa, asleep",
    "the quick brown fox jumps over the lazy dog; it's 12 o'clock!",
    "一只猫坐在沙发上", "两只狗在雪地里奔跑", "ein großer Hund läuft über die Straße", "кошка сидит на диване",
    "猫がソファで寝ている", "قطة على الأريكة", "une pomme rouge à côté d'un café",
]  # fmt: skip


def write_tiny_siglip(directory: Path) -> Path:
    """SentencePiece's unigram pieces in tokenizer.json, which neither lower-cases nor drops punctuation itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import SiglipImageProcessorPil

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([*CORPUS, *(line.title() for line in CORPUS)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    _write_siglip(directory, tokenizer.get_vocab_size(), pad=1)
    SiglipImageProcessorPil(size={"height": EDGE, "width": EDGE}).save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    tokens = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    _write(directory, "tokenizer_config.json", {"tokenizer_class": "SiglipTokenizer", "model_max_length": 64, **tokens})
    return directory


def write_tiny_siglip2(directory: Path) -> Path:
    """At a fixed resolution: on the hub its config says "siglip", and it names Gemma's tokenizer."""
    from transformers import SiglipImageProcessorPil

    _write_siglip(directory, _write_gemma_tokenizer(directory), pad=0)
    SiglipImageProcessorPil(size={"height": EDGE, "width": EDGE}, resample=2).save_pretrained(directory)
    return directory


def write_tiny_naflex(directory: Path) -> Path:
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    words = _write_gemma_tokenizer(directory)
    text = {**LAYERS, "vocab_size": words, "max_position_embeddings": SIGLIP_CONTEXT, **_marks(0)}
    vision = {**LAYERS, "num_patches": 16, "patch_size": 8}
    _save(Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)), directory)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=36).save_pretrained(directory)
    return directory


def write_tiny_altclip(directory: Path) -> Path:
    """XLM-RoBERTa's tokenizer, whose positions begin behind the padding token's."""
    from transformers import AltCLIPConfig, AltCLIPModel, CLIPImageProcessorPil, XLMRobertaTokenizer

    letters = sorted({letter for line in CORPUS for letter in line if letter != " "})
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*specials, "▁", *letters, *(f"▁{letter}" for letter in letters), "▁cat", "▁dog", "▁a", "<mask>"]
    vocabulary = [(piece, 0.0 if piece in specials else -float(len(pieces)) / len(piece)) for piece in pieces]
    text = {
        **LAYERS, "vocab_size": len(pieces), "max_position_embeddings": 24, "project_dim": 20, "type_vocab_size": 1,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    vision = {**LAYERS, "image_size": EDGE, "patch_size": 8}
    _save(AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=vision, projection_dim=24)), directory)
    XLMRobertaTokenizer(vocab=vocabulary, model_max_length=24).save_pretrained(directory)
    CLIPImageProcessorPil(size={"shortest_edge": EDGE}, crop_size=EDGE).save_pretrained(directory)
    return directory


def write_tiny_dual_encoder(directory: Path) -> Path:
    """A ViT beside a BERT, as `VisionTextDualEncoderModel` joins them."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
        ViTConfig,
        ViTImageProcessorPil,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for line in CORPUS for word in line.split()})]
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        ViTConfig(**LAYERS, image_size=EDGE, patch_size=8),
        BertConfig(**LAYERS, vocab_size=len(words), max_position_embeddings=20),
        projection_dim=24,
    )
    _save(VisionTextDualEncoderModel(config), directory)
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(directory)
    ViTImageProcessorPil(size={"height": EDGE, "width": EDGE}).save_pretrained(directory)
    return directory


def write_tiny_dinov2(directory: Path, *, registers: bool = False) -> Path:
    from transformers import (
        BitImageProcessorPil,
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    layers = {key: value for key, value in LAYERS.items() if key != "intermediate_size"}
    sizes = {**layers, "image_size": 56, "patch_size": 8}
    if registers:
        _save(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=2)), directory)
    else:
        _save(Dinov2Model(Dinov2Config(**sizes)), directory)
    BitImageProcessorPil(
        size={"shortest_edge": EDGE + 8}, crop_size=EDGE, image_mean=[0.485, 0.456, 0.406], image_std=[0.2, 0.2, 0.2]
    ).save_pretrained(directory)
    return directory


def write_tiny_resnet(directory: Path) -> Path:
    """With the classifier that the hub's ResNet-50 has."""
    from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="bottleneck")
    _save(ResNetForImageClassification(config), directory)
    ConvNextImageProcessorPil(size={"shortest_edge": EDGE}, crop_pct=0.875).save_pretrained(directory)
    return directory


def _write_gemma_tokenizer(directory: Path) -> int:
    """Byte-level fallback, no lower-casing, an end mark and no beginning. Returns how many tokens it knows."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    marks = ["<pad>", "<eos>", "<bos>", "<unk>"]
    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*marks, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False
    )
    learner.train_from_iterator([*CORPUS, *(line.title() for line in CORPUS)], trainer)
    learnt = json.loads(learner.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=learnt["vocab"],
            merges=[tuple(merge) for merge in learnt["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.add_special_tokens(marks)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    rules = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right", "model_max_length": SIGLIP_CONTEXT}
    _write(directory, "tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer", **rules, **tokens})
    return tokenizer.get_vocab_size()


def _write_siglip(directory: Path, words: int, *, pad: int) -> None:
    from transformers import SiglipConfig, SiglipModel

    text = {**LAYERS, "vocab_size": words, "max_position_embeddings": SIGLIP_CONTEXT, **_marks(pad)}
    vision = {**LAYERS, "image_size": EDGE, "patch_size": 8}
    _save(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), directory)


def _marks(pad: int) -> dict[str, int]:
    return {"pad_token_id": pad, "bos_token_id": pad, "eos_token_id": 1}


def _save(model: PreTrainedModel, directory: Path) -> None:
    spread(model.named_parameters())
    model.eval().save_pretrained(directory)


def spread(parameters: Iterable[tuple[str, Any]], *, seed: int = 0) -> None:
    """Random weights under which different inputs stay different; a temperature of 0.1, and SigLIP's bias of -10."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in parameters:
            if name.endswith("logit_scale"):
                parameter.fill_(2.3)
            elif name.endswith("logit_bias"):
                parameter.fill_(-10.0)
            elif parameter.ndim > 1:
                is_table = name.endswith(("token_embedding.weight", "word_embeddings.weight"))
                reach = 3.0 if is_table else 1.5 * parameter[0].numel() ** -0.5
                parameter.normal_(0.0, reach, generator=generator)


def _write(directory: Path, name: str, content: dict[str, Any]) -> None:
    (directory / name).write_text(json.dumps(content), encoding="utf-8")
