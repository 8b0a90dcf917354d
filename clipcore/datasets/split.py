"""A folder of classes -> train, val and test, each a folder of the same classes. Nothing is ever overwritten.

The plan is written into the target before anything else, so that an interrupted split goes on as it began, even where
images were moved.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

from PIL import Image

from clipcore.datasets.labelled import class_files, left_out
from clipcore.datasets.pairs import Problem
from clipcore.encoding.resumable import Watch, read_state, reason, unwatched, whole, write_whole
from clipcore.errors import BadInput, ClipError
from clipcore.files import check_regular
from clipcore.images.decode import OWN_FILES, decode_image
from clipcore.types import Pixels

PARTS = ("train", "val", "test")
DEFAULT_RATIOS = "8:1:1"


def parse_ratios(told: str) -> tuple[Fraction, ...]:
    """`8:1:1`, `0.8,0.1,0.1` or `9:1`: train, val and test, in any unit. Returns three that add up to 1.

    Raises BadInput.
    """
    try:
        given = [Fraction(part.strip()) for part in told.replace(",", ":").split(":")]
    except (ValueError, ZeroDivisionError) as error:
        raise BadInput(f"The ratios {told!r} are not numbers, such as {DEFAULT_RATIOS} or 0.8,0.1,0.1.") from error
    if len(given) not in (2, 3) or min(given) < 0 or given[0] == 0:
        raise BadInput(f"The ratios {told!r} are not two or three shares, the first of them for train.")
    three = [*given, Fraction(0)][:3]
    return tuple(share / sum(three) for share in three)


def plan_split(names: Mapping[str, Sequence[str]], ratios: Sequence[Fraction], seed: int) -> dict[str, str]:
    """names: the images of each class, told apart over all classes. Returns each name's part, one of PARTS.

    The order in which names come does not matter. Each class is shared out by largest remainder, so its parts are less
    than one image off the ratios; its first image goes to train, whatever the ratios.
    """
    parts: dict[str, str] = {}
    for class_name, members in names.items():
        shuffled = sorted(members, key=lambda name: _draw(seed, name))
        # Else val would get every odd image of small classes, and test none at all.
        sizes = share_out(len(members), ratios, late_first=bool(_draw(seed, class_name)[0][0] % 2))
        of_each = [part for part, size in zip(PARTS, sizes, strict=True) for _ in range(size)]
        parts.update(zip(shuffled, of_each, strict=True))
    return parts


def share_out(count: int, ratios: Sequence[Fraction], *, late_first: bool = False) -> list[int]:
    """Whole numbers that add up to `count`, by largest remainder (Hamilton's method). Earlier parts win ties, or later
    ones.
    """
    quotas = [share * count for share in ratios]
    sizes = [int(quota) for quota in quotas]
    parts = sorted(range(len(sizes)), reverse=late_first)
    by_remainder = sorted(parts, key=lambda part: sizes[part] - quotas[part])
    for part in by_remainder[: count - sum(sizes)]:
        sizes[part] += 1
    if count and not sizes[0]:
        sizes[sizes.index(max(sizes))] -= 1
        sizes[0] = 1
    return sizes


def _draw(seed: int, name: str) -> tuple[bytes, str]:
    """A place in the shuffled order that is the name's own: other names do not change it."""
    return hashlib.blake2b(f"{seed}/{name}".encode(errors="surrogateescape"), digest_size=16).digest(), name


PLAN = "split.json"

_Put = Callable[[Path, Path], None]


class How(StrEnum):
    """What becomes of the images that are split."""

    COPY = "copy"
    LINK = "link"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class SplitResult:
    """counts: images of each class in each part. done_before: how many an earlier run had put there."""

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
    watch: Watch = unwatched,
) -> SplitResult:
    """ratios: see `parse_ratios`. letterbox: the edge in pixels of black squares that hold the images, saved as PNG;
    None keeps the files as they are.

    Raises BadInput where `output` holds anything but this same split. Images that cannot be read are problems.
    """
    if letterbox is not None and how is not How.COPY:
        raise BadInput("Letterboxed images are new ones: they can be neither linked nor moved.")
    if output.resolve().is_relative_to(source.resolve()):
        raise BadInput(f"{str(output)!r} lies inside the folder to be split; name one outside.")
    job = {"source": str(source.resolve()), "ratios": [str(share) for share in ratios], "seed": seed}
    job |= {"how": str(how), "letterbox": letterbox}
    plan = _plan(source, output, job, lambda names: plan_split(names, ratios, seed))
    put: _Put = _PUT[how] if letterbox is None else partial(_put_letterboxed, letterbox)
    names = sorted(plan)
    targets = _targets(plan, output, as_png=letterbox is not None)
    done = sum(target.exists() for target in targets.values())
    problems = [*left_out(source), *_late(source, plan)]
    counts: dict[str, dict[str, int]] = {}
    for at in watch(range(len(names))):
        name = names[at]
        try:
            if not targets[name].exists():
                check_regular(source / name)
                targets[name].parent.mkdir(parents=True, exist_ok=True)
                put(source / name, targets[name])
            of_class = counts.setdefault(name.split("/", 1)[0], dict.fromkeys(PARTS, 0))
            of_class[plan[name]] += 1
        except (ClipError, OSError) as error:
            problems.append(Problem(name, reason(error)))
    return SplitResult(counts, problems, done)


