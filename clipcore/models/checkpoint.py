"""Finds a checkpoint's files: in a directory, in the hub's cache, or by downloading them.

What is cached is used without asking the hub, so a bot restarts without a network and keeps its model.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any

from clipcore.errors import ModelUnavailable
from clipcore.files import read_object
from clipcore.images.preprocess import Preprocessing, preprocessing_file
from clipcore.models.known_models import DEFAULT_MODEL, ModelName, list_models, read_calibration, resolve
from clipcore.prompts import CHINESE, PHOTOGRAPHS, Prompts, read_prompts
from clipcore.types import Calibration

log = logging.getLogger(__name__)

_HOW = "CLIP_MODEL (the bot) or --model (the command)"
_PROBE_SECONDS = 10.0
_FILE_ENDINGS = (".pt", ".pth", ".bin", ".safetensors")
# By `model_type` in config.json: models without a text tower, and so without a tokenizer.
IMAGE_ONLY = ("dinov2", "dinov2_with_registers", "resnet")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
# Safetensors are preferred; of PyTorch's own format only tensors are read, and no code in it runs.
_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SMALL_FILES = ("*.json", "merges.txt", "vocab.txt", "*.model")
# What a directory holds beside config and weights, and what a fine-tuned copy needs as well. A calibration is not among
# it: training moves the cosines.
_PROCESSOR_FILES = ("*processor_config.json", "*token*.json", "vocab.json", "vocab.txt", "merges.txt", "*.model")
# open_clip's names of its file of weights (open_clip/constants.py), the preferred one first.
_OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
OPEN_CLIP_CONFIG = "open_clip_config.json"
# The hub's copies of these two have no such file; open_clip has their descriptions in its own package
# (model_configs/xlm-roberta-base-ViT-B-32.json and xlm-roberta-large-ViT-H-14.json). By the last part of the id.
_UNDESCRIBED: dict[str, dict[str, Any]] = {
    "CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k": {
        "model_cfg": {"vision_cfg": {}, "text_cfg": {"hf_model_name": "xlm-roberta-base"}}
    },
    "CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k": {
        "model_cfg": {"vision_cfg": {"head_width": 80}, "text_cfg": {"hf_model_name": "xlm-roberta-large"}}
    },
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """id and revision as stored embeddings name them; directory: where its files are.

    file: where the weights are a single file (OpenAI's `.pt`, open_clip's); the directory is merely where it lies.
    """

    id: str
    revision: str
    directory: Path
    file: Path | None = None

    def calibration(self, *, logit_scale: float | None = None, logit_bias: float = 0.0) -> Calibration:
        """As `read_calibration`. Several single files may share a directory, so there it is named after the file:
        `RN50.calibration.json` beside `RN50.pt`.
        """
        path = self.file.with_suffix(".calibration.json") if self.file else self.directory / "calibration.json"
        return read_calibration(self.id, path, logit_scale=logit_scale, logit_bias=logit_bias)

    @property
    def prompts(self) -> Prompts:
        """As `read_prompts`, else what suits the captions that the model was trained on; a single file is CLIP's."""
        if self.file:
            return PHOTOGRAPHS
        config = read_object(self.directory / "config.json")
        text = config.get("text_config")
        towers = [config.get("model_type"), text.get("model_type") if isinstance(text, dict) else None]
        chinese = any(str(tower).startswith("chinese_clip") for tower in towers)
        return read_prompts(self.directory / "prompts.json", CHINESE if chinese else PHOTOGRAPHS)


