"""The bundled samples, laid out as the data sets that are measured on."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

SAMPLES = Path(__file__).parent.parent.parent / "clipcore" / "bundled" / "samples"
BUNDLED = ("--model", "bundled", "--device", "cpu")


def samples() -> list[dict[str, str]]:
    """Each with `file`, `en` and `zh`."""
    described: list[dict[str, str]] = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    return described


def write_classes(folder: Path, how_many: int = 24, *, called: str = "en") -> Path:
    """A folder of one folder a class, one sample in each."""
    for sample in samples()[:how_many]:
        into = folder / sample[called]
        into.mkdir(parents=True)
        shutil.copy(SAMPLES / sample["file"], into)
    return folder


def row(text: str, image: bytes) -> str:
    return f"{text}\t{base64.urlsafe_b64encode(image).decode()}"


def write_table(path: Path, rows: Iterable[str]) -> Path:
    path.write_text("".join(f"{one}\n" for one in rows), encoding="utf-8")
    return path


def sample_rows(*languages: str) -> list[str]:
    """One row for each sample and language."""
    return [
        row(sample[called], (SAMPLES / sample["file"]).read_bytes()) for sample in samples() for called in languages
    ]
