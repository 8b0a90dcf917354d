"""Trains the bundled model. See README.md beside this file for how to run it and how long it takes."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import CLIPModel

from tools.bundled_loss import training_loss
from tools.bundled_model import as_tokens, image_vectors, new_model, save_model, text_vectors
from tools.bundled_stream import Mix, Stream, draw
from tools.bundled_tokenizer import train_tokenizer
from tools.emoji_captions import caption, plain_caption
from tools.emoji_concepts import Concept, load_concepts
from tools.emoji_scenes import load_sprites, pair, single
from tools.muon import Muon

log = logging.getLogger(__name__)

HIGHEST_LOG_SCALE = 4.2
"""The greatest log of the logit scale (e^4.2 = 66.7): beyond it the softmax only grows brittle."""
CHECKPOINT_EVERY = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """alone_until: share of the steps with single concepts only; spread_until: share until which places widen."""

    steps: int
    warmup: float = 0.02
    plateau: float = 0.4
    alone_until: float = 0.3
    spread_until: float = 0.25
    muon_rate: float = 0.02
    adam_rate: float = 1.5e-3
    guidance: float = 1.0
    later: Mix = Mix(136, 96, 4)

    def mix(self, step: int) -> Mix:
        share = step / self.steps
        if share < self.alone_until:
            return Mix(224, 0, 0, min(1.0, 0.25 + share / self.spread_until))
        return self.later

    def rate(self, step: int) -> float:
        """The learning rates' factor: a short rise, a plateau, then a straight line to nothing."""
        share = step / self.steps
        if share < self.warmup:
            return max(share / self.warmup, 0.01)
        return min(1.0, (1 - share) / (1 - self.plateau))


FINISH = Plan(
    650, warmup=0.03, plateau=0.1, alone_until=0.0, muon_rate=0.01, adam_rate=5e-4, guidance=0.0, later=Mix(112, 120, 6)
)
"""Goes on from a finished model, more gently and with more scenes."""


