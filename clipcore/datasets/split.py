"""Splits a folder of classes into train, val and test, each a folder of the same classes. Never overwrites a file.

The plan is written to the output before anything else, so that an interrupted split resumes as planned, even where
images were moved.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from clipcore.datasets.labelled import class_files, loose_images_problem
from clipcore.encoding.batch import Problem, reason_of
from clipcore.encoding.resumable import Progress, read_json_object
from clipcore.errors import BadInput, ClipError
from clipcore.files import atomic_path, check_regular, write_atomically
from clipcore.images.decode import OWN_FILES, decode_image
from clipcore.types import Pixels

PARTS = ("train", "val", "test")
DEFAULT_RATIOS = "8:1:1"
PLAN = "split.json"


class How(StrEnum):
    """How images get to their part."""

    COPY = "copy"
    LINK = "link"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class SplitResult:
    """counts: images of each class in each part. done_before: the number that earlier runs had put there."""

    counts: dict[str, dict[str, int]]
    problems: list[Problem]
    done_before: int


def split_folder(
    source: Path,
    output: Path,
    ratios: Sequence[Fraction],
    *,
    seed: int = 0,
    how: How = How.COPY,
    letterbox: int | None = None,
    progress: Progress = iter,
) -> SplitResult:
    """ratios: see `parse_ratios`. letterbox: save PNGs instead: black squares of this edge, in pixels, that hold the
    images; None keeps the files as they are.

    Raises BadInput where `output` holds anything but this same split. Images that cannot be read become problems.
    """
    if not source.is_dir():
        raise BadInput(
            f"There is no folder {str(source)!r}; `clipcore dataset from-tsv --by-class` makes one from a table."
        )
    if letterbox is not None and how is not How.COPY:
        raise BadInput("Letterboxed images are new files, which can be neither links nor moved; leave out --how.")
    if output.resolve().is_relative_to(source.resolve()):
        raise BadInput(f"{str(output)!r} lies inside the folder to be split; name one outside.")
    job = {"source": str(source.resolve()), "ratios": [str(share) for share in ratios], "seed": seed}
    job |= {"how": str(how), "letterbox": letterbox}
    files = class_files(source)
    names = {of_class: [path.relative_to(source).as_posix() for path in paths] for of_class, paths in files.items()}
    plan = _load_or_make_plan(names, output, job, ratios, seed)
    put = _PUT[how] if letterbox is None else partial(_put_letterboxed, letterbox)
    targets = _targets(plan, output, as_png=letterbox is not None)
    done = sum(target.exists() for target in targets.values())
    late = [name for of_class in names.values() for name in of_class if name not in plan]
    problems = loose_images_problem(source)
    problems += [Problem(name, "It was added after this split was planned.") for name in late]
    counts: dict[str, dict[str, int]] = {}
    for name in progress(sorted(plan)):
        try:
            if not targets[name].exists():
                check_regular(source / name)
                targets[name].parent.mkdir(parents=True, exist_ok=True)
                put(source / name, targets[name])
            of_class = counts.setdefault(name.split("/", 1)[0], dict.fromkeys(PARTS, 0))
            of_class[plan[name]] += 1
        except (ClipError, OSError) as error:
            problems.append(Problem(name, reason_of(error)))
    return SplitResult(counts, problems, done)


def parse_ratios(ratios: str) -> tuple[Fraction, ...]:
    """`8:1:1`, `0.8,0.1,0.1` or `9:1`: train, val and test, in any unit. Returns three that add up to 1.

    Raises BadInput.
    """
    try:
        given = [Fraction(part.strip()) for part in ratios.replace(",", ":").split(":")]
    except (ValueError, ZeroDivisionError) as error:
        raise BadInput(f"The ratios {ratios!r} are not numbers, such as {DEFAULT_RATIOS} or 0.8,0.1,0.1.") from error
    if len(given) not in (2, 3) or min(given) < 0 or given[0] == 0:
        raise BadInput(f"The ratios {ratios!r} are not two or three shares, the first of them for train.")
    three = [*given, Fraction(0)][:3]
    return tuple(share / sum(three) for share in three)


def plan_split(names: Mapping[str, Sequence[str]], ratios: Sequence[Fraction], seed: int) -> dict[str, str]:
    """names: the images of each class; unique over all classes. Returns each name's part, one of PARTS.

    The order of the names does not matter. Each class is divided by largest remainder, so that its parts differ from
    the ratios by less than one image; at least one image goes to train, whatever the ratios.
    """
    parts: dict[str, str] = {}
    for class_name, members in names.items():
        shuffled = sorted(members, key=partial(_draw, seed))
        # Otherwise val would get every odd image of small classes, and test none.
        sizes = divide(len(members), ratios, prefer_last=bool(_draw(seed, class_name)[0] % 2))
        of_each = [part for part, size in zip(PARTS, sizes, strict=True) for _ in range(size)]
        parts.update(zip(shuffled, of_each, strict=True))
    return parts


def divide(count: int, ratios: Sequence[Fraction], *, prefer_last: bool = False) -> list[int]:
    """Divides `count` into integers by largest remainder (Hamilton's method). prefer_last: which parts win ties."""
    quotas = [share * count for share in ratios]
    sizes = [int(quota) for quota in quotas]
    parts = sorted(range(len(sizes)), reverse=prefer_last)
    by_remainder = sorted(parts, key=lambda part: sizes[part] - quotas[part])
    for part in by_remainder[: count - sum(sizes)]:
        sizes[part] += 1
    if count and not sizes[0]:
        sizes[sizes.index(max(sizes))] -= 1
        sizes[0] = 1
    return sizes


def letterboxed(pixels: Pixels, edge: int) -> Image.Image:
    """The whole image, proportions kept, in the middle of a black square of edge x edge pixels."""
    height, width = pixels.shape[:2]
    scale = edge / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    square = Image.new("RGB", (edge, edge))
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    square.paste(resized, ((edge - size[0]) // 2, (edge - size[1]) // 2))
    return square


def _draw(seed: int, name: str) -> bytes:
    """The name's place in the shuffled order, which does not depend on the other names."""
    return hashlib.blake2b(f"{seed}/{name}".encode(errors="surrogateescape"), digest_size=16).digest()


def _load_or_make_plan(
    names: Mapping[str, Sequence[str]], output: Path, job: Mapping[str, Any], ratios: Sequence[Fraction], seed: int
) -> dict[str, str]:
    """The plan of an earlier run of the same job, or a new one."""
    known = read_json_object(output / PLAN)
    if known is not None and known.get("job") == job:
        return dict(known["parts"])
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadInput(f"{str(output)!r} holds something else than this split; name a new folder.")
    if not any(names.values()):
        raise BadInput(f"{job['source']!r} has no images in folders named by their class.")
    parts = plan_split(names, ratios, seed)
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / PLAN, json.dumps({"job": job, "parts": parts}, indent=1).encode())
    return parts


def _targets(plan: Mapping[str, str], output: Path, *, as_png: bool) -> dict[str, Path]:
    """as_png: `a.jpg` becomes `a.png`, or `a.jpg.png` where another image has that name."""
    if not as_png:
        return {name: output / part / name for name, part in plan.items()}
    name_of: dict[str, str] = {}
    for name in sorted(plan):
        longer, png = name, f"{name.rsplit('.', 1)[0]}.png"
        while png in name_of:
            longer = png = f"{longer}.png"
        name_of[png] = name
    return {name: output / plan[name] / png for png, name in name_of.items()}


def _put_copy(source: Path, target: Path) -> None:
    with atomic_path(target) as part:
        shutil.copy2(source, part)


def _put_link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        raise BadInput(f"It cannot be linked ({error.strerror}); copy instead.") from error


def _put_moved(source: Path, target: Path) -> None:
    """Also across file systems: the source is removed once the copy is complete."""
    try:
        source.rename(target)
    except OSError:
        _put_copy(source, target)
        source.unlink()


def _put_letterboxed(edge: int, source: Path, target: Path) -> None:
    square = letterboxed(decode_image(source.read_bytes(), OWN_FILES), edge)
    with atomic_path(target) as part:
        square.save(part, "PNG")


_PUT: Mapping[How, Callable[[Path, Path], object]] = {
    How.COPY: _put_copy,
    How.LINK: _put_link,
    How.MOVE: _put_moved,
}
