"""Draws the sample scenes that ship beside the bundled model, larger than training's, and writes samples.json."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from tools.emoji_concepts import sprite_path

SIDE = 256
COLOURS = 128
"""Palette entries: flat artwork needs no more, and the files stay near 10 kB."""


@dataclass(frozen=True, slots=True)
class Part:
    """An emoji in a sample. side, x, y: pixels; x, y: the centre."""

    emoji: str
    artist: str
    side: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Sample:
    file: str
    en: str
    zh: str
    ground: str
    parts: tuple[Part, ...]


def alone(emoji: str, artist: str) -> tuple[Part, ...]:
    return (Part(emoji, artist, 168, 128, 128),)


def on(first: str, second: str, artist: str, *, sink: int = 24, upper: int = 108) -> tuple[Part, ...]:
    """The first, `upper` pixels large, stands on the second, `sink` pixels deep."""
    lower = 136
    top = (SIDE - upper - lower + sink) // 2
    return (
        Part(second, artist, lower, 128, top + upper - sink + lower // 2),
        Part(first, artist, upper, 128, top + upper // 2),
    )


def beside(first: str, second: str, artist: str) -> tuple[Part, ...]:
    return Part(first, artist, 116, 66, 132), Part(second, artist, 116, 190, 132)


SAMPLES = (
    Sample(
        "cat-on-sofa", "a cat on a sofa", "沙发上的猫", "#bfe3f2", on("1f408", "1f6cb", "google", sink=66, upper=132)
    ),
    Sample("dog-and-bone", "a dog next to a bone", "狗在骨头旁边", "#d9f0c7", beside("1f415", "1f9b4", "google")),
    Sample("red-apple", "a red apple", "红苹果", "#fdf3d6", alone("1f34e", "google")),
    Sample(
        "guitar-and-drum", "a guitar next to a drum", "吉他在鼓旁边", "#e6dcf7", beside("1f3b8", "1f941", "twitter")
    ),
    Sample("rocket", "a rocket", "火箭", "#243352", alone("1f680", "google")),
    Sample("penguin-on-ice", "a penguin on an ice cube", "冰块上的企鹅", "#cfe8ff", on("1f427", "1f9ca", "google")),
    Sample("panda", "a panda", "熊猫", "#cdebd0", alone("1f43c", "twitter")),
    Sample(
        "birthday-cake",
        "a birthday cake and a balloon",
        "生日蛋糕和气球",
        "#ffe3ec",
        beside("1f382", "1f388", "google"),
    ),
    Sample("bicycle", "a bicycle", "自行车", "#fff2b8", alone("1f6b2", "twitter")),
    Sample("owl-on-books", "an owl on a stack of books", "一叠书上的猫头鹰", "#f2e2cc", on("1f989", "1f4da", "google")),
    Sample(
        "pizza-and-cola",
        "a pizza next to a cup with straw",
        "披萨在带吸管杯旁边",
        "#ffe0c2",
        beside("1f355", "1f964", "google"),
    ),
    Sample("sunflower", "a sunflower", "向日葵", "#bfe0ff", alone("1f33b", "google")),
    Sample("frog-on-mushroom", "a frog on a mushroom", "蘑菇上的青蛙", "#dff2d0", on("1f438", "1f344", "twitter")),
    Sample(
        "robot-and-laptop",
        "a robot next to a laptop",
        "机器人在笔记本电脑旁边",
        "#dfe6ee",
        beside("1f916", "1f4bb", "google"),
    ),
    Sample("octopus", "an octopus", "章鱼", "#bde7e4", alone("1f419", "twitter")),
    Sample("crown-on-pig", "a crown on a pig", "猪上的皇冠", "#e4f0c4", on("1f451", "1f416", "google", sink=44)),
    Sample("fox-and-tent", "a fox next to a tent", "狐狸在帐篷旁边", "#cfe6c9", beside("1f98a", "26fa", "google")),
    Sample("umbrella", "an umbrella", "雨伞", "#dbe3ea", alone("2602", "google")),
    Sample(
        "monkey-and-banana",
        "a monkey next to a banana",
        "猴子在香蕉旁边",
        "#d5efe0",
        beside("1f412", "1f34c", "twitter"),
    ),
    Sample(
        "ghost-on-pumpkin", "a ghost on a jack-o-lantern", "南瓜灯上的鬼", "#473a5e", on("1f47b", "1f383", "google")
    ),
    Sample("sailboat", "a sailboat", "帆船", "#a9d8f5", alone("26f5", "twitter")),
    Sample(
        "coffee-and-croissant",
        "a cup of coffee and a croissant",
        "咖啡和羊角面包",
        "#f5e6d8",
        beside("2615", "1f950", "google"),
    ),
    Sample(
        "teddy-on-car", "a teddy bear on a car", "汽车上的泰迪熊", "#d4ecf7", on("1f9f8", "1f697", "google", sink=44)
    ),
    Sample(
        "snowman-and-tree",
        "a snowman next to a Christmas tree",
        "雪人在圣诞树旁边",
        "#c9dcf2",
        beside("26c4", "1f384", "google"),
    ),
)


def draw(sample: Sample, art: Path) -> Image.Image:
    """RGB [256, 256]: a flat ground, a soft shadow under each emoji, the emoji back to front."""
    canvas = Image.new("RGB", (SIDE, SIDE), sample.ground)
    for part in sample.parts:
        with Image.open(sprite_path(art, part.artist, part.emoji)) as file:
            emoji = file.convert("RGBA").resize((part.side, part.side), Image.Resampling.LANCZOS)
        left, top = part.x - part.side // 2, part.y - part.side // 2
        canvas.paste((0, 0, 0), (0, 0), _shadow(part))
        canvas.paste(emoji, (left, top), emoji)
    return canvas.quantize(COLOURS, dither=Image.Dither.NONE)


def _shadow(part: Part) -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE), 0)
    half, foot = part.side * 0.36, part.y + part.side * 0.46
    ImageDraw.Draw(mask).ellipse(
        (part.x - half, foot - part.side * 0.05, part.x + half, foot + part.side * 0.05), fill=46
    )
    return mask.filter(ImageFilter.GaussianBlur(part.side * 0.03))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and samples.json")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        draw(sample, options.art).save(options.out / f"{sample.file}.png", optimize=True)
    lines = [json.dumps({"file": f"{s.file}.png", "en": s.en, "zh": s.zh}, ensure_ascii=False) for s in SAMPLES]
    (options.out / "samples.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
