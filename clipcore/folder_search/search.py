"""Finds the remembered images that fit a query best, below one folder."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipcore.encoding.batch import EncodedImage, ImageSource, encode_images
from clipcore.errors import BadInput
from clipcore.folder_search.paths import from_home, is_file, shown, visible
from clipcore.folder_search.store import FolderStore, StoredFile, hash_of
from clipcore.images.formats import SUFFIXES, sniff, unsupported_name
from clipcore.images.walk import WalkFilter
from clipcore.index.vector_index import VectorIndex
from clipcore.models.checkpoint import find_checkpoint
from clipcore.types import Box, Calibration, Encoder, ModelCard, Pixels, Vectors
from clipcore.zero_shot import mean_direction

_MULTIPLIER = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(.+)", re.DOTALL)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_HEAD = 4096
# Two unit vectors that all but cancel leave only rounding behind.
_SHORTEST = 1e-3


@dataclass(frozen=True, slots=True)
class Term:
    """Words, or an image's file. weight: how much it counts; below 0 it is taken away."""

    weight: float
    words: str = ""
    image: Path | None = None


def written(terms: Sequence[Term]) -> tuple[str, ...]:
    """As people read them: `sofa`, `+ 2 × beach`, `− crowd`."""
    return tuple(_written(term, is_first=not number) for number, term in enumerate(terms))


def _written(term: Term, *, is_first: bool) -> str:
    sign = "− " if term.weight < 0 else "" if is_first else "+ "
    size = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} × "
    return f"{sign}{size}{term.words if term.image is None else visible(term.image.name)}"


def parse_query(words: Sequence[str], plus: Sequence[str], minus: Sequence[str]) -> list[Term]:
    """words: what stands first; several are one phrase, unless there is an image among them. Raises BadInput."""
    if len(words) > 1 and (images := [word for word in words if _image(word) is not None]):
        raise BadInput(f"Write + or - before each part beside the image {images[0]!r}, such as +'at night'.")
    first = [parse_term(" ".join(words))] if words else []
    if len(words) > 1 and first[0].image is None:
        for word in words:
            _check_words(word)
    terms = [*first, *(parse_term(text) for text in plus), *(parse_term(text, -1) for text in minus)]
    if not any(term.weight > 0 for term in terms):
        raise BadInput("Say what to look for: words, or the path of an image. What is only left out finds nothing.")
    return terms


def parse_term(text: str, sign: int = 1) -> Term:
    """`beach`, `2:beach`, `dog.jpg`, `0.5:dog.jpg`. What is the file of an image is an image, all else are words.

    Raises BadInput for addresses, for what is plainly meant as a file and is none, and for nothing at all.
    """
    if (found := _image(text)) is not None:
        return Term(float(sign), image=found)
    weight, rest = 1.0, text
    if match := _MULTIPLIER.fullmatch(text):
        weight, rest = float(match[1]), match[2]
    if weight == 0:
        raise BadInput(f"In {text!r} the multiplier is 0; leave that part out instead.")
    if (found := _image(rest)) is not None:
        return Term(sign * weight, image=found)
    words = " ".join(rest.split())
    _check_words(words)
    return Term(sign * weight, words=words)


def parse_image(text: str) -> Term:
    """The file of an image, and nothing else; whether it is one, reading it will tell. Raises BadInput."""
    path = from_home(text)
    if is_file(path):
        return Term(1.0, image=path)
    _check_is_no_address(text)
    words = not path.suffix and "/" not in text
    raise BadInput(
        f"There is no image {shown(text)!r}; " + ("for words use `clipcore search`." if words else "check the path.")
    )


def combine(terms: Sequence[Term], vectors: Sequence[Vectors]) -> Vectors:
    """The weighted sum of unit vectors, float32 [dim] each, brought to unit length again.

    Raises BadInput where the parts cancel each other out.
    """
    total = sum((np.float32(term.weight) * vector for term, vector in zip(terms, vectors, strict=True)), np.float32(0))
    length = float(np.linalg.norm(total))
    if length < _SHORTEST:
        raise BadInput("The parts of this query cancel each other out; leave one away.")
    unit: Vectors = np.asarray(total / length, np.float32)
    return unit


