"""Finds the remembered pictures that fit a query best, below one folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.features import EncodedPicture, PictureSource, encode_pictures
from clipcore.folder.contents import StoredFile, hash_of
from clipcore.folder.lazy_model import LazyModel
from clipcore.folder.paths import is_file, shown
from clipcore.folder.query import Term, combine, least_match
from clipcore.folder.store import FolderStore
from clipcore.folder.walk import Reach
from clipcore.types import Vectors
from clipcore.vector_index import VectorIndex


@dataclass(frozen=True, slots=True)
class Match:
    """One content. score: cosine. files: where it lies, at least once. weak: whether the score means little."""

    score: float
    files: tuple[StoredFile, ...]
    weak: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Best first. least: the cosine from which a match means something. searched: different contents that were
    compared. gone: better matches whose files have vanished since they were indexed."""

    matches: tuple[Match, ...]
    least: float
    searched: int
    gone: int


def search_folder(
    store: FolderStore,
    root: bytes,
    model: LazyModel,
    terms: Sequence[Term],
    *,
    top: int,
    at_least: float = -1.0,
    besides: Path | None = None,
    reach: Reach | None = None,
    updated: bool = False,
) -> Answer:
    """The `top` best of what the model has seen below the root, each content once, none below `at_least`.

    besides: a file that is no answer, such as the picture asked about; its copies are. reach: what it excludes by name
    is no answer either. updated: whether the index has just been brought up to date. Raises BadInput where nothing
    below the root is indexed or the query cannot be used, and WordsNotUnderstood.
    """
    index = _load_index(store, root, model.key, updated)
    vector = combine(terms, [_vector(term, model, store) for term in terms])
    least = least_match(terms, model.calibration)
    besides_key = None if besides is None else _key(besides)
    matches: list[Match] = []
    gone = 0
    wanted, done = top, 0
    while len(matches) < top and done < len(index):
        # Whatever is passed over makes the answer short, so more is asked for until it is not.
        hits = index.search(vector, wanted)
        fresh = [hit for hit in hits[done:] if hit.score >= at_least]
        files = store.files_of([hit.key for hit in fresh], root)
        for hit in fresh:
            wished = [file for file in files[hit.key] if reach is None or not reach.excludes(file.path, root)]
            existing = sorted((file for file in wished if is_file(file.path)), key=_is_link)
            gone += len(wished) > 0 and not existing
            others = tuple(file for file in existing if file.path != besides_key)
            if others:
                matches.append(Match(min(hit.score, 1.0), others, hit.score < least))
        if len(fresh) < len(hits) - done:
            break
        done, wanted = len(hits), 2 * wanted
    return Answer(tuple(matches[:top]), least, len(index), gone)


def _is_link(file: StoredFile) -> bool:
    """Real files stand before what leads to them."""
    return os.path.islink(file.path)  # noqa: PTH114 - bytes


def _load_index(store: FolderStore, root: bytes, model_key: str, updated: bool) -> VectorIndex:
    """Keys are contents. Raises BadInput, saying what to do, where there is nothing."""
    index: VectorIndex | None = None
    for contents, vectors in store.vectors_below(root, model_key):
        if index is None:
            index = VectorIndex(vectors.shape[1])
        index.add(contents, [0] * len(contents), vectors)
    if index is None:
        raise BadInput(_nothing_indexed(store, root, model_key, updated))
    return index


def _nothing_indexed(store: FolderStore, root: bytes, model_key: str, updated: bool) -> str:
    folder = shown(root)
    if updated:
        return f"There are no pictures below {folder}; check the path."
    others = store.census(root, model_key).others
    if others:
        names = ", ".join(key.split("@")[0] for key in others)
        return (
            f"{folder} is indexed with another model ({names}): choose that one with --model, or run "
            f"`clipcore index {folder}` with this one."
        )
    return f"Nothing is indexed below {folder} yet: run `clipcore index {folder}`, or add --index."


def _vector(term: Term, model: LazyModel, store: FolderStore) -> Vectors:
    return model.encode_words(term.words) if term.picture is None else _picture_vector(term.picture, model, store)


def _picture_vector(path: Path, model: LazyModel, store: FolderStore) -> Vectors:
    """Remembered pictures need no inference, and have unit length as well as float16 keeps it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"The picture {shown(str(path))} cannot be read: {error.strerror}.") from error
    known = store.vector_of(hash_of(data), model.key)
    if known is not None:
        return known
    source = PictureSource(str(path), lambda: data)
    (outcome,) = encode_pictures(model, [source], batch_size=1, workers=1)
    if isinstance(outcome, EncodedPicture):
        return outcome.vector
    raise BadInput(f"The picture {shown(str(path))} cannot be used: {outcome.reason}")


def _key(path: Path) -> bytes:
    """As the walk would have met it: the folder's true path, and the file's own name."""
    return os.fsencode(path.parent.resolve() / path.name)
