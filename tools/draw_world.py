"""Draws the pictures that are posted in the sandbox's demo world: scenes like the samples, and variants of some."""

from __future__ import annotations

import argparse
import io
import struct
from pathlib import Path

from PIL import Image

from tools.draw_samples import Part, Sample, alone, beside, draw, on
from tools.emoji_concepts import sprite_path

SIDE = 224
COLOURS = 64
"""Palette entries: the world has four times as many pictures as the samples, so each is smaller."""

# name: (ground, artist, layout, emoji or two). A name says what is shown; captions are not shipped.
SCENES: dict[str, tuple[str, str, str, str]] = {
    # animals
    "bear-and-honey": ("#f6e3bd", "google", "beside", "1f43b 1f36f"),
    "owl-and-moon": ("#27324f", "google", "beside", "1f989 1f319"),
    "hedgehog-and-leaf": ("#e9dcc6", "google", "beside", "1f994 1f342"),
    "elephant": ("#cfe3d4", "google", "alone", "1f418"),
    "giraffe-and-palm": ("#cbe9f7", "google", "beside", "1f992 1f334"),
    "zebra": ("#efe0b9", "google", "alone", "1f993"),
    "lion": ("#f4d9a8", "twitter", "alone", "1f981"),
    "tiger": ("#d5e8c4", "google", "alone", "1f405"),
    "butterfly-on-rose": ("#e0f1d8", "google", "on", "1f98b 1f339"),
    "bee-on-sunflower": ("#c4e3f8", "google", "on", "1f41d 1f33b"),
    "turtle-on-rock": ("#c9e8df", "google", "on", "1f422 1faa8"),
    "parrot": ("#d7f0e5", "twitter", "alone", "1f99c"),
    "flamingo": ("#d3ecf5", "google", "alone", "1f9a9"),
    "peacock": ("#e5e0f3", "google", "alone", "1f99a"),
    "duck-in-bathtub": ("#d9ecfb", "google", "on", "1f986 1f6c1"),
    "whale": ("#b7dcef", "google", "alone", "1f40b"),
    "dolphin-and-wave": ("#c2e4f3", "google", "beside", "1f42c 1f30a"),
    "crab": ("#f3e3c3", "google", "alone", "1f980"),
    "shark": ("#a9d0e6", "twitter", "alone", "1f988"),
    "fish-and-coral": ("#bfe6ea", "google", "beside", "1f420 1fab8"),
    "snail-on-mushroom": ("#dcecd0", "google", "on", "1f40c 1f344"),
    "rabbit-and-carrot": ("#e4f3d4", "google", "beside", "1f407 1f955"),
    "chipmunk-and-chestnut": ("#f0e0cd", "google", "beside", "1f43f 1f330"),
    "koala": ("#d8e7d0", "twitter", "alone", "1f428"),
    "llama-and-cactus": ("#f7e6c9", "google", "beside", "1f999 1f335"),
    "rooster-and-sun": ("#fbe4b5", "google", "beside", "1f413 2600"),
    "unicorn-and-rainbow": ("#efe4fb", "google", "beside", "1f984 1f308"),
    "frog-and-lotus": ("#cdeada", "google", "beside", "1f438 1fab7"),
    # cats and dogs
    "cat-and-yarn": ("#f3dfe8", "google", "beside", "1f408 1f9f6"),
    "cat-on-box": ("#e8e1d4", "google", "on", "1f408 1f4e6"),
    "cat-on-chair": ("#dbe9f2", "google", "on", "1f408 1fa91"),
    "cat-and-fish": ("#cfe7f2", "twitter", "beside", "1f408 1f41f"),
    "cat-and-mouse": ("#eee6d8", "google", "beside", "1f408 1f401"),
    "cat-on-sofa": ("#f4e6d6", "google", "deeper on", "1f408 1f6cb"),
    "cat-on-laptop": ("#dfe3ee", "google", "on", "1f408 1f4bb"),
    "dog-and-tennis-ball": ("#d6efc9", "google", "beside", "1f415 1f3be"),
    "dog-on-skateboard": ("#e3e6ea", "google", "deep on", "1f415 1f6f9"),
    "poodle": ("#f6e1ec", "google", "alone", "1f429"),
    # plants and weather
    "cherry-blossom": ("#dff0f6", "google", "alone", "1f338"),
    "tulip": ("#e2f2d5", "twitter", "alone", "1f337"),
    "cactus": ("#f5e7cd", "google", "alone", "1f335"),
    "maple-leaf": ("#efe3cf", "google", "alone", "1f341"),
    "rainbow": ("#d4e8f7", "google", "alone", "1f308"),
    "snowflake": ("#bdd9ee", "google", "alone", "2744"),
    "potted-plant-and-window": ("#eef0e2", "google", "beside", "1fab4 1fa9f"),
    # food
    "sushi": ("#f0e9dd", "google", "alone", "1f363"),
    "noodles-and-chopsticks": ("#f8e3cf", "google", "beside", "1f35c 1f962"),
    "taco": ("#e3f1d4", "google", "alone", "1f32e"),
    "hamburger-and-fries": ("#fde6c4", "google", "beside", "1f354 1f35f"),
    "pancakes-and-honey": ("#faecd2", "google", "beside", "1f95e 1f36f"),
    "ice-cream": ("#fbe1ea", "google", "alone", "1f368"),
    "doughnut-and-coffee": ("#eaded3", "google", "beside", "1f369 2615"),
    "strawberry-on-cake": ("#fdebef", "google", "on", "1f353 1f370"),
    "pineapple": ("#dff3ea", "twitter", "alone", "1f34d"),
    "watermelon": ("#d9f1dd", "google", "alone", "1f349"),
    "avocado-and-egg": ("#ecf3d8", "google", "beside", "1f951 1f373"),
    "cheese-and-grapes": ("#f4ead8", "google", "beside", "1f9c0 1f347"),
    "bubble-tea": ("#f2e3ee", "google", "alone", "1f9cb"),
    "teapot-and-tea": ("#e1efdf", "google", "beside", "1fad6 1f375"),
    "dumpling": ("#efe6da", "google", "alone", "1f95f"),
    "moon-cake-and-moon": ("#2b3557", "google", "beside", "1f96e 1f315"),
    "pie": ("#f3e4cf", "google", "alone", "1f967"),
    "bread-and-butter": ("#f8efd6", "google", "beside", "1f35e 1f9c8"),
    "red-apple": ("#dfeef2", "google", "alone", "1f34e"),
    "lemon": ("#e6f3fb", "google", "alone", "1f34b"),
    "broccoli": ("#f4efe1", "twitter", "alone", "1f966"),
    # on the road
    "volcano": ("#d5dbe6", "google", "alone", "1f30b"),
    "mountain-and-skis": ("#cfe3f4", "google", "beside", "1f3d4 1f3bf"),
    "castle": ("#d3e9f6", "google", "alone", "1f3f0"),
    "ferris-wheel": ("#f6e2d8", "google", "alone", "1f3a1"),
    "tent-and-star": ("#232f4b", "google", "beside", "26fa 2b50"),
    "ship-and-anchor": ("#bcdff1", "google", "beside", "1f6a2 2693"),
    "airplane-and-cloud": ("#a9d4f2", "google", "beside", "2708 2601"),
    "helicopter": ("#d7e8f1", "twitter", "alone", "1f681"),
    "steam-locomotive": ("#e6e2d6", "google", "alone", "1f682"),
    "tractor": ("#e0efc8", "google", "alone", "1f69c"),
    "desert-island": ("#bfe6f4", "google", "alone", "1f3dd"),
    "luggage-and-map": ("#f0e8d8", "google", "beside", "1f9f3 1f5fa"),
    "fire-engine": ("#e4e8ee", "google", "alone", "1f692"),
    "canoe": ("#c6e6ec", "google", "alone", "1f6f6"),
    # music, games and parties
    "violin": ("#efe2d2", "google", "alone", "1f3bb"),
    "saxophone-and-notes": ("#2f2b4a", "google", "beside", "1f3b7 1f3b6"),
    "microphone": ("#e3dff2", "google", "alone", "1f3a4"),
    "mirror-ball": ("#3a2f55", "google", "alone", "1faa9"),
    "gift-and-balloon": ("#fde7da", "google", "beside", "1f381 1f388"),
    "fireworks": ("#1f2745", "google", "alone", "1f386"),
    "popcorn-and-clapper": ("#e9e3ee", "google", "beside", "1f37f 1f3ac"),
    "chess-pawn": ("#e8e8e4", "google", "alone", "265f"),
    "palette-and-brush": ("#f7f0e0", "google", "beside", "1f3a8 1f58c"),
    "ball-and-goal": ("#d2edc6", "google", "beside", "26bd 1f945"),
    "trophy": ("#fbefcb", "google", "alone", "1f3c6"),
    "video-game": ("#dcd9f0", "google", "alone", "1f3ae"),
    # looking up
    "ringed-planet": ("#1b2440", "google", "alone", "1fa90"),
    "telescope-and-moon": ("#222c4a", "google", "beside", "1f52d 1f319"),
    "saucer-over-cow": ("#2a3a48", "google", "on", "1f6f8 1f404"),
    # late in the evening
    "wine": ("#3c2733", "google", "alone", "1f377"),
    "beer": ("#4a3a24", "google", "alone", "1f37b"),
    "cocktail": ("#33284a", "google", "alone", "1f378"),
    "skull-and-candle": ("#2c2a33", "google", "beside", "1f480 1f56f"),
}
OTHER_GROUND = {"castle": "#f3d2c0", "cat-and-yarn": "#d5e8e4", "whale": "#d9c9ea", "sushi": "#cfd9c4"}
"""Drawn a second time: the same things on another ground are very similar, and yet another picture."""
AGAIN = {
    "cat-on-box-small.jpg": ("cat-on-box", 150, 60),
    "elephant-small.jpg": ("elephant", 128, 50),
    "noodles-and-chopsticks-copy.webp": ("noodles-and-chopsticks", 224, 70),
    "ferris-wheel-copy.jpg": ("ferris-wheel", 224, 75),
    "rainbow-small.webp": ("rainbow", 160, 60),
    "taco-large.webp": ("taco", 320, 70),
}
"""The same picture as a phone or another site would have made of it: its size, and the quality of the encoding."""
STICKERS = {"sticker-bird.png": "1f426", "sticker-party.png": "1f973", "sticker-thumbs-up.png": "1f44d"}
EMOJIS = {"emoji-feather.png": "1fab6", "emoji-egg.png": "1f95a", "emoji-nest.png": "1faba"}