def match_threshold(terms: Sequence[Term], calibration: Calibration) -> float:
    """The cosine from which a match means something. Of words and images together it is their weighted mean: a
    starting point, since nobody measured mixtures.
    """
    wanted = [term for term in terms if term.weight > 0]
    lines = [calibration.text_match if term.image is None else calibration.image_match for term in wanted]
    return float(np.average(lines, weights=[term.weight for term in wanted]))


def _image(text: str) -> Path | None:
    path = from_home(text)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):  # too long for a name, or a NUL in it: words
        return None
    is_image = sniff(head) is not None or unsupported_name(head) is not None
    return path if is_image or path.suffix.lower() in SUFFIXES else None


def _check_words(words: str) -> None:
    if not words:
        raise BadInput('A part of the query is empty; write words such as "a red car", or the path of an image.')
    _check_is_no_address(words)
    looks_like_path = words.startswith(("./", "../", "/", "~/"))
    if looks_like_path or (" " not in words and Path(words).suffix.lower() in SUFFIXES):
        raise BadInput(f"There is no image {shown(words)!r}; check the path, or use other words.")


def _check_is_no_address(text: str) -> None:
    if _ADDRESS.match(text):
        raise BadInput("Images are not fetched from the web; save it and give the file's path.")


class LazyModel:
    """key: as ModelCard's. Encodes as the model does, loading it the first time; any thread may be the first."""

    def __init__(self, key: str, calibration: Calibration, load: Callable[[], Encoder]) -> None:
        self.key = key
        self._calibration = calibration
        self._load = load
        self._loaded: Encoder | None = None
        self._lock = threading.Lock()

    @classmethod
    def named(cls, name: str, load: Callable[[], Encoder]) -> LazyModel:
        """Downloads the checkpoint if need be. Raises ModelUnavailable."""
        checkpoint = find_checkpoint(name)
        card = ModelCard(checkpoint.id, checkpoint.revision, 0, 0, 0, 1.0)
        return cls(card.key, checkpoint.calibration(), load)

    @property
    def calibration(self) -> Calibration:
        """What the files say until the model is loaded; then its own, since only its weights tell how it scales."""
        return self._calibration if self._loaded is None else self._loaded.calibration

    @property
    def card(self) -> ModelCard:
        return self._model.card

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        return self._model.prepare(pixels, box)

    def encode_prepared(self, batch: Pixels) -> Vectors:
        return self._model.encode_prepared(batch)

    @property
    def runs_on_cpu(self) -> bool:
        return self._model.runs_on_cpu

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._model.encode_texts(texts)

    def encode_words(self, words: str) -> Vectors:
        """What a person typed -> float32 [dim], unit length: the mean over the templates that suit the model.

        Raises TextNotSupported where the model sees images alone.
        """
        return mean_direction(self.encode_texts(self.card.prompts.for_query(words)))

    @property
    def _model(self) -> Encoder:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
                if self._loaded.card.key != self.key:
                    raise RuntimeError(f"{self.key} was promised, {self._loaded.card.key} was loaded")
            return self._loaded


