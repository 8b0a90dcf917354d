"""Bytes from strangers -> RGB pixels: guarded, turned upright, flattened onto white.

Pillow's own classes are opened by name instead of `Image.open`, for two reasons: a format that we do not expect
cannot be reached, and `Image.open`'s bomb check answers by a process-wide setting and a warning where we want a limit
for each call. No global Pillow state is touched, so any number of threads may decode at once.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from clipcore.errors import BadInput, EncodingFailed, ImageRejected, RejectReason
from clipcore.images.flatten import flatten
from clipcore.images.formats import Format, sniff, unsupported_name
from clipcore.types import Box, Pixels

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may cost. max_pixels is checked from the header, before anything is decoded.

    max_bytes: the file's size. max_pixels: width x height of the first frame. max_frames: frames of an animation,
    pages of a TIFF.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_frames: int = 2_000


# One's own scans and panoramas may be larger than what strangers send to a server. Measured: 200 million pixels take
# 0.8 GB at the most, as PNG; a JPEG that is shrunk takes far less.
OWN_FILES = ImageLimits(max_bytes=1024**3, max_pixels=200_000_000, max_frames=10_000)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """pixels: uint8 [h, w, 3], possibly smaller than the image; width, height: the image's own, after the EXIF
    turn.

    box: where in `pixels` the image lies. Of an image that was shrunk by 4 and is not a multiple of 4 wide, the last
    pixels stand for fewer than four of its own; a resize that overlooked this would move it against the whole image.
    """

    pixels: Pixels
    width: int
    height: int
    box: Box


def decode_image(data: bytes, limits: ImageLimits | None = None) -> Pixels:
    """The image's first frame as uint8 [h, w, 3], upright, on white.

    Raises ImageRejected when it cannot be used, EncodingFailed when memory is too short just now, and BadInput for what
    is no bytes.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise BadInput("decode_image takes an image's bytes; of a file take path.read_bytes().")
    return read_image(data, limits).pixels


def as_pixels(image: Pixels | Image.Image) -> Pixels:
    """What a caller holds -> uint8 [h, w, 3]; a Pillow image is turned upright and laid on white.

    Raises BadInput for a path and whatever else is no image yet.
    """
    if isinstance(image, Image.Image):
        return flatten(ImageOps.exif_transpose(image))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    raise BadInput(
        "An image is uint8 [height, width, 3] or a Pillow image here; of a file take decode_image(path.read_bytes())."
    )


def read_image(
    data: bytes, limits: ImageLimits | None = None, *, enough: int | Callable[[], int] | None = None
) -> DecodedImage:
    """Like `decode_image`, with the image's true size beside the pixels.

    enough: the shorter edge, in pixels, below which detail is still wanted. An image at least twice as large is shrunk
    by a whole number, never below `enough`; a JPEG is not even decoded at its full size (libjpeg's scaled DCT). What is
    left is resized by the `box` that comes with it.
    A function is asked for it only once the header is good, as where a model has to be loaded for the answer.
    """
    limits = limits or ImageLimits()
    _check_bytes(data, limits)
    image_format = _known_format(data)
    with _refusals(image_format):
        image = _OPENERS[image_format](io.BytesIO(data), "")
        _check_header(image, limits)
    shorter = enough() if callable(enough) else enough
    with _refusals(image_format):
        return _decode(image, shorter)


