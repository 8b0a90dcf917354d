"""A tiny CLIP with random weights in a directory, as any downloaded checkpoint would lie there."""

from __future__ import annotations

from pathlib import Path

INPUT_SIZE = 32
DIMENSION = 24
CONTEXT_LENGTH = 16


def write_tiny_clip(directory: Path, *, seed: int = 0) -> Path:
    """Writes config, weights, tokenizer and preprocessor files. Knows single letters only."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    torch.manual_seed(seed)
    letters = [*"abcdefghijklmnopqrstuvwxyz.,"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    config = CLIPConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": CONTEXT_LENGTH,
            "bos_token_id": vocabulary["<|startoftext|>"],
            "eos_token_id": vocabulary["<|endoftext|>"],
            "pad_token_id": vocabulary["<|endoftext|>"],
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": INPUT_SIZE,
            "patch_size": 8,
        },
        projection_dim=DIMENSION,
    )
    CLIPModel(config).eval().save_pretrained(directory)
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=CONTEXT_LENGTH).save_pretrained(directory)
    CLIPImageProcessorPil(
        size={"shortest_edge": INPUT_SIZE}, crop_size={"height": INPUT_SIZE, "width": INPUT_SIZE}
    ).save_pretrained(directory)
    return directory


def write_tiny_chinese_clip(directory: Path) -> Path:
    """The same for Chinese CLIP: BERT's tokenizer, a squashing preprocessor, and a context below the position table."""
    import torch
    from transformers import BertTokenizer, ChineseCLIPConfig, ChineseCLIPImageProcessorPil, ChineseCLIPModel

    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一只猫狗acdgot!", *(f"##{letter}" for letter in "acdgot")]
    config = ChineseCLIPConfig(
        text_config={**layers, "vocab_size": len(words), "max_position_embeddings": 64},
        vision_config={**layers, "image_size": INPUT_SIZE, "patch_size": 8},
        projection_dim=DIMENSION,
    )
    ChineseCLIPModel(config).eval().save_pretrained(directory)
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, model_max_length=12).save_pretrained(directory)
    ChineseCLIPImageProcessorPil(
        size={"height": INPUT_SIZE, "width": INPUT_SIZE}, do_center_crop=False
    ).save_pretrained(directory)
    return directory