@dataclass(frozen=True, slots=True)
class Match:
    """One content. score: cosine. files: where it lies, at threshold once. weak: whether the score means little."""

    score: float
    files: tuple[StoredFile, ...]
    weak: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Best first. threshold: the score from which a match means something. searched: different contents that were
    compared. gone: better matches whose files have vanished since they were indexed."""

    matches: tuple[Match, ...]
    threshold: float
    searched: int
    gone: int


def search_folder(
    store: FolderStore,
    root: bytes,
    model: LazyModel,
    terms: Sequence[Term],
    *,
    top: int,
    min_score: float = -1.0,
    exclude_file: Path | None = None,
    filter_: WalkFilter | None = None,
    updated: bool = False,
) -> Answer:
    """Returns the `top` best images below the root that this model has encoded, each content once, none below
    `min_score`.

    exclude_file: never a match itself, such as the query's own image; its copies may be. filter_: what it excludes by
    name is no match either. updated: whether the index was just updated, for the error message. Raises BadInput if
    nothing below the root is indexed or the query cannot be used, and TextNotSupported.
    """
    index = _load_index(store, root, model.key, updated)
    vector = combine(terms, [_vector(term, model, store) for term in terms])
    threshold = match_threshold(terms, model.calibration)
    besides_key = None if exclude_file is None else _key(exclude_file)
    matches: list[Match] = []
    gone = 0
    wanted, done = top, 0
    while len(matches) < top and done < len(index):
        # Whatever is passed over makes the answer short, so more is asked for until it is not.
        hits = index.search(vector, wanted)
        fresh = [hit for hit in hits[done:] if hit.score >= min_score]
        files = store.files_of([hit.key for hit in fresh], root)
        for hit in fresh:
            wished = [file for file in files[hit.key] if filter_ is None or not filter_.excludes(file.path, root)]
            existing = sorted((file for file in wished if is_file(file.path)), key=_is_link)
            gone += len(wished) > 0 and not existing
            others = tuple(file for file in existing if file.path != besides_key)
            if others:
                matches.append(Match(min(hit.score, 1.0), others, hit.score < threshold))
        if len(fresh) < len(hits) - done:
            break
        done, wanted = len(hits), 2 * wanted
    return Answer(tuple(matches[:top]), threshold, len(index), gone)


def _is_link(file: StoredFile) -> bool:
    """Real files stand before what leads to them."""
    return os.path.islink(file.path)  # noqa: PTH114 - bytes


def _load_index(store: FolderStore, root: bytes, model_key: str, updated: bool) -> VectorIndex:
    """Keys are contents. Raises BadInput, saying what to do, where there is nothing."""
    index: VectorIndex | None = None
    for contents, vectors in store.vectors_below(root, model_key):
        if index is None:
            index = VectorIndex(vectors.shape[1])
        index.add(vectors, contents)
    if index is None:
        raise BadInput(_nothing_indexed(store, root, model_key, updated))
    return index


def _nothing_indexed(store: FolderStore, root: bytes, model_key: str, updated: bool) -> str:
    folder = shown(root)
    if updated:
        return f"There are no images below {folder}; check the path."
    others = store.census(root, model_key).others
    if others:
        names = ", ".join(key.split("@")[0] for key in others)
        return (
            f"{folder} is indexed with another model ({names}): choose that one with --model, or run "
            f"`clipcore index {folder}` with this one."
        )
    return f"Nothing is indexed below {folder} yet: run `clipcore index {folder}`, or leave out --no-index."


def _vector(term: Term, model: LazyModel, store: FolderStore) -> Vectors:
    return model.encode_words(term.words) if term.image is None else _image_vector(term.image, model, store)


def _image_vector(path: Path, model: LazyModel, store: FolderStore) -> Vectors:
    """Remembered images need no inference, and have unit length as well as float16 keeps it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"The image {shown(str(path))} cannot be read: {error.strerror}.") from error
    known = store.vector_of(hash_of(data), model.key)
    if known is not None:
        return known
    source = ImageSource(str(path), lambda: data)
    (outcome,) = encode_images(model, [source], batch_size=1, workers=1)
    if isinstance(outcome, EncodedImage):
        return outcome.embedding
    raise BadInput(f"The image {shown(str(path))} cannot be used: {outcome.reason}")


def _key(path: Path) -> bytes:
    """As the walk would have met it: the folder's true path, and the file's own name."""
    return os.fsencode(path.parent.resolve() / path.name)