def find_checkpoint(name: str | Path, *, local_only: bool = False, cache_dir: Path | None = None) -> Checkpoint:
    """The checkpoint's files on this machine. Raises ModelUnavailable with one sentence that says what to do.

    cache_dir: where the hub's files are kept, in place of the hub's own cache.
    """
    model = resolve(name)
    if model.file is not None:
        return Checkpoint(model.id, _sha256(model.file).hex()[:12], model.file.parent, model.file)
    if model.directory is not None:
        return _checkpoint_in(model.directory, model)
    repository = model.repository or model.id
    # A known name in other capitals is no repository of the hub: `vit-b/32`.
    misspelt = repository.lower() in (known.name.lower() for known in list_models())
    if misspelt or repository.endswith(_FILE_ENDINGS) or "/" not in repository:
        raise _no_such_model(repository)
    # The name alone decides which weights these are, whatever else of the repository the cache holds.
    missing = partial(_missing_single_file, model.id) if model.repository else _missing
    snapshot = _cached(repository, cache_dir)
    if snapshot is None or missing(snapshot):  # or a download was interrupted
        if local_only:
            raise _unavailable(repository, "is not on this machine")
        snapshot = _download(model, cache_dir)
        if lacking := missing(snapshot):
            raise ModelUnavailable(
                f"The model {repository!r} has no {lacking}: it is not a CLIP checkpoint that can be loaded."
            )
    file = _single_file(model.id, snapshot) if model.repository else None
    return Checkpoint(model.id, snapshot.name[:12], snapshot, file)


def is_on_this_machine(name: str) -> bool:
    """Whether a model can be loaded without a network."""
    try:
        find_checkpoint(name, local_only=True)
    except ModelUnavailable:
        return False
    return True


def preprocessing_of(checkpoint: Checkpoint) -> Preprocessing:
    """From the checkpoint's directory. Raises ModelUnavailable where there is none, or it cannot be followed."""
    file = preprocessing_file(checkpoint.directory)
    if file is None:
        raise ModelUnavailable(f"The model {checkpoint.id!r} does not say how to prepare images; download it again.")
    return Preprocessing.read(file)


def open_clip_description(model_id: str, directory: Path) -> dict[str, Any] | None:
    """What open_clip_config.json says, in that file or known by the model's name. Raises ModelUnavailable where it is
    broken.
    """
    path = directory / OPEN_CLIP_CONFIG
    return read_object(path) if path.is_file() else _UNDESCRIBED.get(model_id.rsplit("/", 1)[-1])


def copy_processor_files(source: Path, target: Path) -> None:
    """The tokenizer's and the preprocessing's files."""
    for pattern in _PROCESSOR_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, target / file.name)


def model_type(directory: Path) -> object:
    """The family, as config.json names it. Raises ModelUnavailable where that file is broken."""
    return read_object(directory / "config.json").get("model_type")


def weight_files(directory: Path) -> list[Path]:
    """The files with the weights, several where they are sharded; empty where there are none. They may be missing."""
    index = next((directory / file for file in _WEIGHT_FILES if (directory / file).is_file()), None)
    if index is None or index.suffix != ".json":
        return [] if index is None else [index]
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelUnavailable(f"The model's file {str(index)!r} is broken; delete it and download the model again.")
    return [directory / shard for shard in sorted(set(map(str, shards.values())))]


def _checkpoint_in(directory: Path, model: ModelName) -> Checkpoint:
    """A local directory, in either layout. Raises ModelUnavailable where a file is missing."""
    missing = _missing(directory)
    file = _single_file(model.id, directory) if missing else None
    if missing and not file:
        raise ModelUnavailable(
            f"The model {model.id!r} has no {missing}; {str(directory)!r} must hold a complete CLIP checkpoint."
        )
    revision = model.revision or (_sha256(file).hex() if file else _fingerprint(directory))
    return Checkpoint(model.id, revision[:12], directory, file)


