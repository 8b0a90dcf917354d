"""`make fuzz`: mutates image files by what they reach in our and Pillow's Python code (atheris), until one breaks it.

Arguments are libFuzzer's. artifacts/fuzz keeps the files that reached something new, for the next run; what is found is
written to artifacts/crash-…, and deserves a test beside its mending.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "clipcore.images"]):
    from clipcore.errors import ImageRejected
    from clipcore.images.decode import ImageLimits, read_frames

from tests.clipcore.mutations import SEEDS, with_checksums

_LIMITS = ImageLimits(max_pixels=1_000_000, max_frames=100)


def decodes_or_is_refused(data: bytes) -> None:
    for each in (data, with_checksums(data)):
        try:
            frames = list(read_frames(each, _LIMITS, frames=4))
        except ImageRejected:
            continue
        for frame in frames:
            assert frame.pixels.ndim == 3
            assert frame.pixels.shape[2] == 3


if __name__ == "__main__":
    corpus = Path("artifacts/fuzz")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = ["-rss_limit_mb=2048", "-timeout=20", "-artifact_prefix=artifacts/", *sys.argv[1:]]
    atheris.Setup([sys.argv[0], *options, str(corpus)], decodes_or_is_refused)
    atheris.Fuzz()
