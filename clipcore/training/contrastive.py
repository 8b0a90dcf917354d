"""The gradients of a contrastive loss over a whole batch, encoded a micro-batch at a time, and which weights learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import SkippedImage
from clipcore.errors import BadInput
from clipcore.model import ClipModel
from clipcore.models.towers import Towers
from clipcore.training.data import BatchOrder, ImageReader, ReadImage, Rows, check_length, shortened
from clipcore.training.distributed import ProcessGroup
from clipcore.training.loss import CachedTower, false_negative_mask, sigmoid_loss, softmax_loss
from clipcore.training.plan import TrainingPlan
from clipcore.types import Pixels

# "Clipped to prevent scaling the logits by more than 100" (Radford et al. 2021, §2.5). A sigmoid needs no such limit:
# published SigLIP models lie beyond it.
MAX_LOG_SCALE = log(100)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ContrastiveBatches:
    """Computes the gradients of one batch after the other.

    on_skip: called with the name of each image that cannot be read and the reason, once, in the main process.
    """

    def __init__(
        self,
        model: ClipModel,
        pairs: Pairs,
        plan: TrainingPlan,
        order: BatchOrder,
        *,
        group: ProcessGroup,
        scaler: torch.amp.GradScaler,
        on_skip: Callable[[str, str], None],
    ) -> None:
        self._model = model
        self._pairs = pairs
        self._plan = plan
        self._order = order
        self._group = group
        self._scaler = scaler
        self._on_skip = on_skip
        self._skipped: set[int] = set()
        self._reader = ImageReader(model, pairs.images, plan.workers)
        self._caption_keys = _keys_of(pairs.captions)
        check_length(model, plan.sequence_length)

    def backward(self, step: int) -> float:
        """Leaves the scaled gradients of the step's loss on the weights. Returns the loss, unscaled."""
        batch = self._order.batch(step)
        share = self._group.share(len(batch))
        read = self._reader.take(self._images(batch[share]))
        self._reader.prefetch(self._images(self._order.batch(step + 1)[share]))
        usable = self._usable_rows(batch, share, read)
        mask = false_negative_mask(usable.image_keys, self._caption_keys[usable.captions].to(usable.image_keys.device))
        seeds = self._dropout_seeds(step)
        pixels = [image.pixels for image in read if isinstance(image, ReadImage)]
        captions = [self._pairs.captions[row] for row in usable.captions[usable.own]]
        images = self._tower(
            len(pixels),
            lambda rows: self._encode_images(np.stack(pixels[rows])),
            fixed=self._plan.fix_vision,
            seed=seeds[0],
        )
        texts = self._tower(
            len(captions), lambda rows: self._encode_texts(captions[rows]), fixed=self._plan.fix_text, seed=seeds[1]
        )
        return self._backward(images, texts, usable.own, mask)

    def close(self) -> None:
        self._reader.close()

    def _images(self, captions: Rows) -> Rows:
        return self._pairs.image_of[captions]

    def _usable_rows(self, batch: Rows, share: slice, read: list[ReadImage | SkippedImage]) -> _UsableRows:
        own_keys = [image.key if isinstance(image, ReadImage) else 0 for image in read]
        own = torch.tensor(own_keys, dtype=torch.int64)
        keys = self._group.gather(own.to(self._model.device), share, len(batch))
        broken = self._images(batch[(keys == 0).cpu().numpy()])
        if len(broken) == len(batch):
            raise BadInput("None of the images of a whole batch can be read; check the data set.")
        if self._group.is_main:
            self._report_skipped(broken)
        usable = keys.nonzero()[:, 0].cpu()
        own_rows = slice(int((usable < share.start).sum()), int((usable < share.stop).sum()))
        return _UsableRows(keys[usable], batch[usable.numpy()], own_rows)

    def _report_skipped(self, images: Rows) -> None:
        for image in sorted({int(row) for row in images} - self._skipped):
            # Another process may have read it, and reported only that it failed.
            again = self._reader.read(image)
            reason = again.reason if isinstance(again, SkippedImage) else "It could not be read."
            self._skipped.add(image)
            self._on_skip(self._pairs.images[image].name, reason)

    def _dropout_seeds(self, step: int) -> list[int]:
        """One for each tower, from seed, step and process, so that a resumed run needs no generator state."""
        sequence = np.random.SeedSequence([self._plan.seed, step, self._group.rank])
        return [int(seed) for seed in sequence.generate_state(2)]

    def _tower(self, count: int, encode: Callable[[slice], Tensor], *, fixed: bool, seed: int) -> CachedTower:
        size = self._plan.micro_batch
        return CachedTower(
            lambda part: encode(slice(part * size, (part + 1) * size)),
            -(-count // size),
            dimension=self._model.card.dimension,
            learns=not fixed,
            seed=seed,
            device=self._model.device,
        )

    def _encode_images(self, pixels: Pixels) -> Tensor:
        with self._autocast():
            features = self._model.towers.image_features(self._model.as_input(pixels))
        return functional.normalize(features.float(), dim=-1)

    def _encode_texts(self, texts: list[str]) -> Tensor:
        tokens = shortened(self._model.as_tokens(texts), self._plan.sequence_length)
        with self._autocast():
            features = self._model.towers.text_features(tokens)
        return functional.normalize(features.float(), dim=-1)

    def _autocast(self) -> torch.autocast:
        """A new one for each part: its cache of rounded weights from a pass without a graph has no gradients."""
        dtype = _DTYPES[self._plan.amp]
        return torch.autocast(self._model.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def _backward(self, images: CachedTower, texts: CachedTower, own: slice, mask: Tensor) -> float:
        towers, group = self._model.towers, self._group
        all_images = group.gather(images.embeddings, own, len(mask)).requires_grad_()
        all_texts = group.gather(texts.embeddings, own, len(mask)).requires_grad_()
        assert towers.log_scale is not None  # noqa: S101 - models without a text tower were refused
        if towers.logit_bias is None:
            loss = softmax_loss(all_images, all_texts, towers.log_scale, mask)
        else:
            loss = sigmoid_loss(all_images, all_texts, towers.log_scale, towers.logit_bias, mask)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for tower, embeddings in ((images, all_images), (texts, all_texts)):
            assert embeddings.grad is not None  # noqa: S101 - for mypy
            tower.backward(embeddings.grad[own])
        # Each process computes the whole loss, so the gradients of scale and bias are complete already.
        complete = {id(towers.log_scale), id(towers.logit_bias)}
        group.add_gradients([weight for weight in towers.module.parameters() if id(weight) not in complete])
        return loss.item()


@dataclass(frozen=True, slots=True)
class _UsableRows:
    """The rows of a batch whose images can be read. image_keys: int64 [n]. captions: int64 [n], rows of the data set.
    own: those of this process.
    """

    image_keys: Tensor
    captions: Rows
    own: slice


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


def _keys_of(captions: Sequence[str]) -> Tensor:
    """int64 [n], equal numbers for equal captions."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(caption, len(numbers)) for caption in captions])
