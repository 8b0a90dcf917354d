"""The bundled model's tokenizer: CLIP's byte-level BPE, learned from the captions it will meet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

Pair = tuple[str, str]

VOCABULARY = 6000
CONTEXT = 32
START, END = "<|startoftext|>", "<|endoftext|>"
PICTURE = "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
JOINER = "\u200d"
WORDS = (
    rf"[{PICTURE}](?:{JOINER}[{PICTURE}])*|'s|'t|'re|'ve|'m|'ll|'d|[\u2E80-\u9FFF]|[^\s\P{{L}}\u2E80-\u9FFF]+|\p{{N}}"
    rf"|[^\s\p{{L}}\p{{N}}{PICTURE}]+"
)
"""CLIP's word pattern, with each Chinese character a word by itself: Chinese has no spaces to part words at. So is each
emoji, together with those that a joiner ties to it."""
DECORATION = "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]"
"""Variation selectors and skin tones, which are dropped: the picture is the same."""


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
    return _finished(learned["vocab"], merges)


def _finished(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = _dressed(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", fuse_unk=False, unk_token=END))
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(name, mark(tokenizer, name)) for name in (START, END)],
    )
    return tokenizer


def with_emoji(tokenizer: Tokenizer, emoji: Iterable[str]) -> Tokenizer:
    """The tokenizer with one more token for each emoji that it lacks. All other texts keep their tokens.

    The merges that make an emoji out of its bytes come first, so that no merge within other words gets in between.
    """
    lacking = [text for text in emoji if len(tokenizer.encode(text).ids) > len((START, text, END))]
    model = json.loads(tokenizer.to_str())["model"]
    words: dict[str, int] = model["vocab"]
    ranks: dict[Pair, int] = {}
    dressed = _dressed(models.BPE())
    for text in sorted(lacking, key=len):  # those that are tied together of others come after these
        for word, _ in dressed.pre_tokenizer.pre_tokenize_str(dressed.normalizer.normalize_str(text)):
            whole, *others = _merged(word, ranks)
            for piece in others:
                ranks[whole, piece] = len(ranks)
                whole += piece
                words.setdefault(whole, len(words))
    return _finished(words, [*ranks, *(tuple(merge) for merge in model["merges"])])


def split_freely(tokenizer: Tokenizer, text: str, skip: float, rng: np.random.Generator) -> list[int]:
    """The text's tokens, START and END included, where each merge is left out this often: seen in pieces, a word is
    known by its parts (BPE-dropout: Provilkov et al. 2020). The tokenizer's own dropout takes no seed."""
    vocabulary, ranks = _ranks(tokenizer)
    words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    pieces = [piece for word, _ in words for piece in _merged(word, ranks, lambda: rng.random() < skip)]
    return [vocabulary[piece] for piece in (START, *pieces, END)]


def _merged(word: str, ranks: Mapping[Pair, int], is_skipped: Callable[[], bool] = lambda: False) -> list[str]:
    """A word's pieces: of all neighbours that may be merged, those with the lowest rank first."""
    pieces = [*word[:-1], f"{word[-1]}</w>"]
    while True:
        found = [(ranks[pair], at) for at, pair in enumerate(pairwise(pieces)) if pair in ranks and not is_skipped()]
        if not found:
            return pieces
        _, at = min(found)
        pieces[at : at + 2] = ["".join(pieces[at : at + 2])]


@lru_cache(maxsize=4)
def _ranks(tokenizer: Tokenizer) -> tuple[dict[str, int], dict[Pair, int]]:
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], {(first, second): rank for rank, (first, second) in enumerate(model["merges"])}


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
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(DECORATION), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
