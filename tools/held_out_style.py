"""Makes pairs in a style of emoji that the bundled model never saw, to fine-tune on and to measure with.

The style is Microsoft's Fluent Emoji in 3D (MIT), from the npm package @lobehub/fluent-emoji-3d. Half of the concepts
are learnt in it (`train.tsv`). Recall is measured on two fifths of the concepts, none of which training shows in this
style (`new_*.tsv`); on the learnt ones at places that training never uses (`learnt_*.tsv`); and on all concepts as the
bundled model's own two artists draw them (`old_*.tsv`), for what is forgotten. The last tenth of the concepts
(`validation.tsv`) decides which step was best. Each has English and Chinese captions.
"""

from __future__ import annotations

import argparse
import io
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tools.emoji_captions import caption, plain_caption
from tools.emoji_concepts import ARTISTS, Concept, read_labels
from tools.emoji_scenes import Pixels, Scene, load_sprites, render, scale_sprites, single

PACKAGE = "fluent-emoji-3d"
LEARNT, VALIDATED = 0.5, 0.1
"""Shares of the concepts; the rest is measured."""

Row = tuple[str, Pixels]


class Style:
    """Concepts with their sprites, as scenes are drawn from."""

    def __init__(self, concepts: list[Concept], sprites: dict[int, Pixels]) -> None:
        self._concepts = concepts
        self._sprites = sprites

    def training(self, chosen: Iterable[int], placements: int, rng: np.random.Generator) -> Iterator[Row]:
        """Any ground, any place that the bundled model's training may use, any of its captions."""
        for index in chosen:
            for _ in range(placements):
                scene = single(index, rng)
                for chinese in (False, True):
                    yield caption(scene, self._concepts, chinese, rng), self._draw(scene)

    def measuring(self, chosen: Iterable[int], seed: int, *languages: bool) -> Iterator[Row]:
        """One image of each, on a plain ground, at a place that no training uses; languages: whether Chinese."""
        rng = np.random.default_rng(seed)
        for index in chosen:
            scene = single(index, rng, held_out=True, plain=True)
            for chinese in languages:
                yield plain_caption(scene, self._concepts, chinese), self._draw(scene)

    def _draw(self, scene: Scene) -> Pixels:
        return render(scene, self._sprites)


def split(count: int, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Concepts to learn, to validate with and to measure with, none in two of them."""
    order = [int(index) for index in np.random.default_rng(seed).permutation(count)]
    first, second = round(LEARNT * count), round((LEARNT + VALIDATED) * count)
    return order[:first], order[first:second], order[second:]


def write_tsv(path: Path, rows: Iterable[Row]) -> None:
    """A text, a tab and an image in url-safe base64, as `clipcore train` and EasyNLP read it."""
    with path.open("w", encoding="utf-8") as file:
        for text, pixels in rows:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            file.write(f"{text}\t{urlsafe_b64encode(buffer.getvalue()).decode()}\n")


def drawn_by_fluent(art: Path, concepts: list[Concept]) -> tuple[list[Concept], list[list[Path]]]:
    """The concepts that this style has, and their images; some file names carry a variation selector."""
    folder = art / PACKAGE / "assets"
    found = []
    for concept in concepts:
        paths = [folder / f"{concept.id}{mark}.webp" for mark in ("", "-fe0f")]
        if path := next((path for path in paths if path.exists()), None):
            # Scenes choose one of two artists; here both are the same.
            found.append((concept, [path] * len(ARTISTS)))
    return [concept for concept, _ in found], [files for _, files in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--placements", type=int, default=16, help="training pictures of each learnt concept")
    parser.add_argument("--rehearse", type=int, default=0, help="of each concept in the styles known before, as well")
    parser.add_argument("--seed", type=int, default=30)
    options = parser.parse_args()
    known = read_labels(BUNDLED_DIRECTORY / "labels.json")
    concepts, files = drawn_by_fluent(options.art, known)
    new, old = Style(concepts, scale_sprites(files)), Style(known, load_sprites(options.art, known))
    learnt, validated, measured = split(len(concepts), options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    rows = [*new.training(learnt, options.placements, rng), *old.training(range(len(known)), options.rehearse, rng)]
    write_tsv(options.out / "train.tsv", rows)
    write_tsv(options.out / "validation.tsv", new.measuring(validated, options.seed + 1, False, True))
    for language, chinese in (("english", False), ("chinese", True)):
        for name, style, chosen in (("new", new, measured), ("learnt", new, learnt), ("old", old, range(len(known)))):
            write_tsv(options.out / f"{name}_{language}.tsv", style.measuring(chosen, options.seed + 2, chinese))
    print(f"{len(concepts)} concepts: {len(learnt)} learnt, {len(validated)} validated with, {len(measured)} measured")


if __name__ == "__main__":
    main()
