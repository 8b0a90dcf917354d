"""Searches the indexed images below a folder."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipcore.encoding.batch import EncodedImage, ImageSource, encode_sources
from clipcore.errors import BadInput
from clipcore.folder_search.paths import from_home, is_file, path_of, shown, visible
from clipcore.folder_search.store import FolderStore, StoredFile, hash_of
from clipcore.images.formats import SUFFIXES, sniff, unsupported_name
from clipcore.images.walk import WalkFilter
from clipcore.index.vector_index import VectorIndex
from clipcore.models.checkpoint import find_checkpoint
from clipcore.types import Box, Calibration, Encoder, ModelCard, Pixels, SearchHit, Vectors
from clipcore.zero_shot import mean_direction


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a query: a text or an image's file. weight: below 0 it is subtracted."""

    weight: float
    text: str = ""
    image: Path | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """One content. score: cosine. files: all that have this content, at least one. weak: whether the score lies below
    the model's threshold."""

    score: float
    files: tuple[StoredFile, ...]
    weak: bool

    @property
    def path(self) -> Path:
        return path_of(self.files[0].path)

    def __repr__(self) -> str:
        return f"{self.path}: {self.score:.3f}"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """matches: best first. threshold: the model's, below which a match is weak. searched: how many different contents
    were compared. gone: better matches whose files no longer exist."""

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
) -> SearchResult:
    """Returns the `top` best images below the root that this model has encoded, each content once, none below
    `min_score`.

    exclude_file: is never a match, such as the query's own image; its copies may be. filter_: names that it excludes
    are no matches. updated: whether the index was just updated, for the error message. Raises BadInput if nothing
    below the root is indexed or the query cannot be used, and TextNotSupported.
    """
    filter_ = filter_ or WalkFilter()
    index = _load_index(store, root, model.key, updated)
    vector = combine(terms, [_embedding(term, model, store) for term in terms])
    threshold = match_threshold(terms, model.calibration)
    # As the walk spells it: the folder's true path and the file's own name.
    excluded = None if exclude_file is None else os.fsencode(exclude_file.parent.resolve() / exclude_file.name)
    matches: list[Match] = []
    gone = 0
    for hit in _hits(index, vector, top):
        if hit.score < min_score or len(matches) == top:
            break
        files = [file for file in store.files_of(hit.key, root) if not filter_.excludes(file.path, root)]
        existing = [file for file in files if is_file(file.path)]
        existing.sort(key=lambda file: os.path.islink(file.path))  # noqa: PTH114 - bytes
        gone += bool(files) and not existing
        if found := tuple(file for file in existing if file.path != excluded):
            matches.append(Match(min(hit.score, 1.0), found, hit.score < threshold))
    return SearchResult(tuple(matches), threshold, len(index), gone)


def parse_query(texts: Sequence[str], plus: Sequence[str], minus: Sequence[str]) -> list[Term]:
    """texts: the unsigned part; several are one phrase, so none of them may be an image. Raises BadInput."""
    if len(texts) > 1 and (images := [text for text in texts if _image(text) is not None]):
        raise BadInput(f"Write + or - before each part beside the image {images[0]!r}, such as +'at night'.")
    first = [parse_term(" ".join(texts))] if texts else []
    if len(texts) > 1 and first[0].image is None:
        for text in texts:
            _check_text(text)
    terms = [*first, *(parse_term(text) for text in plus), *(parse_term(text, -1) for text in minus)]
    if not any(term.weight > 0 for term in terms):
        raise BadInput("Say what to look for: words, or the path of an image. What is only left out finds nothing.")
    return terms


def parse_term(text: str, sign: int = 1) -> Term:
    """Parses `beach`, `2:beach`, `dog.jpg` or `0.5:dog.jpg`: the path of an image is an image, all else is text.

    Raises BadInput for URLs, for paths of images that do not exist, and for an empty text.
    """
    weight, rest = 1.0, text
    if _image(text) is None and (match := _MULTIPLIER.fullmatch(text)):
        weight, rest = float(match[1]), match[2]
    if weight == 0:
        raise BadInput(f"In {text!r} the multiplier is 0; leave that part out instead.")
    if (image := _image(rest)) is not None:
        return Term(sign * weight, image=image)
    rest = " ".join(rest.split())
    _check_text(rest)
    return Term(sign * weight, rest)


def parse_image(text: str) -> Term:
    """Takes a file's path; the file is not read. Raises BadInput."""
    path = from_home(text)
    if is_file(path):
        return Term(1.0, image=path)
    _check_is_no_url(text)
    raise BadInput(f"There is no image {shown(text)!r}; check the path, or use `clipcore search` for words.")


def describe_terms(terms: Sequence[Term]) -> tuple[str, ...]:
    """Formats each term for people: `sofa`, `+ 2 × beach`, `− crowd`."""
    described = []
    for number, term in enumerate(terms):
        sign = "− " if term.weight < 0 else "+ " if number else ""
        factor = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} × "
        described.append(f"{sign}{factor}{term.text if term.image is None else visible(term.image.name)}")
    return tuple(described)


def combine(terms: Sequence[Term], vectors: Sequence[Vectors]) -> Vectors:
    """Returns the weighted sum of unit vectors, float32 [dim] each, scaled to unit length.

    Raises BadInput where the terms cancel each other out.
    """
    total = np.array([term.weight for term in terms], np.float32) @ np.stack(vectors)
    length = float(np.linalg.norm(total))
    if length < _MIN_LENGTH:
        raise BadInput("The parts of this query cancel each other out; leave one away.")
    unit: Vectors = np.asarray(total / length, np.float32)
    return unit