def scene(art: Path, name: str, ground: str | None = None) -> Image.Image:
    """RGB, SIDE pixels large."""
    own_ground, artist, layout, emoji = SCENES[name]
    parts: tuple[Part, ...]
    match layout, emoji.split():
        case "alone", [only]:
            parts = alone(only, artist)
        case "on", [first, second]:
            parts = on(first, second, artist)
        case "deep on", [first, second]:
            parts = on(first, second, artist, sink=56)
        case "deeper on", [first, second]:
            parts = on(first, second, artist, sink=66, upper=132)
        case "beside", [first, second]:
            parts = beside(first, second, artist)
        case _:
            raise ValueError(f"{name} has one emoji alone, or two")
    drawn = draw(Sample(name, "", "", ground or own_ground, parts), art).convert("RGB")
    return drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def sprite(art: Path, emoji: str, side: int) -> Image.Image:
    with Image.open(sprite_path(art, "google", emoji)) as file:
        return file.convert("RGBA").resize((side, side), Image.Resampling.LANCZOS)


def passing(art: Path, emoji: str, ground: str, *, upwards: bool, frames: int, side: int) -> list[Image.Image]:
    """RGB frames in which the emoji crosses the picture."""
    moving = sprite(art, emoji, side // 2)
    made = []
    for frame in range(frames):
        picture = Image.new("RGB", (side, side), ground)
        done = frame / frames
        place = (side // 4, round(side * (0.5 - done))) if upwards else (round(side * (0.9 - 1.3 * done)), side // 3)
        picture.paste(moving, place, moving)
        made.append(picture)
    return made


def mp4(frames: list[Image.Image], milliseconds: int) -> bytes:
    """An AV1 video, with its middle frame as cover.

    Pillow writes no video, but animated AVIF: AV1 frames in the very container of MP4. Only the brand and the kind of
    the track differ, and the still picture before it, which becomes free space.
    """
    out = io.BytesIO()
    frames[0].save(out, "AVIF", save_all=True, append_images=frames[1:], duration=milliseconds, quality=60)
    data = bytearray(out.getvalue())
    brands = struct.unpack_from(">I", data)[0]
    data[8:12] = b"isom"
    data[16:brands] = (b"isomiso2av01mp41mp42" + b"iso8" * brands)[: brands - 16]
    still = data.index(b"meta")
    data[still : still + 4] = b"free"
    track = data.index(b"pict")
    data[track : track + 4] = b"vide"
    # An animation that repeats for ever states no length of its own.
    length = struct.pack(">Q", len(frames) * milliseconds)
    assert b"\0\0\x03\xe8" + length in data, "the track counts in milliseconds"  # noqa: S101 - or Pillow has changed
    data = data.replace(b"\xff" * 8, length)
    cover = io.BytesIO()
    frames[len(frames) // 2].save(cover, "JPEG", quality=85)
    picture = _box(b"data", struct.pack(">II", 13, 0), cover.getvalue())
    handler = _box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    info = _box(b"udta", _box(b"meta", bytes(4), handler, _box(b"ilst", _box(b"covr", picture))))
    # The frames stand behind the headers, which grow.
    chunks = data.index(b"stco") + 8
    for place in range(chunks + 4, chunks + 4 + 4 * struct.unpack_from(">I", data, chunks)[0], 4):
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(info))
    movie = data.index(b"moov") - 4
    old_length = struct.unpack_from(">I", data, movie)[0]
    struct.pack_into(">I", data, movie, old_length + len(info))
    data[movie + old_length : movie + old_length] = info
    return bytes(data)


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def draw_all(art: Path, out: Path) -> None:
    for name in SCENES:
        _save_flat(scene(art, name), out / f"{name}.png")
    for name, ground in OTHER_GROUND.items():
        _save_flat(scene(art, name, ground), out / f"{name}-other.png")
    for file, (name, side, quality) in AGAIN.items():
        scene(art, name).resize((side, side), Image.Resampling.LANCZOS).save(out / file, quality=quality)
    for file, emoji in STICKERS.items():
        _save_flat(sprite(art, emoji, 160), out / file)
    for file, emoji in EMOJIS.items():
        _save_flat(sprite(art, emoji, 64), out / file)
    launch = passing(art, "1f680", "#243352", upwards=True, frames=10, side=160)
    first, *rest = [frame.quantize(32, dither=Image.Dither.NONE) for frame in launch]
    first.save(out / "rocket-launch.gif", save_all=True, append_images=rest, duration=120, loop=0)
    train = passing(art, "1f682", "#cfe8f5", upwards=False, frames=24, side=224)
    (out / "train-passing.mp4").write_bytes(mp4(train, 90))


def _save_flat(picture: Image.Image, path: Path) -> None:
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder with the unpacked npm packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    draw_all(options.art, options.out)


if __name__ == "__main__":
    main()
