"""Captions cut to fewer tokens than the model could read, which saves time and memory."""

from __future__ import annotations

from clipcore.errors import BadInput
from clipcore.model import ClipModel
from clipcore.towers.seam import Tokens


def shortened(tokens: Tokens, length: int | None) -> Tokens:
    """No longer than `length` tokens; a longer text keeps its end mark, which some families read it by."""
    ids = tokens["input_ids"]
    if length is None or ids.shape[1] <= length:
        return tokens
    last = tokens["attention_mask"].sum(dim=1) - 1
    cut = {name: rows[:, :length].clone() for name, rows in tokens.items()}
    long = last >= length
    cut["input_ids"][long, length - 1] = ids[long, last[long]]
    return cut


def check_length(model: ClipModel, length: int | None) -> None:
    """Raises BadInput, and WordsNotUnderstood where the model sees pictures alone."""
    tokens = model.as_tokens(["a"])
    if length is None:
        return
    if length > model.card.context_length:
        raise BadInput(f"{model.card.id!r} reads {model.card.context_length} tokens at most; {length} are too many.")
    if "attention_mask" not in tokens:
        raise BadInput(f"{model.card.id!r} always reads its whole context; leave the sequence length out.")