@contextmanager
def _refusals(image_format: Format) -> Iterator[None]:
    """Whatever decoders raise becomes an ImageRejected, or an EncodingFailed where memory is short."""
    try:
        yield
    except ImageRejected:
        raise
    except MemoryError as error:
        raise EncodingFailed("There is not enough memory for this image just now.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRejected(RejectReason.TOO_MANY_PIXELS, "The image needs more memory than there is.") from error
    except Exception as error:
        # Decoders meet arbitrary bytes here, and raise nearly anything for them: OSError, SyntaxError, ValueError,
        # struct.error ...
        log.debug("a %s image did not decode: %s", image_format, type(error).__name__)
        raise ImageRejected(RejectReason.BROKEN, f"The {image_format.upper()} image is truncated or broken.") from error


def _check_bytes(data: bytes, limits: ImageLimits) -> None:
    if not data:
        raise ImageRejected(RejectReason.EMPTY, "The file is empty.")
    if len(data) > limits.max_bytes:
        raise ImageRejected(
            RejectReason.TOO_MANY_BYTES,
            f"The file has {len(data)} bytes; at most {limits.max_bytes} are read.",
            most=limits.max_bytes,
        )


def _known_format(data: bytes) -> Format:
    if found := sniff(data):
        return found
    if name := unsupported_name(data):
        raise ImageRejected(RejectReason.UNSUPPORTED_FORMAT, f"{name} files are not read. Save it as PNG or JPEG.")
    raise ImageRejected(RejectReason.UNKNOWN_FORMAT, "These bytes are not an image in any format that we know.")


def _check_header(image: ImageFile.ImageFile, limits: ImageLimits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageRejected(RejectReason.BROKEN, "The image has no pixels.")
    if width * height > limits.max_pixels:
        raise ImageRejected(
            RejectReason.TOO_MANY_PIXELS,
            f"The image has {width} x {height} pixels; at most {limits.max_pixels} are read.",
            most=limits.max_pixels,
        )
    if (frames := getattr(image, "n_frames", 1)) > limits.max_frames:
        raise ImageRejected(
            RejectReason.TOO_MANY_FRAMES,
            f"The image has {frames} frames; at most {limits.max_frames} are accepted.",
            most=limits.max_frames,
        )


def _decode(image: ImageFile.ImageFile, enough: int | None) -> DecodedImage:
    width, height = image.size
    across, down = _draft(image, enough)
    image.load()
    turn = _TURNS.get(_orientation(image), _as_stored)
    shrink = 1 if enough is None else max(1, min(image.size) // enough)
    pixels = flatten(image, shrink)
    box = _turned_box(turn, pixels, across / shrink, down / shrink)
    if turn in _SWAPPING:
        width, height = height, width
    return DecodedImage(turn(pixels), width, height, box)


def _draft(image: ImageFile.ImageFile, enough: int | None) -> tuple[float, float]:
    """Has a JPEG decoded small. The size in pixels that it will have: a fraction, where Pillow's is rounded up."""
    width, height = image.size
    if enough is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        short = min(width, height)
        drafted = image.draft(None, (-(-width * enough // short), -(-height * enough // short)))  # rounded up
        if drafted is not None:
            return drafted[1][2:]
    return width, height


def _turned_box(turn: Callable[[Pixels], Pixels], pixels: Pixels, width: float, height: float) -> Box:
    """Where an image of this size lies in the pixels once they are turned; before, it begins at their top left."""
    outside = pixels.shape[1] - width, pixels.shape[0] - height
    # Two by two pixels that are turned alike tell where that corner goes, and whether the axes change places.
    (first, second), (third, _) = turn(np.arange(4, dtype=np.uint8).reshape(2, 2, 1))[..., 0].tolist()
    if turn in _SWAPPING:
        (width, height), outside = (height, width), outside[::-1]
    left = outside[0] if 0 not in (first, third) else 0.0
    top = outside[1] if 0 not in (first, second) else 0.0
    return left, top, left + width, top + height


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # Cameras and editors write broken EXIF often enough; the image beneath is fine, so it stays as stored.
        return 1


def _as_stored(pixels: Pixels) -> Pixels:
    return pixels


def _transposed(pixels: Pixels) -> Pixels:
    return pixels.transpose(1, 0, 2)


_ORIENTATION_TAG = 0x0112  # Exif 2.32, §4.6.4 A
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: _transposed,
    6: partial(np.rot90, k=3),
    7: lambda pixels: np.rot90(_transposed(pixels), k=2),
    8: np.rot90,
}
_SWAPPING = [_TURNS[turn] for turn in (5, 6, 7, 8)]
_OPENERS: dict[Format, type[ImageFile.ImageFile]] = {
    Format.JPEG: JpegImagePlugin.JpegImageFile,
    Format.PNG: PngImagePlugin.PngImageFile,
    Format.WEBP: WebPImagePlugin.WebPImageFile,
    Format.GIF: GifImagePlugin.GifImageFile,
    Format.AVIF: AvifImagePlugin.AvifImageFile,
    Format.BMP: BmpImagePlugin.BmpImageFile,
    Format.TIFF: TiffImagePlugin.TiffImageFile,
}
