"""The bundled model's tokenizer: CLIP's byte-level BPE, learned from the captions it will meet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 6000
CONTEXT = 32
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\u2E80-\u9FFF]|[^\s\P{L}\u2E80-\u9FFF]+|\p{N}|[^\s\p{L}\p{N}]+"
"""CLIP's word pattern, with each Chinese character a word by itself: Chinese has no spaces to part words at."""


def train_tokenizer(captions: Iterable[str]) -> Tokenizer:
    """Lower-cases, ends words with "</w>" and wraps texts in CLIP's start and end tokens, as CLIP does.

    Any byte can begin or end a word, as in CLIP's vocabulary. The trainer adds only those ends that it saw, in an
    order that changes from run to run; named beforehand they are all there, always in the same places.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        show_progress=False,
        end_of_word_suffix="</w>",
        special_tokens=[START, END, *alphabet, *(f"{byte}</w>" for byte in alphabet)],
    )
    apprentice = _dressed(models.BPE(end_of_word_suffix="</w>", fuse_unk=False))
    apprentice.train_from_iterator(captions, trainer)
    learned = json.loads(apprentice.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = _dressed(models.BPE(learned["vocab"], merges, end_of_word_suffix="</w>", fuse_unk=False, unk_token=END))
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(name, mark(tokenizer, name)) for name in (START, END)],
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes what `AutoTokenizer.from_pretrained` reads. Padding is the end token, as in OpenAI's CLIP."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "model_max_length": CONTEXT,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def mark(tokenizer: Tokenizer, name: str) -> int:
    """The id of START or END."""
    return int(tokenizer.get_vocab()[name])


def _dressed(model: models.BPE) -> Tokenizer:
    """A tokenizer around the model that normalises and splits as CLIP's does."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
