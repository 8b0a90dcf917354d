"""Telling EasyNLP's three CLIP layouts from the hub's, by the small files alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from clipcore.files import read_object


class EasyNlpLayout(StrEnum):
    """As EasyNLP's `CLIPApp` calls them. Each is config.json, pytorch_model.bin and vocab.txt."""

    OPEN_CLIP = "open_clip"
    CHINESE_CLIP = "chinese_clip"
    HUGGINGFACE_CLIP = "huggingface_clip"


def easynlp_layout(directory: Path) -> EasyNlpLayout | None:
    """None where the directory is in no such layout. Its config.json is read; whether the weights keep to the layout
    is for the one who loads them to say. Raises ModelUnavailable where config.json is broken.
    """
    if not all((directory / file).is_file() for file in ("config.json", "pytorch_model.bin", "vocab.txt")):
        return None
    config = read_object(directory / "config.json")
    kind = config.get("model_type")
    # The hub knows a chinese_clip, too, whose sizes stand in a text_config and a vision_config.
    if kind in (EasyNlpLayout.OPEN_CLIP, EasyNlpLayout.CHINESE_CLIP) and "embed_dim" in config:
        return EasyNlpLayout(kind)
    # The third calls itself clip, or nothing at all. The hub's clip reads text by merges; a RoBERTa or BERT has a plain
    # vocabulary and, where its config.json is complete, kinds of token.
    merges = any((directory / file).is_file() for file in ("merges.txt", "tokenizer.json"))
    texts = config.get("text_config") or {}
    if kind in ("clip", None) and "vision_config" in config and (not merges or "type_vocab_size" in texts):
        return EasyNlpLayout.HUGGINGFACE_CLIP
    return None
