"""Steps towards any objective: rates, optimisers, clipping. What is learnt, and from what, is the objective's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import SkippedImage
from clipcore.errors import BadInput
from clipcore.model import ClipModel
from clipcore.training.data import ImageReader, Order, Read, Rows, check_length, shortened
from clipcore.training.distributed import Group
from clipcore.training.loss import CachedTower, sigmoid_loss, softmax_loss, undecided_pairs
from clipcore.training.plan import TrainingPlan
from clipcore.training.run_folder import Keeper
from clipcore.training.weights import hold_scale
from clipcore.types import Pixels


class Objective(Protocol):
    def backward(self, step: int) -> float:
        """Leaves the gradients of this step's loss on the weights, scaled where the trainer has a scaler. Returns the
        loss, unscaled."""
        ...

    def settle(self) -> None:
        """After the optimisers' step: brings weights back to where they may lie."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """number: from 1, when it is done. rate: the share of the highest learning rate that it went by."""

    number: int
    loss: float
    rate: float


class Trainer:
    """Owns the optimisers and the position. `keeper` knows everything that changes on the way."""

    def __init__(
        self,
        objective: Objective,
        optimisers: Sequence[torch.optim.Optimizer],
        keeper: Keeper,
        *,
        steps: int,
        rate: Callable[[int], float],
        clip: float = 0.0,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """rate: step from 0 -> factor of each optimiser's learning rate. clip: the longest gradient, 0 for any."""
        self.steps = steps
        self.done = 0
        self._objective = objective
        self._optimisers = optimisers
        self._keeper = keeper
        self._rate = rate
        self._rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
        self._clip = clip
        self._scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)

    def run(self) -> Iterator[Step]:
        """To the end of the plan, from wherever it stands; yields each step when it is done."""
        while self.done < self.steps:
            yield self._one()

    def put_away(self) -> None:
        self._keeper.put_away(self.done)

    def resume(self) -> None:
        """Goes on from the checkpoint, where there is one."""
        self.done = self._keeper.take_up()

    def _one(self) -> Step:
        factor = self._rate(self.done)
        self._set_rates(factor)
        loss = self._objective.backward(self.done)
        if not isfinite(loss):
            raise BadInput(f"The loss is no number any more at step {self.done + 1}; try a lower learning rate.")
        for optimiser in self._optimisers:
            self._scaler.unscale_(optimiser)
        if self._clip:
            nn.utils.clip_grad_norm_(self._weights(), self._clip)
        for optimiser in self._optimisers:
            self._scaler.step(optimiser)
            optimiser.zero_grad()
        self._scaler.update()
        self._objective.settle()
        self.done += 1
        return Step(self.done, loss, factor)

    def _set_rates(self, factor: float) -> None:
        for optimiser, rates in zip(self._optimisers, self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def _weights(self) -> list[Tensor]:
        return [
            weight for optimiser in self._optimisers for group in optimiser.param_groups for weight in group["params"]
        ]


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
        self._reader = ImageReader(model, pairs.images, plan.workers)
        self._caption_keys = _numbered(pairs.captions)
        check_length(model, plan.sequence_length)

    def backward(self, step: int) -> float:
        batch = self._order.batch(step)
        mine = self._group.share(len(batch))
        read = self._reader.take(self._images(batch[mine]))
        self._reader.ask(self._images(self._order.batch(step + 1)[mine]))
        keys = self._keys(batch, mine, read)
        usable = keys.nonzero()[:, 0].cpu()
        own = slice(int((usable < mine.start).sum()), int((usable < mine.stop).sum()))
        captions = batch[usable.numpy()]
        undecided = undecided_pairs(keys[usable], self._caption_keys[captions].to(keys.device))
        seeds = self._seeds(step)
        pixels = [one.pixels for one in read if isinstance(one, Read)]
        images = self._tower(
            own, lambda rows: self._see(np.stack(pixels[rows])), fixed=self._plan.fix_vision, seed=seeds[0]
        )
        words = [self._pairs.captions[row] for row in captions[own]]
        texts = self._tower(own, lambda rows: self._read(words[rows]), fixed=self._plan.fix_text, seed=seeds[1])
        return self._backward(images, texts, own, undecided)

    def settle(self) -> None:
        hold_scale(self._model.towers)

    def close(self) -> None:
        self._reader.close()

    def _images(self, captions: Rows) -> Rows:
        return self._pairs.image_of[captions]

    def _keys(self, batch: Rows, mine: slice, read: list[Read | SkippedImage]) -> Tensor:
        """int64 [batch]: of every process's images, 0 where one cannot be used."""
        own = torch.tensor([one.key if isinstance(one, Read) else 0 for one in read], dtype=torch.int64)
        keys = self._group.gather(own.to(self._model.device), mine, len(batch))
        broken = self._images(batch[(keys == 0).cpu().numpy()])
        if len(broken) == len(batch):
            raise BadInput("None of a whole batch of images can be read; look at the data set.")
        if self._group.leads:
            self._name(broken)
        return keys

    def _name(self, images: Rows) -> None:
        for image in sorted({int(row) for row in images} - self._named):
            # Another process may have met it, and only said that it is broken.
            again = self._reader.read(image)
            reason = again.reason if isinstance(again, SkippedImage) else "It could not be read."
            self._named.add(image)
            self._on_skip(self._pairs.images[image].name, reason)

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

    def _backward(self, images: CachedTower, texts: CachedTower, own: slice, undecided: Tensor) -> float:
        towers, group = self._model.towers, self._group
        seen = group.gather(images.vectors, own, len(undecided)).requires_grad_()
        read = group.gather(texts.vectors, own, len(undecided)).requires_grad_()
        assert towers.log_scale is not None  # noqa: S101 - only models that read texts come here
        if towers.logit_bias is None:
            loss = softmax_loss(seen, read, towers.log_scale, undecided)
        else:
            loss = sigmoid_loss(seen, read, towers.log_scale, towers.logit_bias, undecided)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for tower, vectors in ((images, seen), (texts, read)):
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
