"""Pairs or labelled pictures, however they lie, -> one table of texts and url-safe base64 pictures."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipcore.dataset.labelled import open_labelled
from clipcore.dataset.layout import Columns
from clipcore.dataset.opening import open_pairs
from clipcore.dataset.pairs import Pairs, Problem
from clipcore.dataset.partial import Partial, Watch, reason, unwatched
from clipcore.dataset.picture_field import encode_field
from clipcore.errors import BadInput, ImageRejected
from clipcore.features import PictureSource
from clipcore.formats import sniff
from clipcore.images import ImageLimits

_BREAKS = re.compile(r"[\t\r\n]+")


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """rows: in the whole output. resumed_at: how many pairs an earlier run had dealt with."""

    rows: int
    problems: list[Problem]
    resumed_at: int


def open_texts(
    source: Path, *, captions: Path | None = None, split: str | None = None, columns: Columns | None = None
) -> Pairs:
    """Pictures with captions as `open_pairs` finds them, else a folder of classes, each picture captioned by its class.

    Raises BadInput where it is neither.
    """
    try:
        return open_pairs(source, captions=captions, split=split, columns=columns)
    except BadInput as error:
        if captions is not None or split is not None or not source.is_dir():
            raise
        try:
            found = open_labelled(source)
        except BadInput:
            raise error from None
    names = [found.classes[at] for at in found.class_of]
    return Pairs(names, np.arange(len(found)), found.pictures, problems=found.problems)


def write_tsv(pairs: Pairs, output: Path, *, force: bool = False, watch: Watch = unwatched) -> WrittenTable:
    """One row a caption: the caption, a tab, the picture's own bytes in url-safe base64. Tabs and line breaks in a
    caption become spaces.

    Pictures that cannot be read, and bytes that are none, are problems. Raises BadInput where the output exists. After
    an interruption the same call goes on where it was.
    """
    with Partial(output, {"to-tsv": _fingerprint(pairs)}, force=force) as partial:
        begun = partial.taken
        for at in watch(range(begun, len(pairs))):
            picture = pairs.pictures[int(pairs.picture_of[at])]
            try:
                row = _row(pairs.captions[at], picture)
            except (BadInput, ImageRejected, OSError) as error:
                partial.commit(at + 1, [Problem(picture.name, reason(error))])
            else:
                partial.file.write(row)
                partial.commit(at + 1)
        partial.finish()
    return WrittenTable(len(pairs) - len(partial.problems), [*pairs.problems, *partial.problems], begun)


def one_line(caption: str) -> str:
    """As it comes back from a table."""
    return _BREAKS.sub(" ", caption).strip("\ufeff").strip()


def _row(caption: str, picture: PictureSource) -> bytes:
    text = one_line(caption)
    if not text:
        raise BadInput("Its caption is empty.")
    data = picture.read()
    if len(data) > (most := ImageLimits().max_bytes):
        raise BadInput(f"It has {len(data)} bytes; at most {most} are read.")
    if sniff(data) is None:
        raise BadInput("These bytes are not a picture in any format that we know.")
    return b"%s\t%s\n" % (text.encode(errors="replace"), encode_field(data))


def _fingerprint(pairs: Pairs) -> str:
    """Of what is told of the pairs; the pictures' bytes are not opened for it."""
    digest = hashlib.blake2b(pairs.picture_of.tobytes(), digest_size=16)
    for text in pairs.captions:
        digest.update(text.encode(errors="replace") + b"\n")
    for picture in pairs.pictures:
        digest.update(picture.name.encode(errors="replace") + b"\n")
    return digest.hexdigest()