def _cached(repository: str, cache_dir: Path | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # No patterns, since `find_checkpoint` looks which files are there.
        return Path(snapshot_download(repository, local_files_only=True, allow_patterns=[], cache_dir=cache_dir))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise _no_such_model(repository) from error


def _download(model: ModelName, cache_dir: Path | None) -> Path:
    """Asks a quick question first: without a network it fails in seconds, where a download would retry for minutes."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    repository = model.repository or model.id
    try:
        info = HfApi().model_info(repository, timeout=_PROBE_SECONDS)
        files = [file.rfilename for file in info.siblings or ()]
        log.info("downloading the model %s; this happens once and can take minutes", repository)
        wanted = _wanted_of_open_clip(files) if model.repository else _wanted(files)
        return Path(snapshot_download(repository, allow_patterns=wanted, cache_dir=cache_dir))
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = f"could not be downloaded: the hub answered HTTP {status}"
        if status in (401, 403, 404):
            why = f"does not exist on the hub or needs a login (HTTP {status})"
        raise _unavailable(repository, why) from error
    except Exception as error:
        # The hub's client lets its HTTP library's errors through, and which library that is has changed before.
        raise _unavailable(
            repository, f"is not on this machine and could not be downloaded ({type(error).__name__})"
        ) from error


def _wanted(files: Sequence[str]) -> list[str]:
    """Patterns for the small files and one kind of weights, without a repository's copies for other libraries."""
    safe = any(file.startswith("model") and file.endswith(".safetensors") for file in files)
    return [*_SMALL_FILES, "model*.safetensors" if safe else "pytorch_model*.bin"]


def _wanted_of_open_clip(files: Sequence[str]) -> list[str]:
    weights = next((file for file in _OPEN_CLIP_FILES if file in files), _OPEN_CLIP_FILES[0])
    return [OPEN_CLIP_CONFIG, "tokenizer.json", weights]


def _single_file(model_id: str, directory: Path) -> Path | None:
    """open_clip's weights, where they are described."""
    if open_clip_description(model_id, directory) is None:
        return None
    return next((directory / file for file in _OPEN_CLIP_FILES if (directory / file).is_file()), None)


def _missing_single_file(model_id: str, directory: Path) -> str | None:
    if _single_file(model_id, directory) is None:
        return "weights"
    undescribed = model_id.rsplit("/", 1)[-1] in _UNDESCRIBED
    return "tokenizer.json" if undescribed and not (directory / "tokenizer.json").is_file() else None


def _missing(directory: Path) -> str | None:
    """What a complete checkpoint would have and this directory has not."""
    if not (directory / "config.json").is_file():
        return "config.json"
    # EasyNLP's checkpoints have no preprocessing file; `open_checkpoint` refuses other directories without one.
    easynlp = all((directory / file).is_file() for file in ("pytorch_model.bin", "vocab.txt"))
    if preprocessing_file(directory) is None and not easynlp:
        return "preprocessor_config.json"
    tokenizer_files = [file for pattern in _TOKENIZER_FILES for file in directory.glob(pattern)]
    if model_type(directory) not in IMAGE_ONLY and not tokenizer_files:
        return "tokenizer files"
    files = weight_files(directory)
    return next((file.name for file in files if not file.is_file()), None) if files else "weights (model.safetensors)"


def _fingerprint(directory: Path) -> str:
    """A directory has no commit to name it, so its weights do: the SHA-256 of their files' SHA-256."""
    return hashlib.sha256(b"".join(map(_sha256, weight_files(directory)))).hexdigest()


def _sha256(file: Path) -> bytes:
    """Cached: naming a model and loading it both need it, and the file may have gigabytes."""
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
        f"{shown} is neither a file or directory on this machine nor a model's name{_suggestion(name)}; set {_HOW} to "
        f"one of those, such as {DEFAULT_MODEL}, or to `bundled` for a trial."
    )


def _suggestion(name: str) -> str:
    names = {known.name.lower(): known.name for known in list_models()}
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.7)
    return f" (did you mean {names[near[0]]}?)" if near else ""


def _unavailable(repository: str, why: str) -> ModelUnavailable:
    """Suggests a directory for the files, since the hub's cache holds links, named like the model, since its
    calibration is found by that name.
    """
    directory = repository.rsplit("/", 1)[-1]
    return ModelUnavailable(
        f"The model {repository!r}{_suggestion(repository)} {why}; on a machine with internet run "
        f"`hf download {repository} --local-dir {directory}`, copy that directory here and set {_HOW} to its "
        f"path, such as ./{directory}, or use `bundled` for a trial without any download."
    )