class Trainer:
    """Owns the weights, the optimisers and the bank of caption vectors, and can put them all away and resume."""

    def __init__(self, model: CLIPModel, stream: Stream, plan: Plan, folder: Path) -> None:
        self.model = model
        self._stream = stream
        self._plan = plan
        self._saved = folder / "checkpoint.pt"
        self._step = 0
        self._anchors = _directions(len(stream.concepts), model.config.projection_dim)
        self._bank = self._anchors.clone() if plan.guidance else stream.names(model)
        self._optimisers = _optimisers(model, plan)
        self._rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in self._optimisers]

    def run(self) -> Iterator[int]:
        """Trains to the end of the plan; yields each step's number when it is done."""
        started = time.monotonic()
        while self._step < self._plan.steps:
            loss = self._train_one()
            if self._step % 20 == 0:
                log.info("step %d loss %.4f seconds %.0f", self._step, loss, time.monotonic() - started)
            self._step += 1
            if self._step % CHECKPOINT_EVERY == 0:
                self.put_away()
            yield self._step

    def _train_one(self) -> float:
        self._set_rates(self._plan.rate(self._step))
        guidance = self._plan.guidance * (1 - self._step / self._plan.steps)
        batch = self._stream.batch(self._plan.mix(self._step))
        loss = training_loss(self.model, batch, self._bank, self._anchors, guidance)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, HIGHEST_LOG_SCALE)
        return loss.item()

    def _set_rates(self, factor: float) -> None:
        for optimiser, rates in zip(self._optimisers, self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def put_away(self) -> None:
        """Writes a checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "bank": self._bank,
            "anchors": self._anchors,
            "step": self._step,
            "rng": self._stream.rng.bit_generator.state,
        }
        torch.save(state, self._saved.with_suffix(".new"))
        self._saved.with_suffix(".new").replace(self._saved)

    def resume(self) -> None:
        """Goes on from the checkpoint, where there is one."""
        if not self._saved.exists():
            return
        state = torch.load(self._saved)
        self.model.load_state_dict(state["model"])
        for optimiser, kept in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self._bank, self._anchors, self._step = state["bank"], state["anchors"], state["step"]
        self._stream.rng.bit_generator.state = state["rng"]


def _directions(count: int, dimension: int) -> torch.Tensor:
    """float32 [count, dimension], unit length, about evenly apart."""
    return functional.normalize(torch.randn(count, dimension), dim=-1)


def _optimisers(model: CLIPModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    hidden = [weight for name, weight in model.named_parameters() if ".layers." in name and weight.ndim == 2]
    inside = {id(weight) for weight in hidden}
    rest = [weight for weight in model.parameters() if id(weight) not in inside]
    return [
        Muon(hidden, lr=plan.muon_rate, momentum=0.95, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def sample_captions(concepts: list[Concept], seed: int) -> Iterator[str]:
    """What the tokenizer learns from: ten rounds of captions in both languages, singles and scenes."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        for index in range(len(concepts)):
            other = int(rng.integers(len(concepts)))
            for scene in (single(index, rng), pair(index, other, rng)):
                for chinese in (False, True):
                    yield caption(scene, concepts, chinese, rng)


@torch.no_grad()
def progress(model: CLIPModel, stream: Stream, tokenizer: Tokenizer) -> str:
    """Text to picture over all concepts at trained places: a line to watch, not the evaluation."""
    rng = np.random.default_rng(1)
    scenes = [single(index, rng, plain=True) for index in range(len(stream.concepts))]
    pictures = image_vectors(model, draw(scenes, stream.sprites))
    found = []
    for chinese in (False, True):
        texts = [plain_caption(scene, stream.concepts, chinese) for scene in scenes]
        scores = text_vectors(model, as_tokens(tokenizer, texts)) @ pictures.T
        found.append((scores.argmax(1) == torch.arange(len(scenes))).float().mean().item())
    return "R@1 {:.3f} in English, {:.3f} in Chinese".format(*found)


def main() -> None:
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options.seed)
    torch.set_num_threads(2)
    options.work.mkdir(parents=True, exist_ok=True)
    concepts = load_concepts(options.art)
    sprites = load_sprites(options.art, concepts)
    if options.start:
        tokenizer = Tokenizer.from_file(str(options.start / "tokenizer.json"))
        model, plan = CLIPModel.from_pretrained(options.start, dtype=torch.float32), FINISH
    else:
        tokenizer = _tokenizer(options.work / "tokenizer.json", concepts, options.seed)
        sample = Stream(concepts, sprites, tokenizer, options.seed).batch(Mix(len(concepts), 0, 0))
        model, plan = new_model(tokenizer, sample.pixels), Plan(1300)
    stream = Stream(concepts, sprites, tokenizer, options.seed)
    trainer = Trainer(model, stream, plan, options.work)
    trainer.resume()
    for step in trainer.run():
        if step % 100 == 0:
            log.info("step %d %s", step, progress(model, stream, tokenizer))
    if options.start:
        _meet_halfway(model, CLIPModel.from_pretrained(options.start, dtype=torch.float32))
    save_model(model, tokenizer, concepts, options.out)


@torch.no_grad()
def _meet_halfway(model: CLIPModel, start: CLIPModel) -> None:
    """The mean of the weights before and after: better than either at both tasks (Wortsman et al. 2022)."""
    for after, before in zip(model.parameters(), start.parameters(), strict=True):
        after.lerp_(before, 0.5)


def _tokenizer(kept: Path, concepts: list[Concept], seed: int) -> Tokenizer:
    """Kept beside the checkpoint: weights mean nothing under another vocabulary."""
    if not kept.exists():
        train_tokenizer(sample_captions(concepts, seed)).save(str(kept))
    return Tokenizer.from_file(str(kept))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--start", type=Path, help="a finished model to go on from")
    parser.add_argument("--seed", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