def letterboxed(pixels: Pixels, edge: int) -> Image.Image:
    """The whole image, its proportions kept, in the middle of a black square of edge x edge pixels."""
    height, width = pixels.shape[:2]
    scale = edge / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    square = Image.new("RGB", (edge, edge))
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    square.paste(resized, ((edge - size[0]) // 2, (edge - size[1]) // 2))
    return square


def _plan(
    source: Path, output: Path, job: Mapping[str, Any], decide: Callable[[Mapping[str, Sequence[str]]], dict[str, str]]
) -> dict[str, str]:
    """As an earlier run wrote it down, else a new one. Names are paths beneath the source."""
    known = read_state(output / PLAN)
    if known is not None and known.get("job") == job:
        return dict(known["parts"])
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadInput(f"{str(output)!r} holds something else than this split; name a new folder.")
    names = _names(source)
    if not any(names.values()):
        raise BadInput(f"{str(source)!r} has no images in folders named by their class.")
    parts = decide(names)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / PLAN, json.dumps({"job": job, "parts": parts}, indent=1).encode())
    return parts


def _names(source: Path) -> dict[str, list[str]]:
    if not source.is_dir():
        raise BadInput(
            f"There is no folder {str(source)!r}; `clipcore dataset from-tsv --by-class` makes one of a table."
        )
    return {
        name: [path.relative_to(source).as_posix() for path in files] for name, files in class_files(source).items()
    }


def _late(source: Path, plan: Mapping[str, str]) -> list[Problem]:
    """Images that came after the plan was made."""
    names = (name for members in _names(source).values() for name in members)
    return [Problem(name, "It came after this split was planned.") for name in names if name not in plan]


def _targets(plan: Mapping[str, str], output: Path, *, as_png: bool) -> dict[str, Path]:
    """as_png: `a.jpg` becomes `a.png`, or where another image has that name `a.jpg.png`."""
    if not as_png:
        return {name: output / part / name for name, part in plan.items()}
    targets: dict[str, Path] = {}
    taken: set[str] = set()
    for name in sorted(plan):
        spellings = chain([f"{name.rsplit('.', 1)[0]}.png"], (name + ".png" * times for times in count(1)))
        renamed = next(spelling for spelling in spellings if spelling not in taken)
        taken.add(renamed)
        targets[name] = output / plan[name] / renamed
    return targets


def _put_copy(source: Path, target: Path) -> None:
    with whole(target) as part:
        shutil.copy2(source, part)


def _put_link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        raise BadInput(f"It cannot be linked ({error.strerror}); copy instead.") from error


def _put_moved(source: Path, target: Path) -> None:
    """Across file systems too: the source goes once the whole copy has its name."""
    try:
        source.rename(target)
    except OSError:
        _put_copy(source, target)
        source.unlink()


def _put_letterboxed(edge: int, source: Path, target: Path) -> None:
    buffer = io.BytesIO()
    letterboxed(decode_image(source.read_bytes(), OWN_FILES), edge).save(buffer, "PNG")
    write_whole(target, buffer.getvalue())


_PUT: Mapping[How, _Put] = {How.COPY: _put_copy, How.LINK: _put_link, How.MOVE: _put_moved}
