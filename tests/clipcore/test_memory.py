"""What an image may take of memory at most: a small file can announce tens of millions of pixels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIB = 1024
# Pillow itself holds the decoded image: 4 bytes a pixel in RGBA, 244 MiB here.
MOST_MIB = 450

# A process of its own, since the highest mark never falls. It reports how far reading the image raised it.
MEASURE = """
import io, sys
from PIL import Image
from clipcore.images.decode import read_image
def highest():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
data = open(sys.argv[1], "rb").read()
read_image(open(sys.argv[2], "rb").read(), min_edge=448)
before = highest()
image = read_image(data, min_edge=448)
assert (image.width, image.height) == (8000, 8000)
assert image.pixels.shape == (471, 471, 3)
print(highest() - before)
"""

DRAW = """
import sys
from PIL import Image
mode, path, edge = sys.argv[1], sys.argv[2], int(sys.argv[3])
Image.new(mode, (edge, edge), {"RGBA": (9, 99, 199, 99), "LA": (99, 99)}.get(mode, 99)).save(path)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its highest mark")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "P"])
def test_an_image_as_large_as_allowed_is_read_within_bounds(mode, tmp_path):
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    for path, edge in ((large, 8000), (small, 1000)):
        run(DRAW, mode, str(path), str(edge))
    assert large.stat().st_size < 1_000_000
    assert int(run(MEASURE, str(large), str(small))) < MOST_MIB * MIB


NO_ROOM = """
import resource, sys
from clipcore.errors import EncodingFailed
from clipcore.images.decode import read_image
data = open(sys.argv[1], "rb").read()
with open("/proc/self/statm") as sizes:
    now = int(sizes.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 100 * 2**20,) * 2)
try:
    read_image(data)
except EncodingFailed:
    print("told")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads its own size as Linux tells it")
def test_too_little_memory_does_not_reject_the_image(tmp_path):
    large = tmp_path / "large.png"
    run(DRAW, "RGBA", str(large), "8000")
    assert run(NO_ROOM, str(large)) == "told\n"


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own words
