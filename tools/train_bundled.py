"""Trains the bundled model. See README.md beside this file for how to run it and how long it takes."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import CLIPModel

from clipcore.training.trainer import Trainer
from tools.bundled_model import as_tokens, image_vectors, new_model, save_model, text_vectors
from tools.bundled_objective import FINISH, Lessons, Plan, trainer_for
from tools.bundled_stream import Mix, Stream, draw
from tools.bundled_tokenizer import train_tokenizer
from tools.emoji_captions import caption, plain_caption
from tools.emoji_concepts import Concept, load_concepts
from tools.emoji_scenes import load_sprites, pair, single

log = logging.getLogger(__name__)

CHECKPOINT_EVERY = 200


def run(trainer: Trainer) -> Iterator[int]:
    """Trains to the end; yields each step's number when it is done."""
    started = time.monotonic()
    for step in trainer.run():
        if (step.number - 1) % 20 == 0:
            log.info("step %d loss %.4f seconds %.0f", step.number - 1, step.loss, time.monotonic() - started)
        if step.number % CHECKPOINT_EVERY == 0:
            trainer.save()
        yield step.number


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
    """Text to image over all concepts at trained places: a line to watch, not the evaluation."""
    rng = np.random.default_rng(1)
    scenes = [single(index, rng, plain=True) for index in range(len(stream.concepts))]
    images = image_vectors(model, draw(scenes, stream.sprites))
    found = []
    for chinese in (False, True):
        texts = [plain_caption(scene, stream.concepts, chinese) for scene in scenes]
        scores = text_vectors(model, as_tokens(tokenizer, texts)) @ images.T
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
    for step in run(trainer_for(model, Lessons(model, stream, plan), plan, options.work)):
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
