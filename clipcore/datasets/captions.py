"""Opens captioned images: tables, JSON, JSON lines, tar archives, and text files beside images.

COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]} (Chen et al. 2015).
Karpathy: {"dataset", "images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]} (Karpathy & Fei-Fei 2015).
Chinese-CLIP: a table of ids and images, and lines of {"text", "image_ids"}. webdataset: a tar of key.jpg and key.txt.
"""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, cast

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
    suffix = "" if file is None else file.suffix.lower()
    if is_table_of_images and suffix != ".jsonl":
        raise BadInput(f"{str(source)!r} is a file: a captions file goes with a folder, or is a .jsonl for a TSV.")
    if file is not None and suffix == ".json":
        return _read_captions_json(file, folder, split)
    if split is not None:
        raise BadInput(f"{str(file or source)!r} has no splits; only Karpathy's JSON files have them.")
    if file is None:
        return _read_folder(source)
    if suffix == ".tar":
        return _read_archive(file)
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
    except BadInput:
        if captions is None and split is None and source.is_dir():
            with suppress(BadInput):
                labelled = open_labelled(source)
                names = [labelled.classes[row] for row in labelled.class_of]
                return Pairs(names, np.arange(len(labelled)), labelled.images, problems=labelled.problems)
        raise


def _captions_file(source: Path) -> Path | None:
    if source.is_file():
        return source
    files = {path for pattern in _USUAL_NAMES for path in source.glob(pattern) if path.is_file()}
    if len(files) > 1:
        names = ", ".join(sorted(path.name for path in files))
        raise BadInput(f"{str(source)!r} has several captions files ({names}); name one.")
    return files.pop() if files else None


def _read_captions_json(path: Path, folder: Path, split: str | None) -> Pairs:
    """split: one of Karpathy's (train, restval, val, test), several joined by `+`; None for all."""
    try:
        with open_table(path) as file:
            document = json.load(file)
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is not JSON: {error}.") from error
    builder, finder = PairsBuilder(), ImageFinder(folder)
    try:
        is_karpathy = any("sentences" in image for image in document["images"])
        if split is not None and not is_karpathy:
            raise BadInput(f"{str(path)!r} has no splits: COCO has a captions file for each.")
        for name, captions in _karpathy(document, split) if is_karpathy else _coco(document):
            try:
                builder.add_image(ImageSource.file(finder.find(name)), captions)
            except BadInput as error:
                builder.skip(name, str(error))
    except (KeyError, TypeError, AttributeError) as error:
        wrong = f"lacks {error}" if isinstance(error, KeyError) else "has another shape"
        raise BadInput(f"{str(path)!r} is neither COCO's nor Karpathy's captions: it {wrong}.") from error
    return builder.build(f"No image of {str(path)!r} can be used")


def _read_captions_lines(images: Path, captions: Path) -> Pairs:
    """Reads Chinese-CLIP's table of images and its .jsonl of texts. A text of several images is a pair with each.
    Images without a text are kept: retrieval has to tell the others from them.
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
            else:
                for row in rows:
                    builder.add_caption(text, row, line.number)
    return builder.build(f"No text of {str(captions)!r} describes an image of {str(images)!r}", table.images)


def _read_archive(path: Path) -> Pairs:
    """Reads an uncompressed tar as webdataset writes it. Samples without an image or a caption are skipped."""
    images: dict[str, ImageSource] = {}
    captions: dict[str, list[str]] = {}
    try:
        for key, name, read in _members(path):
            known = captions.setdefault(key, [])
            if has_image_suffix(name):
                images[key] = ImageSource(name, read)
            elif name.endswith(".txt"):  # goes before the .json
                captions[key] = _non_empty(read().decode(errors="replace").splitlines()) or known
            elif not known:
                captions[key] = _captions_of_json(read())
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise BadInput(f"{str(path)!r} cannot be read as an uncompressed tar: {error}.") from error
    builder = PairsBuilder()
    for key, texts in captions.items():
        if key in images:
            builder.add_image(images[key], texts)
        else:
            builder.skip(key.lstrip("/"), "There is no image with this caption.")
    return builder.build(f"{str(path)!r} has no images with captions: no key.jpg with a key.txt or key.json")


def _read_folder(folder: Path) -> Pairs:
    """Reads images that each have a text file of the same name beside them; each line of it is a caption."""
    builder = PairsBuilder()
    for path in image_files(folder):
        text_file = path.with_suffix(".txt")
        try:
            captions = _non_empty(text_file.read_text(encoding="utf-8-sig").splitlines())
        except FileNotFoundError:
            builder.skip(str(path), f"It has no {text_file.name} beside it.")
        except (OSError, UnicodeDecodeError):
            builder.skip(str(path), f"The {text_file.name} beside it cannot be read as UTF-8 text.")
        else:
            builder.add_image(ImageSource.file(path), captions)
    return builder.build(
        f"{str(folder)!r} has no images with captions: put captions.json, captions.txt or a name.txt for each name.jpg "
        "into it, or name the captions file"
    )


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


def _coco(document: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    captions: defaultdict[Any, list[str]] = defaultdict(list)
    for annotation in document["annotations"]:
        if "caption" in annotation:
            captions[annotation["image_id"]].append(annotation["caption"])
    for image in document["images"]:
        yield image["file_name"], _non_empty(captions[image["id"]])


def _non_empty(captions: Iterable[str]) -> list[str]:
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


def _members(path: Path) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """Yields the key and the name of each image, .txt and .json, and what reads its bytes."""
    # Mapped, since a header may claim any size, and a file would make room for that before it reads.
    with (
        path.open("rb") as file,
        mmap(file.fileno(), 0, access=ACCESS_READ) as mapped,
        tarfile.open(fileobj=cast(BinaryIO, mapped), mode="r:") as archive,
    ):
        while (member := archive.next()) is not None:
            # tarfile keeps every member otherwise; its type stubs lack the list.
            archive.members = []  # type: ignore[attr-defined]
            folder, _, base = member.name.rpartition("/")
            if member.isfile() and (has_image_suffix(base) or base.endswith((".txt", ".json"))):
                if member.offset_data + member.size > len(mapped):
                    raise tarfile.ReadError(f"{member.name!r} is said to be larger than the file")
                # webdataset's key ends at the first dot of the file name.
                key = f"{folder}/{base.split('.', 1)[0]}"
                yield key, member.name, partial(read_part, path, member.offset_data, member.size)


def _captions_of_json(data: bytes) -> list[str]:
    try:
        caption = json.loads(data)["caption"]
        return _non_empty(caption if isinstance(caption, list) else [caption])
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
