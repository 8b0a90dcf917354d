"""transformers' tokenizer of CLIP's vocabulary, for checkpoints that came without one."""

from __future__ import annotations

from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from clipcore.bpe import Merges, merges, vocabulary
from clipcore.towers.not_weights import NotWeights


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
