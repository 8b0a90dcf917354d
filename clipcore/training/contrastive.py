"""The gradients of a contrastive loss over a whole batch, encoded a micro-batch at a time, and which weights learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from math import log
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from clipcore.batching import batches_of
from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import SkippedImage
from clipcore.errors import BadInput
from clipcore.model import ClipModel
from clipcore.models.towers import Towers
from clipcore.runtime.torch import find_dtype, unit_length
from clipcore.training.data import BatchOrder, ImageReader, ReadImage, Rows, check_length, shortened
from clipcore.training.distributed import ProcessGroup
from clipcore.training.loss import CachedTower, false_negative_mask, sigmoid_loss, softmax_loss
from clipcore.training.plan import TrainingPlan
from clipcore.types import Pixels

# "Clipped to prevent scaling the logits by more than 100" (Radford et al. 2021, §2.5). A sigmoid needs no such limit:
# published SigLIP models lie beyond it.
MAX_LOG_SCALE = log(100)

T = TypeVar("T")


@dataclass
class ContrastiveBatches:
    """Computes the gradients of one batch after the other. Its `reader` must be closed.

    on_skip: called, in the main process, with the name of each image that cannot be read and the reason.
    """

    model: ClipModel
    pairs: Pairs
    plan: TrainingPlan
    _: KW_ONLY
    group: ProcessGroup
    scaler: torch.amp.GradScaler
    on_skip: Callable[[str, str], None]

    def __post_init__(self) -> None:
        check_length(self.model, self.plan.sequence_length)
        self.order = BatchOrder(self.pairs, self.plan.batch_size, self.plan.seed)
        self.reader = ImageReader(self.model, self.pairs.images, self.plan.workers)
        self._skipped: set[int] = set()
        numbers: dict[str, int] = {}
        self._caption_keys = torch.tensor(
            [numbers.setdefault(caption, len(numbers)) for caption in self.pairs.captions]
        )

    def backward(self, step: int) -> float:
        """Leaves the scaled gradients of the step's loss on the weights. Returns the loss, unscaled."""
        batch = self.order.batch(step)
        share = self.group.share(len(batch))
        read = self.reader.take(self.pairs.image_of[batch[share]])
        self.reader.prefetch(self.pairs.image_of[self.order.batch(step + 1)[share]])
        image_keys = self._gather_keys(read, batch, share)
        usable = image_keys.nonzero()[:, 0].cpu()
        captions = batch[usable.numpy()]
        mask = false_negative_mask(image_keys[usable], self._caption_keys[captions].to(image_keys.device))
        # Of the usable rows, those of this process.
        own = slice(int((usable < share.start).sum()), int((usable < share.stop).sum()))
        seeds = self._dropout_seeds(step)
        pixels = [image.pixels for image in read if isinstance(image, ReadImage)]
        images = self._tower(self._encode_images, pixels, fixed=self.plan.fix_vision, seed=seeds[0])
        own_texts = [self.pairs.captions[row] for row in captions[own]]
        texts = self._tower(self._encode_texts, own_texts, fixed=self.plan.fix_text, seed=seeds[1])
        return self._backward(images, texts, own, mask)

    def _gather_keys(self, read: list[ReadImage | SkippedImage], batch: Rows, share: slice) -> Tensor:
        """int64 [batch]: equal for equal images, 0 for those that cannot be read, each of which is reported once."""
        own = torch.tensor([image.key if isinstance(image, ReadImage) else 0 for image in read], dtype=torch.int64)
        keys = self.group.gather(own.to(self.model.device), share, len(batch))
        broken = self.pairs.image_of[batch[(keys == 0).cpu().numpy()]]
        if len(broken) == len(batch):
            raise BadInput("None of the images of a whole batch can be read; check the data set.")
        for image in sorted({*broken.tolist()} - self._skipped) if self.group.is_main else ():
            # Another process may have read it, and reported only that it failed.
            again = self.reader.read(image)
            reason = again.reason if isinstance(again, SkippedImage) else "It could not be read."
            self._skipped.add(image)
            self.on_skip(self.pairs.images[image].name, reason)
        return keys

    def _dropout_seeds(self, step: int) -> list[int]:
        """One for each tower, from seed, step and process, so that a resumed run needs no generator state."""
        sequence = np.random.SeedSequence([self.plan.seed, step, self.group.rank])
        return [int(seed) for seed in sequence.generate_state(2)]

    def _tower(self, encode: Callable[[list[T]], Tensor], inputs: list[T], *, fixed: bool, seed: int) -> CachedTower:
        parts = [partial(encode, part) for part in batches_of(inputs, self.plan.micro_batch)]
        empty = torch.empty((0, self.model.card.dimension), device=self.model.device)
        return CachedTower(parts, empty, learns=not fixed, seed=seed)

    def _encode_images(self, pixels: list[Pixels]) -> Tensor:
        return self._encode(self.model.towers.image_features, self.model.as_input(np.stack(pixels)))

    def _encode_texts(self, texts: list[str]) -> Tensor:
        tokens = shortened(self.model.as_tokens(texts), self.plan.sequence_length)
        return self._encode(self.model.towers.text_features, tokens)

    def _encode(self, features_of: Callable[[T], Tensor], inputs: T) -> Tensor:
        dtype = find_dtype(self.plan.amp, self.model.device)
        # A new one for each part: its cache of rounded weights from a pass without a graph has no gradients.
        with torch.autocast(self.model.device.type, dtype=dtype, enabled=dtype != torch.float32):
            features = features_of(inputs)
        return unit_length(features)

    def _backward(self, images: CachedTower, texts: CachedTower, own: slice, mask: Tensor) -> float:
        towers, group = self.model.towers, self.group
        all_images = group.gather(images.embeddings, own, len(mask)).requires_grad_()
        all_texts = group.gather(texts.embeddings, own, len(mask)).requires_grad_()
        assert towers.log_scale is not None  # noqa: S101 - models without a text tower were refused
        if towers.logit_bias is None:
            loss = softmax_loss(all_images, all_texts, towers.log_scale, mask)
        else:
            loss = sigmoid_loss(all_images, all_texts, towers.log_scale, towers.logit_bias, mask)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for tower, embeddings in ((images, all_images), (texts, all_texts)):
            assert embeddings.grad is not None  # noqa: S101 - for mypy
            tower.backward(embeddings.grad[own])
        # Each process computes the whole loss, so the gradients of scale and bias are complete already.
        complete = {id(towers.log_scale), id(towers.logit_bias)}
        group.add_gradients([weight for weight in towers.module.parameters() if id(weight) not in complete])
        return loss.item()


