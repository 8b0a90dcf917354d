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
    """Lower-cases, ends words with "</w>" and wraps texts in CLIP's start and end tokens, as CLIP does."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", fuse_unk=False))
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
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 256,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        special_tokens=[START, END],
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.model = _with_every_last_byte(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, tokenizer.token_to_id(START)), (END, tokenizer.token_to_id(END))],
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


def _with_every_last_byte(tokenizer: Tokenizer) -> models.BPE:
    """Any byte can end a word, as in CLIP's vocabulary: the trainer adds only those that it saw."""
    learned = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = learned["vocab"]
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(f"{byte}</w>", len(vocabulary))
    merges = [tuple(merge) for merge in learned["merges"]]
    return models.BPE(vocabulary, merges, end_of_word_suffix="</w>", fuse_unk=False, unk_token=END)
