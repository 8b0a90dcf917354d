"""The objective of fine-tuning: each picture of a batch finds its caption, and each caption its picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clipcore.dataset.pairs import Pairs
from clipcore.errors import BadInput
from clipcore.features import SkippedPicture
from clipcore.model import ClipModel
from clipcore.train.batches import Order, PictureReader, Read, Rows
from clipcore.train.cached import CachedTower
from clipcore.train.distributed import Group
from clipcore.train.loss import sigmoid_loss, softmax_loss, undecided_pairs
from clipcore.train.plan import TrainingPlan
from clipcore.train.shortening import check_length, shortened
from clipcore.train.weights import hold_scale
from clipcore.types import Pixels

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Contrastive:
    """Leaves a whole batch's gradients on the weights, a micro-batch at a time; see `Objective`."""

    def __init__(
        self,
        model: ClipModel,
        pairs: Pairs,
        plan: TrainingPlan,
        order: Order,
        *,
        group: Group,
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
        self._named: set[int] = set()
        self._reader = PictureReader(model, pairs.pictures, plan.workers)
        self._caption_keys = _numbered(pairs.captions)
        check_length(model, plan.sequence_length)

    def backward(self, step: int) -> float:
        batch = self._order.batch(step)
        mine = self._group.share(len(batch))
        read = self._reader.take(self._pictures(batch[mine]))
        self._reader.ask(self._pictures(self._order.batch(step + 1)[mine]))
        keys = self._keys(batch, mine, read)
        usable = keys.nonzero()[:, 0].cpu()
        own = slice(int((usable < mine.start).sum()), int((usable < mine.stop).sum()))
        captions = batch[usable.numpy()]
        undecided = undecided_pairs(keys[usable], self._caption_keys[captions].to(keys.device))
        seeds = self._seeds(step)
        pixels = [one.pixels for one in read if isinstance(one, Read)]
        pictures = self._tower(
            own, lambda rows: self._see(np.stack(pixels[rows])), fixed=self._plan.fix_vision, seed=seeds[0]
        )
        words = [self._pairs.captions[row] for row in captions[own]]
        texts = self._tower(own, lambda rows: self._read(words[rows]), fixed=self._plan.fix_text, seed=seeds[1])
        return self._backward(pictures, texts, own, undecided)

    def settle(self) -> None:
        hold_scale(self._model.towers)

    def close(self) -> None:
        self._reader.close()

    def _pictures(self, captions: Rows) -> Rows:
        return self._pairs.picture_of[captions]

    def _keys(self, batch: Rows, mine: slice, read: list[Read | SkippedPicture]) -> Tensor:
        """int64 [batch]: of every process's pictures, 0 where one cannot be used."""
        own = torch.tensor([one.key if isinstance(one, Read) else 0 for one in read], dtype=torch.int64)
        keys = self._group.gather(own.to(self._model.device), mine, len(batch))
        broken = self._pictures(batch[(keys == 0).cpu().numpy()])
        if len(broken) == len(batch):
            raise BadInput("None of a whole batch of pictures can be read; look at the data set.")
        if self._group.leads:
            self._name(broken)
        return keys

    def _name(self, pictures: Rows) -> None:
        for picture in sorted({int(row) for row in pictures} - self._named):
            # Another process may have met it, and only said that it is broken.
            again = self._reader.read(picture)
            reason = again.reason if isinstance(again, SkippedPicture) else "It could not be read."
            self._named.add(picture)
            self._on_skip(self._pairs.pictures[picture].name, reason)

    def _seeds(self, step: int) -> list[int]:
        """For each tower's dropout. They follow from the seed, the step and the process, so a resumed run needs no
        generator's state."""
        sequence = np.random.SeedSequence([self._plan.seed, step, self._group.rank])
        return [int(seed) for seed in sequence.generate_state(2)]

    def _tower(self, own: slice, encode: Callable[[slice], Tensor], *, fixed: bool, seed: int) -> CachedTower:
        count, size = own.stop - own.start, self._plan.micro_batch
        return CachedTower(
            lambda part: encode(slice(part * size, (part + 1) * size)),
            -(-count // size),
            dimension=self._model.card.dimension,
            learns=not fixed,
            seed=seed,
            device=self._model.device,
        )

    def _see(self, pixels: Pixels) -> Tensor:
        with self._autocast():
            features = self._model.towers.image_features(self._model.as_input(pixels))
        return functional.normalize(features.float(), dim=-1)

    def _read(self, texts: list[str]) -> Tensor:
        tokens = shortened(self._model.as_tokens(texts), self._plan.sequence_length)
        with self._autocast():
            features = self._model.towers.text_features(tokens)
        return functional.normalize(features.float(), dim=-1)

    def _autocast(self) -> torch.autocast:
        """Anew for each part: weights rounded in a pass without a graph must not be taken for those of one with."""
        dtype = _DTYPES[self._plan.amp]
        return torch.autocast(self._model.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def _backward(self, pictures: CachedTower, texts: CachedTower, own: slice, undecided: Tensor) -> float:
        towers, group = self._model.towers, self._group
        seen = group.gather(pictures.vectors, own, len(undecided)).requires_grad_()
        read = group.gather(texts.vectors, own, len(undecided)).requires_grad_()
        assert towers.log_scale is not None  # noqa: S101 - only models that read texts come here
        if towers.logit_bias is None:
            loss = softmax_loss(seen, read, towers.log_scale, undecided)
        else:
            loss = sigmoid_loss(seen, read, towers.log_scale, towers.logit_bias, undecided)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for tower, vectors in ((pictures, seen), (texts, read)):
            assert vectors.grad is not None  # noqa: S101 - for mypy
            tower.backward(vectors.grad[own])
        # Every process has seen the whole loss, so the scale's and the bias's gradients are whole already.
        whole = {id(towers.log_scale), id(towers.logit_bias)}
        group.add_gradients([weight for weight in towers.module.parameters() if id(weight) not in whole])
        return loss.item()


def _numbered(captions: Sequence[str]) -> Tensor:
    """int64 [n], equal numbers for equal captions."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(words, len(numbers)) for words in captions])