def choose_weights(towers: Towers, plan: TrainingPlan) -> list[nn.Parameter]:
    """Lets the plan's weights learn and returns them, in the model's order; all others are fixed."""
    towers.module.requires_grad_(True)
    for part in _fixed_parts(towers, plan):
        part.requires_grad_(False)
    return [weight for weight in towers.module.parameters() if weight.requires_grad]


def set_training_mode(towers: Towers, plan: TrainingPlan) -> None:
    """Turns dropout on where weights learn. Batch norms keep the statistics that they came with: those of a micro-batch
    would depend on how the batch is divided.
    """
    towers.module.train()
    for module in towers.module.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    for part in _fixed_parts(towers, plan):
        if isinstance(part, nn.Module):
            part.eval()


def optimiser_for(weights: Sequence[nn.Parameter], plan: TrainingPlan) -> torch.optim.AdamW:
    """AdamW with the settings of CLIP's ViT models (Radford et al. 2021, table 18); only matrices decay."""
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    return torch.optim.AdamW(filled, lr=plan.learning_rate, betas=(0.9, 0.98), eps=1e-6)


@torch.no_grad()
def clamp_scale(towers: Towers) -> None:
    """Limits the logit scale of a model that was trained with a softmax."""
    if towers.log_scale is not None and towers.logit_bias is None:
        towers.log_scale.clamp_(0, MAX_LOG_SCALE)


def _fixed_parts(towers: Towers, plan: TrainingPlan) -> list[nn.Module | nn.Parameter]:
    return [*(towers.vision if plan.fix_vision else ()), *(towers.text if plan.fix_text else ())]
