"""Trains the bundled model. See README.md beside this file for how to run it and how long it takes."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from tools.bundled_tokenizer import CONTEXT, save_tokenizer, train_tokenizer
from tools.emoji_captions import caption, plain_caption
from tools.emoji_concepts import Concept, labels_json, load_concepts
from tools.emoji_scenes import SIDE, Pixels, Scene, is_held_out_pair, load_sprites, pair, render, single
from tools.muon import Muon

log = logging.getLogger(__name__)

MEAN = STD = 0.5
LONGEST_SCALE = 4.2
"""The greatest log of the logit scale: 66.7. Higher is no better here and makes the softmax brittle."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training. until: share of all steps at which it ends; singles, scenes: pictures in a batch."""

    until: float
    singles: int
    scenes: int


@dataclass(frozen=True, slots=True)
class Plan:
    steps: int
    stages: tuple[Stage, ...]
    seed: int
    muon_rate: float = 0.02
    adam_rate: float = 1.5e-3
    warmup: float = 0.02
    plateau: float = 0.3
    weight_decay: float = 0.05


@dataclass(frozen=True, slots=True)
class Batch:
    """scenes: what each picture shows, singles first; tokens: int64 [n, longest], a caption of each."""

    scenes: list[Scene]
    pixels: Tensor
    tokens: Tensor


class Stream:
    """An endless, seeded stream of batches: distinct single concepts, and a ring of scenes each sharing a concept
    with the next, so that every scene meets captions that are half right."""

    def __init__(self, concepts: list[Concept], sprites: dict[int, Pixels], tokenizer: Tokenizer, seed: int) -> None:
        self.concepts = concepts
        self._sprites = sprites
        self._tokenizer = tokenizer
        self.rng = np.random.default_rng(seed)

    def batch(self, stage: Stage) -> Batch:
        rng = self.rng
        order = rng.permutation(len(self.concepts))
        alone = [single(int(index), rng) for index in order[: stage.singles]]
        ring = [pair(first, second, rng) for first, second in self._ring(stage.scenes)]
        scenes = [*alone, *ring]
        texts = [caption(scene, self.concepts, bool(rng.random() < 0.5), rng) for scene in scenes]
        pixels = torch.from_numpy(np.stack([render(scene, self._sprites) for scene in scenes]))
        return Batch(scenes, as_input(pixels), encode(self._tokenizer, texts))

    def _ring(self, length: int) -> Iterator[tuple[int, int]]:
        if not length:
            return
        members = [int(index) for index in self.rng.permutation(len(self.concepts))[:length]]
        for first, second in zip(members, members[1:] + members[:1], strict=True):
            if not is_held_out_pair(first, second):
                yield (first, second) if self.rng.random() < 0.5 else (second, first)


