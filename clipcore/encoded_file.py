"""Encoded words and pictures in a file, each vector with its name; an interrupted one is gone on with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.dataset.pairs import Problem
from clipcore.dataset.partial import Partial, check_output, file_identity, whole, write_whole
from clipcore.encode_inputs import Input, encode_inputs
from clipcore.errors import BadInput
from clipcore.features import Encoder
from clipcore.tensor_file import write_tensors
from clipcore.types import Vectors

KIND = "vectors 1"
_ROWS_AT_A_TIME = 4096
_SEPARATORS = dict.fromkeys(map(ord, "\t\r\n"), " ")


class Form(StrEnum):
    NPY = ".npy"
    SAFETENSORS = ".safetensors"
    TSV = ".tsv"


@dataclass(frozen=True, slots=True)
class Written:
    """encoded: vectors in the file. resumed_at: inputs that earlier runs had answered."""

    encoded: int
    resumed_at: int


def write_encoded(
    model: Encoder,
    inputs: Sequence[Input],
    output: Path,
    *,
    batch_size: int,
    force: bool = False,
    watch: Callable[[Sequence[Input]], Iterable[Input]] = iter,
    tell: Callable[[Problem], object] = lambda problem: None,
) -> Written:
    """The form follows the name: `.npy` (float32 [n, dim], with a list of names in `.names.json` beside it),
    `.safetensors` (`vectors`, and a JSON list of `names` in its metadata), `.tsv` (a name, then its numbers).

    What is skipped has no row. Memory: the names and a few batches; for `.safetensors` all vectors once more in the
    end, 2 KiB each at 512 dimensions. tell: hears of each skipped input, those of earlier runs first. Raises BadInput
    where the output exists, unless `force`.
    """
    form = check_encoded(output, force=force)
    job = {"model": model.card.key, "form": form, "inputs": _digest(inputs)}
    with Partial(output, job, force=force) as partial:
        resumed_at = partial.taken
        for earlier in partial.problems:
            tell(earlier)
        for done in encode_inputs(model, watch(inputs[resumed_at:]), batch_size=batch_size):
            problems = [Problem(done.name, done.reason)] if done.vector is None else []
            for problem in problems:
                tell(problem)
            if done.vector is not None:
                partial.file.write(done.vector.astype("<f4").tobytes())
            partial.commit(partial.taken + 1, problems)
        skipped = {problem.name for problem in partial.problems}
        # Words are never skipped, though they may read like the name of a picture that was.
        names = [each.name for each in inputs if each.picture is None or each.name not in skipped]
        partial.finish(lambda part, path: _WRITERS[form](part, path, names, model))
    return Written(len(names), resumed_at)


def as_line(name: str, vector: Vectors) -> str:
    """Tab-separated, with as few digits as tell one float32 from every other. Tabs and line breaks in a name become
    spaces.
    """
    told = name.translate(_SEPARATORS).encode(errors="replace").decode()
    return "\t".join([told, *map(str, vector)])


def check_encoded(output: Path, *, force: bool = False) -> Form:
    """To be asked before a model is loaded. Raises BadInput as `write_encoded` would."""
    try:
        form = Form(output.suffix.lower())
    except ValueError:
        raise BadInput(f"{str(output)!r} must end in .npy, .safetensors or .tsv, which says how to write it.") from None
    check_output(output, force=force)
    return form


def _digest(inputs: Sequence[Input]) -> str:
    """Tells these inputs, and these states of the pictures' files, from others."""
    digest = hashlib.sha256()
    for each in inputs:
        digest.update(json.dumps(_told(each)).encode() + b"\n")
    return digest.hexdigest()


def _told(each: Input) -> Any:  # noqa: ANN401 - whatever JSON takes
    try:
        return each.name if each.picture is None else file_identity(each.picture)
    except OSError:
        return each.name  # gone already; it will be skipped


def _write_npy(part: Path, output: Path, names: Sequence[str], model: Encoder) -> None:
    about = {"descr": "<f4", "fortran_order": False, "shape": (len(names), model.card.dimension)}
    with part.open("rb") as rows, whole(output) as new:
        with new.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, about)
            shutil.copyfileobj(rows, file)
        write_whole(output.with_suffix(".names.json"), json.dumps(list(names)).encode())


def _write_safetensors(part: Path, output: Path, names: Sequence[str], model: Encoder) -> None:
    vectors = np.fromfile(part, "<f4").reshape(len(names), model.card.dimension)
    about = {"names": json.dumps(list(names)), "model": model.card.key}
    write_tensors(output, KIND, {"vectors": vectors}, about)


def _write_tsv(part: Path, output: Path, names: Sequence[str], model: Encoder) -> None:
    dimension = model.card.dimension
    with part.open("rb") as rows, whole(output) as new, new.open("w", encoding="utf-8", errors="replace") as file:
        for start in range(0, len(names), _ROWS_AT_A_TIME):
            few = names[start : start + _ROWS_AT_A_TIME]
            vectors = np.fromfile(rows, "<f4", len(few) * dimension).reshape(len(few), dimension)
            file.writelines(f"{as_line(name, vector)}\n" for name, vector in zip(few, vectors, strict=True))


_WRITERS = {Form.NPY: _write_npy, Form.SAFETENSORS: _write_safetensors, Form.TSV: _write_tsv}
