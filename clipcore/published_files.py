"""Downloads weights that their makers publish as one file, and lets nobody read them before they are checked.

An interrupted download goes on where it stopped. A file has its name only once its SHA-256 is right, so what is found
under that name needs no second look.
"""

from __future__ import annotations

import hashlib
import logging
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import platformdirs
from filelock import FileLock

from clipcore.catalogue import PublishedFile
from clipcore.errors import ModelUnavailable

log = logging.getLogger(__name__)

_SECONDS = 10.0  # without a byte
_PIECE = 1 << 20
_PARTIAL_CONTENT, _NOT_SATISFIABLE = 206, 416


def find_or_download(published: PublishedFile, cache: Path | None = None, *, local_only: bool = False) -> Path:
    """The file on this machine, downloaded if need be. Raises ModelUnavailable with one sentence that says what to do.

    cache: the folder for such files, in place of the user's own. local_only: never ask the network.
    """
    folder = cache or platformdirs.user_cache_path("clipcore") / "models"
    path = folder / published.sha256 / published.name
    if not path.is_file():
        if local_only:
            raise ModelUnavailable(f"The model file {published.name} is not on this machine; {_by_hand(published)}.")
        _download(published, path)
    return path


def _download(published: PublishedFile, path: Path) -> None:
    """Another process that wants the same file waits, since two writing at once would spoil what both have checked."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent.with_suffix(".lock")):
            if not path.is_file():
                _download_alone(published, path)
    except HTTPError as error:
        error.close()
        raise _unavailable(published, f"the server answered HTTP {error.code}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _unavailable(published, getattr(reason, "strerror", None) or type(reason).__name__) from error


def _download_alone(published: PublishedFile, path: Path) -> None:
    """Raises OSError, HTTPException and ModelUnavailable."""
    part = path.with_name(f"{path.name}.part")
    log.info("downloading %s; this happens once and can take minutes", published.url)
    digest = _fill(part, published.url)
    if digest != published.sha256:
        part.unlink()
        raise _unavailable(published, "what arrived is not what was published")
    part.replace(path)


def _fill(part: Path, url: str) -> str:
    """The SHA-256 of what is there in the end. Raises OSError and HTTPException; what has arrived stays."""
    digest = _digest(part)
    there = part.stat().st_size if part.exists() else 0
    try:
        response = _ask(url, there)
    except HTTPError as error:
        if error.code != _NOT_SATISFIABLE:
            raise
        error.close()
        return digest.hexdigest()  # nothing is missing
    with response:
        goes_on = response.status == _PARTIAL_CONTENT
        if not goes_on:
            digest, there = hashlib.sha256(), 0
        expected = response.length
        with part.open("ab" if goes_on else "wb") as file:
            while piece := response.read(_PIECE):
                file.write(piece)
                digest.update(piece)
            arrived = file.tell() - there
    if expected is not None and arrived < expected:
        raise ConnectionError("The connection broke off.")
    return digest.hexdigest()


def _digest(part: Path) -> hashlib._Hash:
    if not part.exists():
        return hashlib.sha256()
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _ask(url: str, there: int) -> HTTPResponse:
    headers = {"User-Agent": "clipcore"} | ({"Range": f"bytes={there}-"} if there else {})
    response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=_SECONDS)  # noqa: S310 - ours, not a user's
    return response


def _unavailable(published: PublishedFile, why: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"The model file {published.name} is not on this machine and could not be downloaded ({why}); try again, or "
        f"{_by_hand(published)}."
    )


def _by_hand(published: PublishedFile) -> str:
    return f"fetch {published.url} on a machine with internet, copy it here and give its path as the model"
