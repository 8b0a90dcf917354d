"""The contrastive losses, on unit vectors, with pairs left out of which nobody knows whether they belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def softmax_loss(pictures: Tensor, texts: Tensor, log_scale: Tensor, undecided: Tensor) -> Tensor:
    """Each picture must pick its own text and each text its own picture (Radford et al. 2021, figure 3).

    pictures, texts: float32 [n, dim], unit length, rows belong together. undecided: bool [n, n], see `undecided_pairs`.
    """
    logits = (log_scale.exp() * pictures @ texts.T).masked_fill(undecided, float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def sigmoid_loss(pictures: Tensor, texts: Tensor, log_scale: Tensor, bias: Tensor, undecided: Tensor) -> Tensor:
    """Each pair is a question of its own: do these two belong together? (Zhai et al. 2023, algorithm 1.)"""
    logits = log_scale.exp() * pictures @ texts.T + bias
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -functional.logsigmoid(signs * logits).masked_fill(undecided, 0).sum() / len(logits)


def undecided_pairs(picture_keys: Tensor, caption_keys: Tensor) -> Tensor:
    """int64 [n] each, equal keys for equal things -> bool [n, n]: the same picture, or the same words, in another row.

    Neither is a wrong answer there, and which of the rows the answer came from cannot be seen.
    """
    same = (picture_keys[:, None] == picture_keys) | (caption_keys[:, None] == caption_keys)
    return same.fill_diagonal_(False)
