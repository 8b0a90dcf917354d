"""Teaches a finished model what people type beside captions: plurals, emoji, kinds of things, words for nothing here.

The image tower's lower layers stay as they are: what an edge or an eye looks like is known by then. See README.md
beside this file for how to run it and how long it takes.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import CLIPModel

from tools.bundled_loss import answering, contrastive_loss, fitting, level_loss
from tools.bundled_model import as_rows, grow_vocabulary, image_vectors, save_model, text_vectors
from tools.bundled_objective import HIGHEST_LOG_SCALE, Plan, trainer_for
from tools.bundled_stream import Mix, Stream, draw
from tools.bundled_tokenizer import split_freely, with_emoji
from tools.emoji_captions import caption
from tools.emoji_concepts import load_concepts
from tools.emoji_questions import Questions
from tools.emoji_scenes import load_sprites
from tools.emoji_words import load_wording

log = logging.getLogger(__name__)

LOWER = 3
"""Layers of the image tower that stay as they are."""
QUESTIONS = 140
EMOJI_SHARE = 0.08
"""How often a caption is emoji alone."""
IN_PIECES, SKIPPED = 0.5, 0.15
"""How many questions are read with some of the merges left out, and how many of those merges."""
CHECKPOINT_EVERY = 50


TEACHING = Plan(
    600, warmup=0.03, plateau=0.2, alone_until=0.0, muon_rate=0.01, adam_rate=6e-4, guidance=0.0, later=Mix(54, 44, 2)
)


class Lessons:
    """Owns the bank of caption embeddings and the stream's position, as in the runs before."""

    def __init__(
        self, model: CLIPModel, tokenizer: Tokenizer, stream: Stream, questions: Questions, plan: Plan
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._stream = stream
        self._questions = questions
        self._plan = plan
        self._bank = stream.names(model)

    def backward(self, step: int) -> float:
        rng = self._stream.rng
        scenes = self._stream.scenes(self._plan.mix(step))
        shown = [index for scene in scenes for index in scene.concepts]
        questions = self._questions.draw(QUESTIONS, shown, rng)
        texts = [caption(scene, self._stream.concepts, bool(rng.random() < 0.5), rng, EMOJI_SHARE) for scene in scenes]
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        rows += [self._read(question.text) for question in questions]
        read = text_vectors(self._model, as_rows(self._tokenizer, rows))
        captions, asked = read[: len(scenes)], read[len(scenes) :]
        images = image_vectors(self._model, draw(scenes, self._stream.sprites))
        loss = contrastive_loss(images, captions, scenes, self._bank, self._model.logit_scale.exp())
        loss = loss + level_loss(captions @ images.T, *fitting(scenes))
        loss = loss + level_loss(asked @ images.T, *answering(questions, scenes))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.item()

    @torch.no_grad()
    def clamp_scale(self) -> None:
        self._model.logit_scale.clamp_(0, HIGHEST_LOG_SCALE)

    def state_dict(self) -> dict[str, Any]:
        return {"bank": self._bank, "rng": self._stream.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._bank = state["bank"]
        self._stream.rng.bit_generator.state = state["rng"]

    def _read(self, text: str) -> list[int]:
        rng = self._stream.rng
        return split_freely(self._tokenizer, text, SKIPPED if rng.random() < IN_PIECES else 0.0, rng)


def freeze(model: CLIPModel, layers: int) -> None:
    vision = model.vision_model
    for part in (vision.embeddings, vision.pre_layrnorm, *vision.encoder.layers[:layers]):
        part.requires_grad_(False)


def main() -> None:
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    concepts = load_concepts(options.art)
    wording = load_wording(options.art, concepts)
    meant = {text: concept.en for concept, drawn in zip(concepts, wording.emoji, strict=True) for text in drawn}
    model = CLIPModel.from_pretrained(options.start, dtype=torch.float32)
    tokenizer = with_emoji(Tokenizer.from_file(str(options.start / "tokenizer.json")), meant)
    grow_vocabulary(model, tokenizer, meant)
    freeze(model, LOWER)
    stream = Stream(concepts, load_sprites(options.art, concepts), tokenizer, options.seed)
    plan = replace(TEACHING, steps=options.steps)
    lessons = Lessons(model, tokenizer, stream, Questions(concepts, wording), plan)
    trainer = trainer_for(model, lessons, plan, options.work)
    started = time.monotonic()
    for step in trainer.run():
        if step.number % 10 == 1:
            log.info("step %d loss %.4f seconds %.0f", step.number, step.loss, time.monotonic() - started)
        if step.number % CHECKPOINT_EVERY == 0:
            trainer.save()
    save_model(model, tokenizer, concepts, options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--start", type=Path, required=True, help="a finished model to go on from")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--steps", type=int, default=TEACHING.steps)
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--threads", type=int, default=2, help="one is faster where the cores have other work")
    return parser.parse_args()


if __name__ == "__main__":
    main()
