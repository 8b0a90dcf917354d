"""A sheet of emoji, one drawing of each concept: enough to make scenes where the artwork's packages are not at hand."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tools.emoji_concepts import ARTISTS, Concept, read_labels, sprite_path
from tools.emoji_scenes import SIZES, Pixels

SHEET = Path(__file__).parent.parent / "benchmarks" / "emoji.webp"
SIDE, ACROSS = 64, 32


def draw_sheet(art: Path, concepts: list[Concept], path: Path) -> None:
    """The artists take turns. A JSON file of the same name tells whose place is whose."""
    sheet = Image.new("RGBA", (ACROSS * SIDE, -(-len(concepts) // ACROSS) * SIDE))
    for place, concept in enumerate(concepts):
        with Image.open(sprite_path(art, ARTISTS[place % len(ARTISTS)], concept.id)) as file:
            sheet.paste(file.convert("RGBA").resize((SIDE, SIDE)), _corner(place))
    sheet.save(path, "WEBP", quality=70, method=4)
    path.with_suffix(".json").write_text(json.dumps([concept.id for concept in concepts]) + "\n", "utf-8")


def read_sheet(labels: Path, path: Path = SHEET) -> tuple[list[Concept], dict[int, Pixels]]:
    """The concepts of the labels file that are on the sheet, and their sprites as `load_sprites` gives them: both
    artists' are the same here.
    """
    place_of = {id_: place for place, id_ in enumerate(json.loads(path.with_suffix(".json").read_text("utf-8")))}
    concepts = [concept for concept in read_labels(labels) if concept.id in place_of]
    with Image.open(path) as file:
        sheet = file.convert("RGBA")
    sprites = {size: np.zeros((len(concepts), len(ARTISTS), size, size, 4), np.uint8) for size in SIZES}
    for index, concept in enumerate(concepts):
        left, top = _corner(place_of[concept.id])
        drawn = sheet.crop((left, top, left + SIDE, top + SIDE))
        for size in SIZES:
            sprites[size][index] = np.asarray(drawn.resize((size, size), Image.Resampling.LANCZOS))
    return concepts, sprites


def _corner(place: int) -> tuple[int, int]:
    return place % ACROSS * SIDE, place // ACROSS * SIDE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--labels", type=Path, default=Path("clipcore/bundled/labels.json"))
    options = parser.parse_args()
    draw_sheet(options.art, read_labels(options.labels), SHEET)


if __name__ == "__main__":
    main()
