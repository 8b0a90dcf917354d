"""Opens captioned images: tables, JSON, JSON lines, tar archives, and text files beside images.

COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]} (Chen et al. 2015).
Karpathy: {"dataset", "images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]} (Karpathy & Fei-Fei 2015).
Chinese-CLIP: a table of ids and images, and lines of {"text", "image_ids"}. webdataset: a tar of key.jpg and key.txt.
"""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.datasets.labelled import open_labelled
from clipcore.datasets.pairs import ImageFinder, Pairs, PairsBuilder, read_part
from clipcore.datasets.tables import Columns, read_table
from clipcore.encoding.batch import ImageSource
from clipcore.encoding.rows import open_table, read_rows
from clipcore.errors import BadInput
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files

_IDS_AND_IMAGES = Columns(text="1", image="2", header=False)
# Usual names of the captions file in a folder: ours, COCO's, Karpathy's, Flickr8k's, Flickr30k's.
_USUAL_NAMES = ("captions.txt", "captions.[ct]sv", "captions*.json", "dataset_*.json", "*.token", "results.csv")


def open_pairs(
    source: Path, *, captions: Path | None = None, split: str | None = None, columns: Columns | None = None
) -> Pairs:
    """source: a table (TSV of texts and base64 images, or of texts and paths), a captions file (JSON of COCO or
    Karpathy, or Flickr's tables), a tar as webdataset writes it, or a folder of images with a captions file:
    `captions`, or one of a usual name in the folder, or a name.txt beside each name.jpg. Chinese-CLIP's TSV of ids and
    images takes its .jsonl as `captions`.

    split: which of Karpathy's. columns: what cannot be guessed from the first rows of a table. Images are not opened
    here; rows and files that cannot be used are in the result's `problems`. Raises BadInput where nothing can be used.
    """
    if not source.is_file() and not source.is_dir():
        raise BadInput(f"There is no file or folder {str(source)!r}; a pipe cannot be read twice, so save it first.")
    folder = source if source.is_dir() else source.parent
    is_table_of_images = captions is not None and source.is_file()
    file = captions or _captions_file(source)
    if file is None:
        return _read_folder(folder)
    suffix = file.suffix.lower()
    if is_table_of_images and suffix != ".jsonl":
        raise BadInput(f"{str(source)!r} is a file: a captions file goes with a folder, or is a .jsonl for a TSV.")
    if suffix == ".json":
        return _read_captions_json(file, folder, split)
    if suffix == ".tar":
        return _read_archive(file)
    if split is not None:
        raise BadInput(f"{str(file)!r} has no splits; only Karpathy's JSON files have them.")
    if is_table_of_images:
        return _read_captions_lines(source, file)
    return read_table(file, folder, columns or Columns(), merge=True)


def open_texts(
    source: Path, *, captions: Path | None = None, split: str | None = None, columns: Columns | None = None
) -> Pairs:
    """Opens captioned images as `open_pairs` does, or else a folder of classes, whose names become the captions.

    Raises BadInput where the source is neither.
    """
    try:
        return open_pairs(source, captions=captions, split=split, columns=columns)
    except BadInput as error:
        if captions is not None or split is not None or not source.is_dir():
            raise
        try:
            labelled = open_labelled(source)
        except BadInput:
            raise error from None
    names = [labelled.classes[row] for row in labelled.class_of]
    return Pairs(names, np.arange(len(labelled)), labelled.images, problems=labelled.problems)


def _captions_file(source: Path) -> Path | None:
    if source.is_file():
        return source
    files = {path for pattern in _USUAL_NAMES for path in source.glob(pattern) if path.is_file()}
    if len(files) > 1:
        names = ", ".join(sorted(path.name for path in files))
        raise BadInput(f"{str(source)!r} has several captions files ({names}); name one.")
    return files.pop() if files else None


def _read_captions_json(path: Path, folder: Path, split: str | None) -> Pairs:
    """Reads COCO's or Karpathy's captions. folder: has the images, or folders of them. split: one of Karpathy's
    (train, restval, val, test), several joined by `+`; None for all.

    Raises BadInput where the file has another shape, or no image is found.
    """
    document = _read_document(path)
    builder, finder = PairsBuilder(), ImageFinder(folder)
    try:
        is_karpathy = any("sentences" in image for image in document["images"])
        for file, captions in _karpathy(document, split) if is_karpathy else _coco(document, split, path):
            try:
                image = ImageSource.file(finder.find(file))
                if not captions:
                    raise BadInput("It has no caption.")
                builder.add_image(image, captions)
            except BadInput as error:
                builder.skip(file, str(error))
    except (KeyError, TypeError, AttributeError) as error:
        wrong = f"lacks {error}" if isinstance(error, KeyError) else "has another shape"
        raise BadInput(f"{str(path)!r} is neither COCO's nor Karpathy's captions: an entry {wrong}.") from error
    return builder.build(f"No image of {str(path)!r} can be used")


def _read_captions_lines(images: Path, captions: Path) -> Pairs:
    """Reads Chinese-CLIP's table of images and its .jsonl of texts. A text of several images is a pair with each.

    Images without a text are kept: retrieval has to tell the others from them. Raises BadInput where nothing can be
    used.
    """
    table = read_table(images, images.parent, _IDS_AND_IMAGES, merge=False)
    row_of = {image_id: row for row, image_id in enumerate(table.captions)}
    builder = PairsBuilder()
    builder.problems.extend(table.problems)
    with open_table(captions) as file:
        for line in read_rows(file):
            if line.is_blank:
                continue
            try:
                text, ids = _parse_line(line.line)
                rows = [row_of[image_id] for image_id in ids if image_id in row_of]
                if not rows:
                    raise BadInput("None of its images is in the table.")
            except BadInput as error:
                builder.skip(f"{captions.name}, {line.name}", str(error))
                continue
            for row in rows:
                builder.add_caption(text, row, line.number)
    return builder.build(f"No text of {str(captions)!r} describes an image of {str(images)!r}", table.images)


