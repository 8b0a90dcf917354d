"""Texts -> tokens. Checkpoints with CLIP's vocabulary have OpenAI's tokenizer, whose ids equal those of
`simple_tokenizer.py` of https://github.com/openai/CLIP; the others have theirs.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import shutil
import string
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers.decoders import ByteLevel as ByteLevelDecoder

from clipcore.errors import BadInput, InvalidCheckpoint, ModelUnavailable, TextTooLong
from clipcore.files import read_object
from clipcore.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from clipcore.models.towers import Tokenize, Tokens

CONTEXT_LENGTH = 77
START, END = 49406, 49407

TokenIds = npt.NDArray[np.int32]
Merges = list[tuple[str, str]]


def token_ids(texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH, *, truncate: bool = False) -> TokenIds:
    """Returns int32 [n, context_length]: 49406, the text, 49407, then zeros.

    truncate: cut longer texts, keeping the end token. Otherwise they raise TextTooLong.
    """
    if context_length < 2:
        raise BadInput(f"A context of {context_length} tokens has no room for the two marks; use 77, as CLIP does.")
    texts = [texts] if isinstance(texts, str) else texts
    ids = np.zeros((len(texts), context_length), np.int32)
    for number, text in enumerate(texts):
        row = [START, *_clip_words().encode(text), END]
        if len(row) > context_length:
            if not truncate:
                raise TextTooLong(number, text, len(row), context_length)
            row = [*row[: context_length - 1], END]
        ids[number, : len(row)] = row
    return ids


def text_of(ids: Iterable[int]) -> str:
    """Tokens -> text, up to the end token: lower case, with a space after each word."""
    words = takewhile(lambda number: number != END, (int(number) for number in ids if number != START))
    tokens = [_clip_words().model.id_to_token(number) for number in words]
    # One character's bytes may be spread over several tokens, so the tokens are joined before they are decoded. The
    # decoder writes a space for "Ġ".
    text: str = ByteLevelDecoder().decode([token.replace(_END_OF_WORD, "Ġ") for token in tokens if token])
    return text.strip()


def clean(text: str) -> str:
    """As OpenAI's tokenizer does before it splits: ftfy's repairs, HTML entities, single spaces, lower case.

    Differs in one case: ftfy repairs lines of more than 2,000 characters in pieces, since its time grows with the
    square of a piece's length.
    """
    return repair(text).lower()


def repair(text: str) -> str:
    """`clean` without the lower case, as open_clip does for tokenizers other than CLIP's."""
    if not text.isascii() or "&" in text or not text.isprintable():
        from ftfy import fix_text  # takes 0.05 s to import, and plain ASCII needs none of its repairs

        text = _unescape(_unescape(fix_text(text, max_decode_length=_REPAIRED_AT_ONCE)))
    return " ".join(text.split())


class ClipTokenizer:
    """Texts -> `input_ids` int64 [n, longest], truncated to the context and padded with the end token.

    is_clips_own: the ids are those of `token_ids`.

    CLIP's text tower is causal and is read at the first end token, so the padding needs no mask.

    merges: another list than CLIP's own. Raises InvalidCheckpoint unless the vocabulary has `vocabulary_size` tokens,
    as many as the weights.
    """

    def __init__(self, vocabulary_size: int, context_length: int, merges: Merges | None = None) -> None:
        self.is_clips_own = merges is None or merges == clip_merges()
        self._words = _clip_words() if self.is_clips_own else _Words(merges or [])
        self.context_length = context_length
        if self._words.size != vocabulary_size:
            raise InvalidCheckpoint(
                f"its weights have {vocabulary_size} tokens and the vocabulary has {self._words.size}, so there is no "
                "tokenizer for them"
            )

    def __call__(self, texts: Sequence[str]) -> Tokens:
        import torch

        start, end = self._words.marks
        rows = [[start, *self._words.encode(text)[: self.context_length - 2], end] for text in texts]
        length = max(map(len, rows), default=0)
        return {"input_ids": torch.tensor([row + [end] * (length - len(row)) for row in rows], dtype=torch.int64)}

    def save(self, directory: Path) -> None:
        """Writes the files that transformers' CLIPTokenizer reads."""
        self._words.as_transformers_has_it().save(str(directory / "tokenizer.json"))
        config = {
            "tokenizer_class": "CLIPTokenizer",
            **{f"{role}_token": _MARKS[1] for role in ("eos", "pad", "unk")},
            "bos_token": _MARKS[0],
            "model_max_length": self.context_length,
        }
        (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


class _Words:
    """Byte pair encoding of cleaned texts (Sennrich et al. 2016), with CLIP's rules of where a word ends."""

    def __init__(self, merges: Merges) -> None:
        ids = vocabulary(merges)
        self.size = len(ids)
        self.marks = self.size - 2, self.size - 1
        self.model = models.BPE(ids, merges, end_of_word_suffix=_END_OF_WORD)
        self._units = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_UNITS), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for unit, _ in self._units.pre_tokenize_str(clean(text)):
            if unit in _MARKS:
                ids.append(self.marks[_MARKS.index(unit)])
            else:
                ids.extend(token.id for token in self.model.tokenize(unit))
        return ids

    def as_transformers_has_it(self) -> Tokenizer:
        """As transformers' CLIPTokenizer builds it, which repairs no text."""
        tokenizer = Tokenizer(self.model)
        tokenizer.add_special_tokens(list(_MARKS))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        tokenizer.pre_tokenizer = self._units
        tokenizer.decoder = ByteLevelDecoder()
        start, end = zip(_MARKS, self.marks, strict=True)
        tokenizer.post_processor = processors.RobertaProcessing(end, start, False, False)
        return tokenizer


