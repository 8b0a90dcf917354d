"""Arrays and a few words about them in one safetensors file: nothing in it runs, and it is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from clipcore.errors import BadInput

Array = npt.NDArray[np.generic]

_KIND = "magpie"


def write_tensors(path: Path, kind: str, arrays: Mapping[str, Array], about: Mapping[str, str]) -> None:
    """kind: what `read_tensors` will ask for. A file of that name stays as it was until the new one is complete.

    Raises BadInput where the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part, {**about, _KIND: kind})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{str(path)!r} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def read_tensors(path: Path, kind: str, what: str) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays, and the words about them. what: how a person calls such a file, "an index".

    Raises BadInput where there is none, where it is broken, and where it is a file of another kind.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = dict(file.metadata() or {})
            if about.pop(_KIND, None) != kind:
                raise BadInput(f"{str(path)!r} is not {what} of Magpie's; give one that it has saved.")
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - no mapping, has keys()
    except FileNotFoundError as error:
        raise BadInput(f"There is no file {str(path)!r}.") from error
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise BadInput(f"{str(path)!r} is broken or not {what}; save it again.") from error
