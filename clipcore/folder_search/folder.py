"""A folder of images as a Python object: `clipcore.Folder("photos").search("a cat")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.folder_search.duplicates import find_duplicates, near_threshold
from clipcore.folder_search.paths import path_of, root_of
from clipcore.folder_search.search import LazyModel, Match, Term, parse_image, parse_query, search_folder
from clipcore.folder_search.store import FolderStore, default_location
from clipcore.folder_search.sync import FileStatus, Step, index_folder
from clipcore.model import ClipModel
from clipcore.models.known_models import LIBRARY_MODEL


class Folder:
    """Searches the images below a folder. The index is the one that `clipcore index` and `clipcore search` use.

    model: a name, a directory or a loaded ClipModel. index_file: another SQLite file than the user's own. New and
    changed files are encoded before each search unless `update=False`; `skipped` names those that could not be read.
    Raises BadInput where the folder does not exist, and ModelUnavailable.
    """

    def __init__(
        self,
        path: str | Path,
        model: str | ClipModel = LIBRARY_MODEL,
        *,
        index_file: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        self._root = root_of(path)
        self._index_file = default_location() if index_file is None else Path(index_file)
        if isinstance(model, ClipModel):
            self._model = LazyModel(model.card.key, model.calibration, lambda: model)
        else:
            self._model = LazyModel.named(model, lambda: ClipModel.load(model, device=device))
        self.skipped: dict[Path, str] = {}

    def __repr__(self) -> str:
        return f"Folder({str(path_of(self._root))!r}, model={self._model.key!r})"

    def update(self) -> int:
        """Brings the index up to date and returns how many images can be searched."""
        with self._opened() as store:
            return store.count_images(self._root)[self._model.key]

    def search(
        self,
        query: str | Path | Iterable[str],
        *,
        minus: Iterable[str] = (),
        top: int = 10,
        min_score: float = -1.0,
        update: bool = True,
    ) -> list[Match]:
        """Returns the best matches for a text, an image's path, or several of them added up; best first.

        minus: texts or images to steer away from. A part may have a weight: "2:a red car".
        """
        parts = [query] if isinstance(query, str) else [str(query)] if isinstance(query, Path) else [*query]
        return self._search(parse_query(parts[:1], parts[1:], [*minus]), top, min_score, update)

    def similar(self, image: str | Path, *, top: int = 10, min_score: float = -1.0, update: bool = True) -> list[Match]:
        """Returns the images that look most like this one, which need not lie in the folder; never the file itself."""
        term = parse_image(str(image))
        return self._search([term], top, min_score, update, exclude_file=term.image)

    def duplicates(self, *, min_score: float | None = None, update: bool = True) -> list[list[Path]]:
        """Returns groups of images that are identical or nearly so; the first of a group has the most pixels."""
        threshold = near_threshold(self._model.calibration) if min_score is None else min_score
        with self._opened(update) as store:
            groups = find_duplicates(store, self._root, self._model.key, min_score=threshold)
        return [[path_of(copy.file.path) for copy in group.copies] for group in groups]

    def _search(
        self, terms: list[Term], top: int, min_score: float, update: bool, *, exclude_file: Path | None = None
    ) -> list[Match]:
        if top < 1:
            raise BadInput(f"top is {top}; it must be at least 1.")
        with self._opened(update) as store:
            result = search_folder(
                store,
                self._root,
                self._model,
                terms,
                top=top,
                min_score=min_score,
                exclude_file=exclude_file,
                updated=update,
            )
        return list(result.matches)

    @contextmanager
    def _opened(self, update: bool = True) -> Iterator[FolderStore]:
        """The index, brought up to date first."""

        def observe(step: Step) -> None:
            if step.status in (FileStatus.BROKEN, FileStatus.UNREADABLE):
                self.skipped[path_of(step.path)] = step.reason

        with FolderStore(self._index_file) as store:
            if update:
                self.skipped = {}
                index_folder(store, self._root, self._model, observe, keep_filtered=True)
            yield store