@cache
def _clip_words() -> _Words:
    return _Words(clip_merges())


@cache
def clip_merges() -> Merges:
    """CLIP's own, in the order in which they were learned."""
    with gzip.open(_MERGES, "rt", encoding="utf-8") as lines:
        return [(first, second) for first, second in (line.split() for line in lines)]


def vocabulary(merges: Merges) -> dict[str, int]:
    """Token -> id: the bytes, the bytes that end a word, the result of each merge, and the two marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + _END_OF_WORD for letter in letters), *map("".join, merges), *_MARKS]
    return {token: number for number, token in enumerate(tokens)}


def _unescape(text: str) -> str:
    """Python refuses to parse a number of more than 4,300 digits; beyond the last character every number is U+FFFD."""
    return html.unescape(_ENDLESS_NUMBER.sub("&#9999999999", text))


_MARKS = ("<|startoftext|>", "<|endoftext|>")
_MERGES = Path(__file__).parent.parent / "vocabulary" / "clip_merges.txt.gz"
_END_OF_WORD = "</w>"
_REPAIRED_AT_ONCE = 2_000
_ENDLESS_NUMBER = re.compile(r"&#[0-9]{4301,}")
# Runs of letters, single digits, runs of everything else; English contractions and the two marks are units. U+0345 is
# in none of them, as in the original, which ignores case in "not a letter": its capital is a letter.
_UNITS = r"<\|startoftext\|>|<\|endoftext\|>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\u0345]+"


# Checkpoints that do not name a limit of their own. Chinese CLIP was trained with 52 of its 512 positions
# (`context_length` of cn_clip's `tokenize`), and its copies on the hub hold nothing but a vocab.txt.
_TRAINED_AT = {"chinese_clip_text_model": 52}
# Their position numbers begin behind the padding token's id, so the first rows of the table are never used.
_NUMBERED_FROM_PADDING = ("altclip_text_model", "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "xmod")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_XLM_ROBERTA_PADDING = "<pad>"
# What `tokenizer.json` holds completely; transformers' other classes add steps of their own.
_COMPLETE_CLASSES = (None, "PreTrainedTokenizerFast", "TokenizersBackend", "CLIPTokenizer", "CLIPTokenizerFast")


def hub_tokenizer(checkpoint: Checkpoint, context_length: int) -> Tokenize:
    """CLIP's own where the checkpoint has CLIP's vocabulary, else the checkpoint's. Avoids importing transformers where
    `tokenizer.json` holds everything.
    """
    directory = checkpoint.directory
    path = directory / "tokenizer.json"
    ids = _object_or_empty(path).get("model", {}).get("vocab") or _object_or_empty(directory / "vocab.json")
    if ids == vocabulary(clip_merges()):
        return ClipTokenizer(len(ids), context_length)
    config = _object_or_empty(directory / "tokenizer_config.json")
    if path.is_file() and config.get("tokenizer_class") in _COMPLETE_CLASSES:
        return _FileTokenizer(path, config, context_length)
    return padded_to_longest(load_tokenizer(checkpoint), context_length)


class _FileTokenizer:
    """`tokenizer.json` without transformers: `input_ids` and `attention_mask`, padded to the longest."""

    def __init__(self, path: Path, config: dict[str, Any], context_length: int) -> None:
        self._backend = Tokenizer.from_file(str(path))
        self._backend.enable_truncation(context_length)
        pad = config.get("pad_token") or _MARKS[1]
        pad = pad["content"] if isinstance(pad, dict) else pad
        self._backend.enable_padding(pad_id=self._backend.token_to_id(pad) or 0, pad_token=pad)
        self.vocabulary_size: int = self._backend.get_vocab_size()

    def __call__(self, texts: Sequence[str]) -> Tokens:
        import torch

        encoded = self._backend.encode_batch([_valid_unicode(text) for text in texts])
        return {
            "input_ids": torch.tensor([each.ids for each in encoded], dtype=torch.int64),
            "attention_mask": torch.tensor([each.attention_mask for each in encoded], dtype=torch.int64),
        }


class XlmRobertaTokenizer:
    """XLM-RoBERTa's, from its `tokenizer.json`, as open_clip uses it: `input_ids` alone, padded to the longest.

    Raises InvalidCheckpoint where the file is missing, or has more tokens than the weights (`vocabulary_size`).
    """

    def __init__(self, directory: Path, vocabulary_size: int, context_length: int) -> None:
        self._file = directory / "tokenizer.json"
        if not self._file.is_file():
            raise InvalidCheckpoint(
                "its multilingual text tower needs XLM-RoBERTa's tokenizer.json beside the weights; copy it there, "
                "as from xlm-roberta-base"
            )
        self._context_length = context_length
        self._tokens = _FileTokenizer(self._file, {"pad_token": _XLM_ROBERTA_PADDING}, context_length)
        if self._tokens.vocabulary_size > vocabulary_size:
            raise InvalidCheckpoint(
                f"its tokenizer.json has {self._tokens.vocabulary_size} tokens and the weights have {vocabulary_size}"
            )

    def __call__(self, texts: Sequence[str]) -> Tokens:
        return {"input_ids": self._tokens([repair(text) for text in texts])["input_ids"]}

    def save(self, directory: Path) -> None:
        shutil.copyfile(self._file, directory / self._file.name)
        config = {"pad_token": _XLM_ROBERTA_PADDING, "model_max_length": self._context_length}
        (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _object_or_empty(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def load_tokenizer(checkpoint: Checkpoint, *, as_filed: bool = False) -> PreTrainedTokenizerBase:
    """transformers' tokenizer. as_filed: use `tokenizer.json` as it is, whatever class the checkpoint names.

    Raises ModelUnavailable where the checkpoint has nothing but SentencePiece's file and its reader is not installed.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    directory = checkpoint.directory
    filed = (directory / "tokenizer.json").is_file()
    if not filed and any(directory.glob("*.model")) and find_spec("sentencepiece") is None:
        raise ModelUnavailable(
            f"The tokenizer of {checkpoint.id!r} is a SentencePiece file; to read it run "
            "`pip install sentencepiece protobuf`."
        )
    kind = PreTrainedTokenizerFast if as_filed and filed else AutoTokenizer
    # Without trust_remote_code transformers asks on the terminal whether to run code from the directory.
    tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    return tokenizer


