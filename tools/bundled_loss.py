"""What the bundled model is trained to do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel

from tools.bundled_model import PATCH, image_and_patch_vectors, text_vectors
from tools.bundled_stream import Batch
from tools.emoji_questions import Question
from tools.emoji_scenes import SIDE, Scene, cells

ANCHOR_SCALE = 20.0
LEVEL = 0.42
"""The cosine that parts answers from everything else."""
MARGIN = 0.05
SHARPNESS = 30.0


def training_loss(model: CLIPModel, batch: Batch, bank: Tensor, anchors: Tensor, guidance: float) -> Tensor:
    """The contrastive loss and, `guidance` times, the guiding ones.

    bank: float32 [concepts, dim], the last vector of a caption of each concept, renewed here in place.
    anchors: float32 [concepts, dim], one fixed direction per concept. Images, captions and the patches that show a
    concept all learn to lie near it, so that neither side waits for the other to make sense, and each patch says
    what it belongs to (token labelling: Jiang et al. 2021).
    """
    images, patches = image_and_patch_vectors(model, batch.pixels)
    texts = text_vectors(model, batch.tokens)
    loss = contrastive_loss(images, texts, batch.scenes, bank, model.logit_scale.exp())
    if guidance > 0:
        guides = _anchored(images, batch.scenes, anchors) + _anchored(texts, batch.scenes, anchors)
        loss = loss + guidance * (guides + _labelled(patches, batch.scenes, anchors))
    return loss


def contrastive_loss(images: Tensor, texts: Tensor, scenes: list[Scene], bank: Tensor, scale: Tensor) -> Tensor:
    """Images against the caption of every concept and of every scene, and those captions against the images.

    The batch's own captions take their places in the bank, with gradients; the others are wrong answers as they
    stand, so that each step tells all concepts apart.
    """
    alone = torch.tensor([scene.concepts[0] for scene in scenes if len(scene.concepts) == 1])
    columns = torch.cat([bank.index_copy(0, alone, texts[: len(alone)]), texts[len(alone) :]])
    bank[alone] = texts[: len(alone)].detach()
    target, undecided = answers(scenes, len(bank))
    logits = (scale * images @ columns.T).masked_fill(undecided, float("-inf"))
    to_text = functional.cross_entropy(logits, target)
    to_image = functional.cross_entropy(logits.T[target], torch.arange(len(target)))
    return (to_text + to_image) / 2 + members_loss(scale * images @ columns[: len(bank)].T, scenes)


def level_loss(scores: Tensor, right: Tensor, undecided: Tensor) -> Tensor:
    """Every right image lies above LEVEL and every wrong one below, by MARGIN, whatever was asked: one threshold then
    serves all questions, those without an answer among them. The worst of each count most (Sun et al. 2020, circle
    loss). scores: float32 [texts, images], cosines; right, undecided: bool, of that shape."""
    above = SHARPNESS * (scores - LEVEL)
    wrong = (above + SHARPNESS * MARGIN).masked_fill(right | undecided, float("-inf"))
    missed = (SHARPNESS * MARGIN - above).masked_fill(~right, float("-inf"))
    # The mean over what is right: kinds of things have many images, names but one or two.
    share = right.sum(dim=1).clamp(min=1).log()
    found = right.any(dim=1)
    passing = functional.softplus(wrong.logsumexp(dim=1)).mean()
    if not found.any():
        return passing
    return passing + functional.softplus(missed[found].logsumexp(dim=1) - share[found]).mean()


def fitting(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """bool [captions, images], twice: which images show all that a scene's caption names, and which a part of it, or
    like it nothing."""
    shown = [scene.concepts for scene in scenes]
    holds = _membership(shown, shown)
    shared, sizes = holds @ holds.T, holds.sum(dim=1)
    nothing = sizes == 0
    right = torch.eye(len(scenes), dtype=torch.bool) | ((shared == sizes[:, None]) & ~nothing[:, None])
    return right, ((shared > 0) | (nothing[:, None] & nothing)) & ~right


def answering(questions: list[Question], scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """bool [questions, images], twice: which images show something that answers a question, and which may."""
    shown = [scene.concepts for scene in scenes]
    right, maybe = [question.right for question in questions], [question.undecided for question in questions]
    everything = [*shown, *right, *maybe]
    holds = _membership(shown, everything).T
    answers = _membership(right, everything) @ holds > 0
    return answers, (_membership(maybe, everything) @ holds > 0) & ~answers


def _membership(groups: Sequence[Collection[int]], everything: Sequence[Collection[int]]) -> Tensor:
    """float32 [groups, concepts]: 1 where a group has a concept; as wide as the greatest of `everything` needs."""
    width = 1 + max((concept for group in everything for concept in group), default=0)
    table = torch.zeros(len(groups), width)
    for row, group in enumerate(groups):
        table[row, list(group)] = 1
    return table


def members_loss(logits: Tensor, scenes: list[Scene]) -> Tensor:
    """An image of two things lies as near to the one's name as to the other's, and nearer than to any third: tags
    are read off that. logits: float32 [images, concepts]; zero where no scene has two."""
    rows = [row for row, scene in enumerate(scenes) if len(scene.concepts) == 2]
    if not rows:
        return logits.new_zeros(())
    members = torch.tensor([scenes[row].concepts for row in rows])
    return -functional.log_softmax(logits[rows], dim=1).gather(1, members).mean()


def answers(scenes: list[Scene], bank: int) -> tuple[Tensor, Tensor]:
    """target: int64 [images], the column of each image's caption; undecided: bool [images, columns].

    A caption of one concept is neither right nor wrong for a scene of two with it, nor the other way round; the same
    goes for two images of nothing.
    """
    singles = sum(len(scene.concepts) == 1 for scene in scenes)
    others = scenes[singles:]
    target = torch.tensor([scene.concepts[0] for scene in scenes[:singles]] + [bank + k for k in range(len(others))])
    holds = torch.zeros(len(scenes), bank + 1)
    for row, scene in enumerate(scenes):
        holds[row, list(scene.concepts) or [bank]] = 1
    shared = torch.cat([holds[:, :bank], holds @ holds[singles:].T], dim=1) > 0
    sizes = torch.tensor([len(scene.concepts) for scene in scenes])
    columns = torch.cat([torch.ones(bank, dtype=torch.long), sizes[singles:]])
    undecided = shared & ((sizes[:, None] != columns) | (columns == 0))
    undecided[torch.arange(len(scenes)), target] = False
    return target, undecided


def _anchored(vectors: Tensor, scenes: list[Scene], anchors: Tensor) -> Tensor:
    """Cross-entropy with the concepts that an image or caption tells of, in equal shares."""
    told = [row for row, scene in enumerate(scenes) if scene.concepts]
    shares = torch.zeros(len(told), len(anchors))
    for row, index in enumerate(told):
        members = list(scenes[index].concepts)
        shares[row, members] = 1 / len(members)
    return functional.cross_entropy(ANCHOR_SCALE * vectors[told] @ anchors.T, shares)


def _labelled(patches: Tensor, scenes: list[Scene], anchors: Tensor) -> Tensor:
    """Cross-entropy of each patch that lies on an emoji with that emoji's concept."""
    labels = torch.from_numpy(np.stack([cells(scene, SIDE // PATCH) for scene in scenes])).reshape(-1)
    on_something = labels >= 0
    logits = ANCHOR_SCALE * patches.reshape(-1, patches.shape[-1])[on_something] @ anchors.T
    return functional.cross_entropy(logits, labels[on_something])