def _read_archive(path: Path) -> Pairs:
    """Reads an uncompressed tar as webdataset writes it. Samples without an image or a caption are skipped.

    Raises BadInput where no sample has both, or the file is not a tar.
    """
    samples: dict[str, _Sample] = {}
    try:
        for key, name, offset, size, data in _members(path):
            sample = samples.setdefault(key, _Sample())
            if has_image_suffix(name):
                sample.image = ImageSource(name, partial(read_part, path, offset, size))
            elif name.endswith(".txt"):
                sample.captions = _lines(data.decode(errors="replace")) or sample.captions
            else:
                sample.captions = sample.captions or _captions_of_json(data)
    except (tarfile.TarError, OSError) as error:
        raise BadInput(f"{str(path)!r} cannot be read as an uncompressed tar: {error}.") from error
    builder = PairsBuilder()
    for key, sample in samples.items():
        if sample.image is None:
            builder.skip(key.lstrip("/"), "There is no image with this caption.")
        elif not sample.captions:
            builder.skip(sample.image.name, "It has no caption.")
        else:
            builder.add_image(sample.image, sample.captions)
    return builder.build(f"{str(path)!r} has no images with captions: no key.jpg with a key.txt or key.json")


def _read_folder(folder: Path) -> Pairs:
    """Reads images that each have a text file of the same name beside them; each line of it is a caption.

    Raises BadInput where no image has one.
    """
    builder = PairsBuilder()
    for path in image_files(folder):
        try:
            builder.add_image(ImageSource.file(path), _captions_beside(path))
        except BadInput as error:
            builder.skip(str(path), str(error))
    return builder.build(
        f"{str(folder)!r} has no images with captions: put captions.json, captions.txt or a name.txt for each name.jpg "
        "into it, or name the captions file"
    )


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or type(error).__name__}.") from error
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is not JSON: {error}.") from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise BadInput(f"{str(path)!r} is neither COCO's nor Karpathy's captions: it has no list of images.")
    return document


def _karpathy(document: dict[str, Any], split: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yields the file name and the captions of each image of the split."""
    available = {str(image.get("split", "")) for image in document["images"]}
    wanted = available if split is None else set(split.split("+"))
    if not wanted <= available:
        raise BadInput(f"There is no split {split!r}; the captions have {', '.join(sorted(available))}.")
    for image in document["images"]:
        if str(image.get("split", "")) in wanted:
            file = "/".join(part for part in (image.get("filepath"), image["filename"]) if part)
            yield file, _non_empty(sentence["raw"] for sentence in image["sentences"])


def _coco(document: dict[str, Any], split: str | None, path: Path) -> Iterator[tuple[str, list[str]]]:
    if split is not None:
        raise BadInput(f"{str(path)!r} has no splits: COCO has a captions file for each.")
    if not isinstance(document.get("annotations"), list):
        raise BadInput(f"{str(path)!r} has images but neither annotations nor sentences.")
    captions: defaultdict[Any, list[str]] = defaultdict(list)
    for annotation in document["annotations"]:
        if "caption" in annotation:
            captions[annotation["image_id"]].append(annotation["caption"])
    for image in document["images"]:
        yield image["file_name"], _non_empty(captions[image["id"]])


def _non_empty(captions: Iterator[str] | list[str]) -> list[str]:
    """Each caption on one line; empty ones are dropped."""
    return [line for caption in captions if (line := " ".join(caption.split()))]


def _parse_line(line: bytes) -> tuple[str, list[str]]:
    try:
        entry = json.loads(line)
        text, ids = " ".join(entry["text"].split()), [str(image_id) for image_id in entry["image_ids"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput('It is not {"text": …, "image_ids": […]}.') from error
    if not text:
        raise BadInput("Its text is empty.")
    return text, ids


@dataclass(slots=True)
class _Sample:
    """captions: of its .txt, or else of its .json."""

    image: ImageSource | None = None
    captions: list[str] = field(default_factory=list)


def _members(path: Path) -> Iterator[tuple[str, str, int, int, bytes]]:
    """Yields key, name, offset and size of each image, .txt and .json, and the bytes of the latter two."""
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            # tarfile keeps every member otherwise; its type stubs lack the list.
            archive.members = []  # type: ignore[attr-defined]
            folder, _, base = member.name.rpartition("/")
            is_image = has_image_suffix(base)
            if not member.isfile() or not (is_image or base.endswith((".txt", ".json"))):
                continue
            file = None if is_image else archive.extractfile(member)
            data = b"" if file is None else file.read()
            # webdataset's key ends at the first dot of the file name.
            yield f"{folder}/{base.split('.', 1)[0]}", member.name, member.offset_data, member.size, data


def _lines(text: str) -> list[str]:
    return [line for part in text.splitlines() if (line := part.strip())]


def _captions_of_json(data: bytes) -> list[str]:
    try:
        caption = json.loads(data).get("caption", [])
    except (ValueError, AttributeError):
        return []
    captions = [caption] if isinstance(caption, str) else caption if isinstance(caption, list) else []
    return _non_empty([one for one in captions if isinstance(one, str)])


def _captions_beside(image: Path) -> list[str]:
    text_file = image.with_suffix(".txt")
    try:
        captions = _lines(text_file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"It has no {text_file.name} beside it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The {text_file.name} beside it cannot be read as UTF-8 text.") from error
    if not captions:
        raise BadInput(f"The {text_file.name} beside it is empty.")
    return captions