def match_threshold(terms: Sequence[Term], calibration: Calibration) -> float:
    """Returns the cosine below which a match is weak. For text and images together it is the weighted mean of both
    thresholds: an approximation, since mixtures were not measured.
    """
    added = [term for term in terms if term.weight > 0]
    thresholds = [calibration.text_threshold if term.image is None else calibration.image_threshold for term in added]
    return float(np.average(thresholds, weights=[term.weight for term in added]))


class LazyModel:
    """An encoder that is loaded on first use, by any thread. key: the ModelCard's, known before loading."""

    def __init__(self, key: str, calibration: Calibration, load: Callable[[], Encoder]) -> None:
        self.key = key
        self._calibration = calibration
        self._load = load
        self._loaded: Encoder | None = None
        self._lock = threading.Lock()

    @classmethod
    def named(cls, name: str, load: Callable[[], Encoder]) -> LazyModel:
        """Downloads the checkpoint if it is not on this machine. Raises ModelUnavailable."""
        checkpoint = find_checkpoint(name)
        card = ModelCard(checkpoint.id, checkpoint.revision, 0, 0, 0, 1.0)
        return cls(card.key, checkpoint.calibration(), load)

    @property
    def calibration(self) -> Calibration:
        """The checkpoint's own, or once the model is loaded the model's: SigLIP's depends on the weights."""
        return self._calibration if self._loaded is None else self._loaded.calibration

    @property
    def card(self) -> ModelCard:
        return self._model.card

    @property
    def runs_on_cpu(self) -> bool:
        return self._model.runs_on_cpu

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        return self._model.prepare(pixels, box)

    def encode_prepared(self, batch: Pixels) -> Vectors:
        return self._model.encode_prepared(batch)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._model.encode_texts(texts)

    @property
    def _model(self) -> Encoder:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
                if self._loaded.card.key != self.key:
                    raise RuntimeError(f"Expected the model {self.key}, but {self._loaded.card.key} was loaded.")
            return self._loaded


def _load_index(store: FolderStore, root: bytes, model_key: str, updated: bool) -> VectorIndex:
    """Keys are content ids. Raises BadInput where nothing is indexed."""
    index: VectorIndex | None = None
    for contents, vectors in store.vectors_below(root, model_key):
        if index is None:
            index = VectorIndex(vectors.shape[1])
        index.add(vectors, contents)
    if index is not None:
        return index
    folder = shown(root)
    if updated:
        raise BadInput(f"There are no images below {folder}; check the path.")
    if others := sorted(store.count_images(root)):
        names = ", ".join(key.split("@")[0] for key in others)
        raise BadInput(
            f"{folder} is indexed with another model ({names}): choose that one with --model, or run "
            f"`clipcore index {folder}` with this one."
        )
    raise BadInput(f"Nothing is indexed below {folder} yet: run `clipcore index {folder}`, or leave out --no-index.")


def _hits(index: VectorIndex, vector: Vectors, top: int) -> Iterator[SearchHit]:
    """Yields every hit, best first: `top` of them, and twice as many each time the caller needs more."""
    done, wanted = 0, top
    while done < len(index):
        hits = index.search(vector, wanted)
        yield from hits[done:]
        done, wanted = len(hits), 2 * wanted


def _embedding(term: Term, model: LazyModel, store: FolderStore) -> Vectors:
    """float32 [dim]. An indexed image needs no inference, and its stored float16 has unit length up to rounding."""
    if term.image is None:
        return mean_direction(model.encode_texts(model.card.prompts.for_query(term.text)))
    name = shown(str(term.image))
    try:
        data = term.image.read_bytes()
    except OSError as error:
        raise BadInput(f"The image {name} cannot be read: {error.strerror}.") from error
    known = store.vector_of(hash_of(data), model.key)
    if known is not None:
        return known
    (outcome,) = encode_sources(model, [ImageSource(name, lambda: data)], batch_size=1, workers=1)
    if isinstance(outcome, EncodedImage):
        return outcome.embedding
    raise BadInput(f"The image {name} cannot be used: {outcome.reason}")


def _image(text: str) -> Path | None:
    path = from_home(text)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):  # too long for a name, or a NUL in it: it is text
        return None
    is_image = sniff(head) is not None or unsupported_name(head) is not None
    return path if is_image or path.suffix.lower() in SUFFIXES else None


def _check_text(text: str) -> None:
    if not text:
        raise BadInput('A part of the query is empty; write words such as "a red car", or the path of an image.')
    _check_is_no_url(text)
    looks_like_path = text.startswith(("./", "../", "/", "~/"))
    if looks_like_path or (" " not in text and Path(text).suffix.lower() in SUFFIXES):
        raise BadInput(f"There is no image {shown(text)!r}; check the path, or use other words.")


def _check_is_no_url(text: str) -> None:
    if _URL.match(text):
        raise BadInput("Images are not fetched from the web; save it and give the file's path.")


_MULTIPLIER = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(.+)", re.DOTALL)
_URL = re.compile(r"https?://", re.IGNORECASE)
_HEAD_BYTES = 4096
# The sum of two unit vectors that cancel each other out is rounding alone.
_MIN_LENGTH = 1e-3