def encode(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """int64 [n, longest], padded with the end token; causal attention makes a mask needless."""
    rows = tokenizer.encode_batch(texts)
    longest = min(CONTEXT, max(len(row.ids) for row in rows))
    end = tokenizer.token_to_id("<|endoftext|>")
    tokens = torch.full((len(rows), longest), end)
    for index, row in enumerate(rows):
        ids = row.ids[:longest]
        tokens[index, : len(ids)] = torch.tensor(ids)
    tokens[:, -1] = end
    return tokens


def as_input(pixels: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] to normalised float32 [n, 3, h, w]."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def new_model(vocabulary: int, start: int, end: int, patch: int = 16) -> CLIPModel:
    shared = {"hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 3, "hidden_act": "gelu"}
    text = {"num_hidden_layers": 3, "max_position_embeddings": CONTEXT, "vocab_size": vocabulary}
    ends = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    vision = {"num_hidden_layers": 6, "image_size": SIDE, "patch_size": patch}
    return CLIPModel(
        CLIPConfig(text_config={**shared, **text, **ends}, vision_config={**shared, **vision}, projection_dim=256)
    )


def image_vectors(model: CLIPModel, pixels: Tensor) -> Tensor:
    seen = model.vision_model(pixel_values=pixels)
    return functional.normalize(model.visual_projection(seen.pooler_output), dim=-1)


def text_vectors(model: CLIPModel, tokens: Tensor) -> Tensor:
    """In three groups by length: most captions are short, and padding costs as much as words."""
    end = model.config.text_config.eos_token_id
    lengths = (tokens == end).int().argmax(-1) + 1
    order = lengths.argsort()
    read = []
    for part in order.chunk(3):
        short = tokens[part, : int(lengths[part].max())]
        read.append(model.text_model(input_ids=short).pooler_output)
    vectors = torch.cat(read)[order.argsort()]
    return functional.normalize(model.text_projection(vectors), dim=-1)


def contrastive_loss(model: CLIPModel, batch: Batch, bank: Tensor) -> Tensor:
    """Pictures against the caption of every concept and of every scene, and those captions against the pictures.

    bank: float32 [concepts, dim], the last vector of a caption of each concept. The batch's own captions take their
    places in it, with gradients; the others are wrong answers as they stand. Between a single concept and a scene
    with it, neither right nor wrong is said.
    """
    pictures = image_vectors(model, batch.pixels)
    texts = text_vectors(model, batch.tokens)
    alone = torch.tensor([scene.concepts[0] for scene in batch.scenes if scene.relation is None])
    columns = torch.cat([bank.index_copy(0, alone, texts[: len(alone)]), texts[len(alone) :]])
    bank[alone] = texts[: len(alone)].detach()
    logits = model.logit_scale.exp() * pictures @ columns.T
    target, undecided = _answers(batch.scenes, len(bank))
    logits = logits.masked_fill(undecided, float("-inf"))
    to_text = functional.cross_entropy(logits, target)
    to_picture = functional.cross_entropy(logits.T[target], torch.arange(len(target)))
    return (to_text + to_picture) / 2


def _answers(scenes: list[Scene], bank: int) -> tuple[Tensor, Tensor]:
    """target: int64 [pictures], the column of each picture's caption; undecided: bool [pictures, texts]."""
    pairs = [scene.concepts for scene in scenes if len(scene.concepts) == 2]
    singles = len(scenes) - len(pairs)
    target = torch.tensor([scene.concepts[0] for scene in scenes[:singles]] + [bank + k for k in range(len(pairs))])
    undecided = torch.zeros(len(scenes), bank + len(pairs), dtype=torch.bool)
    if pairs:
        members = torch.tensor(pairs)
        undecided[singles:].scatter_(1, members, True)
        alone = target[:singles, None, None]
        undecided[:singles, bank:] = (alone == members[None]).any(-1)
    return target, undecided


def optimizers(model: CLIPModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else (Jordan et al. 2024)."""
    hidden = [weight for name, weight in model.named_parameters() if ".layers." in name and weight.ndim == 2]
    inside = {id(weight) for weight in hidden}
    rest = [weight for weight in model.parameters() if id(weight) not in inside]
    return [
        Muon(hidden, lr=plan.muon_rate, weight_decay=plan.weight_decay, momentum=0.95),
        torch.optim.AdamW(rest, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def rate_at(share: float, plan: Plan) -> float:
    """The learning rate's factor: a short rise, a plateau, then a straight line to nothing."""
    if share < plan.warmup:
        return max(share / plan.warmup, 0.01)
    return min(1.0, max(0.0, (1 - share) / (1 - plan.plateau)))


@torch.no_grad()
def quick_recall(model: CLIPModel, concepts: list[Concept], sprites: dict[int, Pixels], tokenizer: Tokenizer) -> str:
    """A progress line: text to picture over all concepts, at positions that training never uses."""
    rng = np.random.default_rng(99)
    scenes = [single(index, rng, held_out=True, plain=True) for index in range(len(concepts))]
    pictures = image_vectors(model, as_input(torch.from_numpy(np.stack([render(scene, sprites) for scene in scenes]))))
    lines = []
    for chinese in (False, True):
        texts = text_vectors(model, encode(tokenizer, [plain_caption(scene, concepts, chinese) for scene in scenes]))
        scores = texts @ pictures.T
        rank = (scores > scores.diagonal()[:, None]).sum(1)
        lines.append(
            f"{'zh' if chinese else 'en'} R@1 {(rank < 1).float().mean():.3f} R@5 {(rank < 5).float().mean():.3f}"
        )
    rng = np.random.default_rng(98)
    pairs = [
        (a, b) for a, b in rng.integers(len(concepts), size=(9000, 2)).tolist() if a != b and is_held_out_pair(a, b)
    ]
    scenes = [pair(a, b, rng, held_out=True) for a, b in pairs[:501]]
    pictures = image_vectors(model, as_input(torch.from_numpy(np.stack([render(scene, sprites) for scene in scenes]))))
    texts = text_vectors(model, encode(tokenizer, [plain_caption(scene, concepts, False) for scene in scenes]))
    scores = texts @ pictures.T
    lines.append(f"pairs R@1 {(scores.argmax(1) == torch.arange(len(scenes))).float().mean():.3f}")
    return "  ".join(lines)


def train(model: CLIPModel, stream: Stream, plan: Plan, folder: Path, progress: Callable[[], str]) -> None:
    """Runs the whole plan. Writes a checkpoint to resume from every few minutes; picks up from one that is there."""
    saved = folder / "checkpoint.pt"
    workers = optimizers(model, plan)
    full_rates = [[group["lr"] for group in worker.param_groups] for worker in workers]
    first = 0
    bank = functional.normalize(torch.randn(len(stream.concepts), model.config.projection_dim), dim=-1)
    if saved.exists():
        state = torch.load(saved)
        model.load_state_dict(state["model"])
        for worker, kept in zip(workers, state["optimizers"], strict=True):
            worker.load_state_dict(kept)
        first, bank, stream.rng.bit_generator.state = state["step"], state["bank"], state["rng"]
    started = time.monotonic()
    for step in range(first, plan.steps):
        share = step / plan.steps
        stage = next(stage for stage in plan.stages if share < stage.until)
        for worker, rates in zip(workers, full_rates, strict=True):
            for group, rate in zip(worker.param_groups, rates, strict=True):
                group["lr"] = rate * rate_at(share, plan)
        loss = contrastive_loss(model, stream.batch(stage), bank)
        loss.backward()
        for worker in workers:
            worker.step()
            worker.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(0, LONGEST_SCALE)
        if step % 20 == 0:
            log.info(
                "step %d loss %.4f scale %.1f seconds %.0f",
                step,
                loss,
                model.logit_scale.exp(),
                time.monotonic() - started,
            )
        if step % 100 == 99:
            log.info("step %d %s", step, progress())
        if step % 200 == 199:
            state = {"model": model.state_dict(), "optimizers": [worker.state_dict() for worker in workers]}
            torch.save(
                {**state, "step": step + 1, "bank": bank, "rng": stream.rng.bit_generator.state},
                saved.with_suffix(".new"),
            )
            saved.with_suffix(".new").replace(saved)


def save(model: CLIPModel, tokenizer: Tokenizer, concepts: list[Concept], folder: Path) -> None:
    """The files a transformers checkpoint needs, weights in half precision, and the labels."""
    half = CLIPModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    (folder / "labels.json").write_text(labels_json(concepts), "utf-8")
    preprocessing = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--plateau", type=float, default=0.4)
    parser.add_argument("--muon", type=float, default=0.02)
    parser.add_argument("--singles-until", type=float, default=0.25)
    parser.add_argument("--start", type=Path, help="a checkpoint whose weights to start from")
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options.seed)
    torch.set_num_threads(2)
    options.work.mkdir(parents=True, exist_ok=True)
    concepts = load_concepts(options.art)
    sprites = load_sprites(options.art, concepts)
    tokenizer = train_tokenizer(sample_captions(concepts, options.seed))
    stages = (Stage(options.singles_until, 256, 0), Stage(1.01, 160, 112))
    plan = Plan(options.steps, stages, options.seed, plateau=options.plateau, muon_rate=options.muon)
    model = new_model(tokenizer.get_vocab_size(), 0, 1)
    if options.start:
        model.load_state_dict(torch.load(options.start)["model"])
    stream = Stream(concepts, sprites, tokenizer, options.seed)
    train(model, stream, plan, options.work, lambda: quick_recall(model, concepts, sprites, tokenizer))
    options.out.mkdir(parents=True, exist_ok=True)
    save(model, tokenizer, concepts, options.out)


def sample_captions(concepts: list[Concept], seed: int) -> Iterator[str]:
    """What the tokenizer learns from: ten rounds of captions in both languages, singles and scenes."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        for index in range(len(concepts)):
            other = int(rng.integers(len(concepts)))
            for scene in (single(index, rng), pair(index, other, rng)):
                for chinese in (False, True):
                    yield caption(scene, concepts, chinese, rng)


if __name__ == "__main__":
    main()
