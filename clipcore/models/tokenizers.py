"""Texts -> tokens, as each family was trained: which tokenizer, cut where, padded how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from transformers import (
    AutoTokenizer,
    CLIPTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from clipcore.errors import ModelUnavailable, NotWeights
from clipcore.files import read_object
from clipcore.models.bpe import Merges, merges, vocabulary
from clipcore.models.checkpoint import Checkpoint
from clipcore.models.towers import Tokenize, Tokens

# Where the checkpoints say nothing: Chinese CLIP was trained at 52 of its 512 positions (`context_length` of cn_clip's
# `tokenize`), and lies on the hub with a bare vocab.txt.
_TRAINED_AT = {"chinese_clip_text_model": 52}
# Their position table begins behind the padding token's id, so two rows or so of it are never reached.
_NUMBERED_FROM_PADDING = ("altclip_text_model", "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "xmod")


def load_tokenizer(checkpoint: Checkpoint, *, as_filed: bool = False) -> PreTrainedTokenizerBase:
    """as_filed: take `tokenizer.json`, where there is one, for what it is, whichever class the checkpoint names.

    Raises ModelUnavailable where the checkpoint has SentencePiece's own file alone and its reader is not installed.
    """
    directory = checkpoint.directory
    filed = (directory / "tokenizer.json").is_file()
    if not filed and any(directory.glob("*.model")) and find_spec("sentencepiece") is None:
        raise ModelUnavailable(
            f"The tokenizer of {checkpoint.id!r} is a SentencePiece file; to read it run "
            "`pip install sentencepiece protobuf`."
        )
    kind = PreTrainedTokenizerFast if as_filed and filed else AutoTokenizer
    # Told nothing, transformers asks on the terminal whether to run code that lies in the directory.
    tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    return tokenizer


def padded_to_longest(tokenizer: PreTrainedTokenizerBase, context_length: int) -> Tokenize:
    """With a mask for the padding: CLIP and the families that take after it."""

    def tokenize(texts: Sequence[str]) -> Tokens:
        return dict(
            tokenizer(list(texts), padding=True, truncation=True, max_length=context_length, return_tensors="pt")
        )

    return tokenize


def padded_to_context(
    tokenizer: PreTrainedTokenizerBase, context_length: int, spelling: Callable[[str], str]
) -> Tokenize:
    """Always the whole context, padded behind, and no mask: SigLIP reads the last position, padding or not.

    spelling: what becomes of a text before the tokenizer sees it.
    """

    def tokenize(texts: Sequence[str]) -> Tokens:
        tokens = tokenizer(
            [spelling(text) for text in texts],
            padding="max_length",
            truncation=True,
            max_length=context_length,
            padding_side="right",
            return_attention_mask=False,
            return_tensors="pt",
        )
        return {"input_ids": tokens["input_ids"]}

    return tokenize


def context_length(text_config: PretrainedConfig, directory: Path) -> int:
    """Tokens. The position table is the hard bound; a tokenizer may ask for fewer, and most say that they take any."""
    bound = int(text_config.max_position_embeddings)
    if text_config.model_type in _NUMBERED_FROM_PADDING:
        bound -= int(text_config.pad_token_id) + 1
    path = directory / "tokenizer_config.json"
    asked = read_object(path).get("model_max_length") if path.is_file() else None
    return int(asked) if asked and asked <= bound else min(bound, _TRAINED_AT.get(text_config.model_type, bound))


def clip_tokenizer(words: int, context_length: int, learned: Merges | None = None) -> PreTrainedTokenizerBase:
    """words: how many the model's table has. learned: another order of merges than CLIP's own.

    Raises NotWeights where the table is not of this vocabulary.
    """
    pairs = merges() if learned is None else learned
    ids = vocabulary(pairs)
    if len(ids) != words:
        raise NotWeights(
            f"the weights know {words} tokens and the vocabulary has {len(ids)}, so there is no tokenizer for them"
        )
    tokenizer: PreTrainedTokenizerBase = CLIPTokenizer(vocab=ids, merges=pairs, model_max_length=context_length)
    return tokenizer