def padded_to_longest(tokenizer: PreTrainedTokenizerBase, context_length: int) -> Tokenize:
    """With a mask for the padding: CLIP and the families derived from it."""
    return partial(_tokenized, partial(tokenizer, padding=True, max_length=context_length))


def padded_to_context(tokenizer: PreTrainedTokenizerBase, context_length: int) -> Tokenize:
    """Always the whole context, padded on the right, without a mask: SigLIP reads the last position, padding or not."""
    options = {"padding": "max_length", "max_length": context_length, "padding_side": "right"}
    # SigLIP 2 has Gemma's tokenizer (BPE), SigLIP a SentencePiece unigram model.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    spelling = _lower_case if backend is not None and isinstance(backend.model, models.BPE) else _bare_words
    return partial(_tokenized, partial(tokenizer, **options, return_attention_mask=False), spelling=spelling)


def _tokenized(tokenizer: Callable[..., Tokens], texts: Sequence[str], spelling: Callable[[str], str] = str) -> Tokens:
    spelt = [spelling(_valid_unicode(text)) for text in texts]
    return dict(tokenizer(spelt, truncation=True, return_tensors="pt"))


def _lower_case(text: str) -> str:
    """SigLIP 2's, as transformers' Siglip2Tokenizer, which the checkpoints at fixed resolutions do not name."""
    lowered: str = normalizers.Lowercase().normalize_str(text)
    return lowered


def _bare_words(text: str) -> str:
    """SigLIP's: lower case, no ASCII punctuation, single spaces; big_vision's `canonicalize_text`."""
    return " ".join(text.lower().translate(_WITHOUT_PUNCTUATION).split())


def _valid_unicode(text: str) -> str:
    """Halves of a surrogate pair arrive through JSON, and tokenizers accept UTF-8 only: pairs are joined, the rest
    becomes U+FFFD, as in `clean`.
    """
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def context_length(text_config: dict[str, Any], directory: Path) -> int:
    """Tokens that a text may have: the tokenizer's own limit where it is below the position table's, which many do not
    name, else what the family was trained at.
    """
    kind = str(text_config.get("model_type"))
    positions = int(text_config.get("max_position_embeddings", CONTEXT_LENGTH))
    if kind in _NUMBERED_FROM_PADDING:
        positions -= int(text_config["pad_token_id"]) + 1
    limit = _object_or_empty(directory / "tokenizer_config.json").get("model_max_length")
    return int(limit) if limit and limit <= positions else min(positions, _TRAINED_AT.get(kind, positions))
