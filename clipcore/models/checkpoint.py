"""Finding a checkpoint's files: in a directory, in the hub's cache, or, only if need be, by downloading them.

What is in the cache is used without asking the hub, so a bot restarts without a network and never changes its model
by itself.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import platformdirs
from filelock import FileLock

from clipcore.errors import ModelUnavailable
from clipcore.files import read_object
from clipcore.images.preprocess import preprocessing_file
from clipcore.models.catalogue import DEFAULT_MODEL, PublishedFile, available_models, read_calibration, resolve
from clipcore.models.easynlp_files import easynlp_layout
from clipcore.prompts import CHINESE, PHOTOGRAPHS, Prompts, read_prompts
from clipcore.types import Calibration

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


_HOW = "CLIP_MODEL (the bot) or --model (the command)"
_FILE_ENDINGS = (".pt", ".pth", ".bin", ".safetensors")
_PROBE_SECONDS = 10.0
# By `model_type` in config.json: what sees images alone, and so has no tokenizer.
IMAGE_ONLY = ("dinov2", "dinov2_with_registers", "resnet")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
# Safetensors are preferred; PyTorch's own format is read as weights only (torch >= 2.6), so no code in it runs.
_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SMALL_FILES = ("*.json", "merges.txt", "vocab.txt", "*.model")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """id and revision as vectors will name them; directory: everything that `from_pretrained` needs.

    file: where the weights are one file alone (OpenAI's `.pt`), and the directory is merely where it lies.
    """

    id: str
    revision: str
    directory: Path
    file: Path | None = None

    def calibration(self, *, logit_scale: float = 1.0, logit_bias: float = 0.0) -> Calibration:
        """As `read_calibration`. Several models may lie in one folder as files, so there it bears the file's name:
        `RN50.calibration.json` beside `RN50.pt`.
        """
        path = self.file.with_suffix(".calibration.json") if self.file else self.directory / "calibration.json"
        return read_calibration(self.id, path, logit_scale=logit_scale, logit_bias=logit_bias)

    @property
    def prompts(self) -> Prompts:
        """As `read_prompts`, else what suits the captions that the model learnt from; of a file alone nothing is known
        but that it is CLIP.
        """
        if self.file:
            return PHOTOGRAPHS
        config = read_object(self.directory / "config.json")
        text = config.get("text_config")
        towers = [config.get("model_type"), text.get("model_type") if isinstance(text, dict) else None]
        chinese = any(str(tower).startswith("chinese_clip") for tower in towers)
        return read_prompts(self.directory / "prompts.json", CHINESE if chinese else PHOTOGRAPHS)


def find_checkpoint(name: str, *, local_only: bool = False) -> Checkpoint:
    """The checkpoint's files on this disk. Raises ModelUnavailable with one sentence that says what to do."""
    model = resolve(name)
    if model.file is not None:
        return Checkpoint(model.id, _revision(model.file), model.file.parent, model.file)
    if model.directory is not None:
        if missing := _missing(model.directory):
            raise ModelUnavailable(
                f"The model directory {name!r} has no {missing}; it must hold a complete CLIP checkpoint."
            )
        revision = model.revision or _fingerprint(model.directory)
        return Checkpoint(model.id, revision[:12], model.directory)
    if model.published is not None:
        file = find_or_download(model.published, local_only=local_only)
        return Checkpoint(model.id, model.published.sha256[:12], file.parent, file)
    if model.id.endswith(_FILE_ENDINGS) or "/" not in model.id:
        raise _no_such_model(model.id)
    directory = _cached(model.id)
    if directory is None:
        if local_only:
            raise _unavailable_checkpoint(model.id, "is not on this machine")
        directory = _download_checkpoint(model.id)
    return Checkpoint(model.id, directory.name[:12], directory)


def is_on_this_machine(name: str) -> bool:
    """Whether a model can be loaded without a network."""
    try:
        find_checkpoint(name, local_only=True)
    except ModelUnavailable:
        return False
    return True


def _cached(repository: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        directory = Path(snapshot_download(repository, local_files_only=True, allow_patterns=list(_SMALL_FILES)))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise _no_such_model(repository) from error
    return None if _missing(directory) else directory


def _download_checkpoint(repository: str) -> Path:
    """One quick question first: with no network it fails in seconds, where a download would retry for minutes."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        info = HfApi().model_info(repository, timeout=_PROBE_SECONDS)
        files = [file.rfilename for file in info.siblings or ()]
        log.info("downloading the model %s; this happens once and can take minutes", repository)
        directory = Path(snapshot_download(repository, allow_patterns=_wanted(files)))
    except HfHubHTTPError as error:
        raise _unavailable_checkpoint(repository, _refusal(error.response.status_code)) from error
    except Exception as error:
        # The hub's client lets its HTTP library's errors through, and which library that is changed before.
        raise _unavailable_checkpoint(
            repository, f"is not on this machine and could not be downloaded ({type(error).__name__})"
        ) from error
    if missing := _missing(directory):
        raise ModelUnavailable(
            f"The model {repository!r} has no {missing}: it is not a CLIP checkpoint that can be loaded."
        )
    return directory


def _refusal(status: int) -> str:
    if status in (401, 403, 404):
        return f"does not exist on the hub or needs a login (HTTP {status})"
    return f"could not be downloaded: the hub answered HTTP {status}"


def _wanted(files: list[str]) -> list[str]:
    """Patterns for the small files and one kind of weights, so that a repository's copies for other libraries stay
    there.
    """
    safe = any(file.startswith("model") and file.endswith(".safetensors") for file in files)
    return [*_SMALL_FILES, "model*.safetensors" if safe else "pytorch_model*.bin"]


def _missing(directory: Path) -> str | None:
    """What a complete checkpoint would have and this directory has not, in words."""
    if not (directory / "config.json").is_file():
        return "config.json"
    if preprocessing_file(directory) is None and easynlp_layout(directory) is None:
        return "preprocessor_config.json"
    if model_type(directory) not in IMAGE_ONLY and not any((directory / file).is_file() for file in _TOKENIZER_FILES):
        return "tokenizer files"
    weights = next((directory / file for file in _WEIGHT_FILES if (directory / file).is_file()), None)
    if weights is None:
        return "weights (model.safetensors)"
    return next((file for file in _shards(weights) if not (directory / file).is_file()), None)


def model_type(directory: Path) -> object:
    """What its config.json calls the family. Raises ModelUnavailable where that is broken."""
    return read_object(directory / "config.json").get("model_type")


def _shards(weights: Path) -> set[str]:
    if weights.suffix != ".json":
        return set()
    placed = read_object(weights).get("weight_map")
    if not isinstance(placed, dict):
        raise ModelUnavailable(f"The model's file {str(weights)!r} is broken; delete it and download the model again.")
    return set(map(str, placed.values()))


def _fingerprint(directory: Path) -> str:
    """A directory has no commit to name, so its weights name themselves: 12 hexadecimal digits of their SHA-256."""
    index = next(directory / file for file in _WEIGHT_FILES if (directory / file).is_file())
    digest = hashlib.sha256()
    for file in sorted(_shards(index)) or [index.name]:
        digest.update(_sha256(directory / file))
    return digest.hexdigest()[:12]


def _revision(file: Path) -> str:
    """12 hexadecimal digits of the file's SHA-256, which is how OpenAI names its files' directories, too."""
    return _sha256(file).hex()[:12]


def _sha256(file: Path) -> bytes:
    """Whoever asks for a model's name and then loads it looks twice, and reads gigabytes but once."""
    try:
        status = file.stat()
        return _read_sha256(file, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelUnavailable(f"The file {str(file)!r} cannot be read: {error.strerror}.") from error


@cache
def _read_sha256(file: Path, *_unchanged: int) -> bytes:
    with file.open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").digest()


def _no_such_model(name: str) -> ModelUnavailable:
    shown = repr(name) if len(name) < 100 else f"{name[:60]!r}…"
    return ModelUnavailable(
        f"{shown} is neither a file or directory on this machine nor a model's name{_near(name)}; give {_HOW} one of "
        f"those, such as {DEFAULT_MODEL}, or `bundled` for a trial."
    )


def _near(name: str) -> str:
    """For a slip of the pen."""
    near = get_close_matches(name, [known.name for known in available_models()], n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near else ""


def _unavailable_checkpoint(name: str, why: str) -> ModelUnavailable:
    """A directory of its own for the files, since the hub's cache holds links; named like the model, which is how its
    figures are found.
    """
    directory = name.rsplit("/", 1)[-1]
    return ModelUnavailable(
        f"The model {name!r}{_near(name)} {why}; on a machine with internet run "
        f"`hf download {name} --local-dir {directory}`, copy that directory here and give {_HOW} its "
        f"path, such as ./{directory}, or `bundled` for a trial without any download."
    )
