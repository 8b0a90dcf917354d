"""Untrusted bytes -> RGB pixels: checked against limits, turned upright, flattened onto white.

Opens Pillow's format classes directly instead of calling `Image.open`: formats that are not listed here cannot be
reached, and `Image.open` checks for decompression bombs by a process-wide setting where each call needs its own limit.
Since Pillow 13 its WebP class alone checks that setting too, and refuses above 179 million pixels (twice the setting).
No global Pillow state is touched, so any number of threads may decode at once.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import thread_time
from typing import cast

import numpy as np
import numpy.typing as npt
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
from clipcore.files import read_regular
from clipcore.images.formats import READS_HEIC, READS_JXL, Format, sniff, unsupported_name
from clipcore.images.jxl import jxl_size
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


# A progressive JPEG has about ten scans. Each costs a pass over the whole image, even where it is empty.
_MAX_SCANS = 500

# After so much processor time no further frame of an animation is looked at. Reaching a frame takes decoding all before
# it: half a thousand small ones, or a few large ones.
_FRAMES_CPU_S = 0.25

# A user's own scans and panoramas may be larger than uploads from strangers. Measured: 200 million pixels take at most
# 0.8 GB, as PNG; a JPEG that is shrunk takes far less.
OWN_FILES = ImageLimits(max_bytes=1024**3, max_pixels=200_000_000, max_frames=10_000)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """pixels: uint8 [h, w, 3], possibly smaller than the image; width, height: the image's own, after the EXIF
    turn.

    box: the part of `pixels` that is the image. Where it was shrunk by 4 and is not a multiple of 4 wide, the last
    pixels stand for fewer than four of its own; a resize that ignored this would shift it against the whole image.
    """

    pixels: Pixels
    width: int
    height: int
    box: Box


def decode_image(
    image: bytes | bytearray | memoryview | str | os.PathLike[str], limits: ImageLimits | None = None
) -> Pixels:
    """The first frame of an image file, or of its bytes, as uint8 [h, w, 3], upright, on white.

    limits: by default `OWN_FILES` for a path and `ImageLimits()` for bytes. Raises ImageRejected where the image cannot
    be used, EncodingFailed where memory is too short at the moment, and BadInput where there is no such file.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return read_image(bytes(image), limits).pixels
    if not isinstance(image, str | os.PathLike):
        raise BadInput(f"decode_image takes an image's path or its bytes, and got {type(image).__name__}.")
    return read_image(read_image_file(Path(image)), limits or OWN_FILES).pixels


def read_image_file(path: Path) -> bytes:
    """Raises BadInput where the file cannot be read."""
    try:
        return read_regular(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInput(f"The image {str(path)!r} cannot be read: {reason[0].lower()}{reason[1:]}.") from error


def as_pixels(image: Pixels | Image.Image) -> Pixels:
    """uint8 [h, w, 3]; a Pillow image is turned upright and laid on white. Raises BadInput for anything else."""
    if isinstance(image, Image.Image):
        try:
            # Pillow converts colours that are multiplied by their alpha to nothing but the same without.
            straight = image.convert(image.mode.upper()) if image.mode in ("La", "RGBa") else image
            return _flatten(ImageOps.exif_transpose(straight))
        except ValueError as error:
            raise BadInput(f"A Pillow image of mode {image.mode} cannot be converted to RGB.") from error
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        if image.size == 0:
            raise BadInput(f"An image of {image.shape[1]} x {image.shape[0]} pixels is empty.")
        return image
    raise BadInput(
        "An image is uint8 [height, width, 3] or a Pillow image here; decode_image(path) makes one of a file."
    )


def read_image(
    data: bytes, limits: ImageLimits | None = None, *, min_edge: int | Callable[[], int] | None = None
) -> DecodedImage:
    """Like `decode_image`, with the image's true size beside the pixels: the first of `read_frames`, see there."""
    return next(read_frames(data, limits, min_edge=min_edge))


def read_frames(
    data: bytes,
    limits: ImageLimits | None = None,
    *,
    min_edge: int | Callable[[], int] | None = None,
    frames: int = 1,
) -> Iterator[DecodedImage]:
    """Of an animation at most `frames` frames, spread evenly over it, and the first always; of other images the one.

    min_edge: the shorter edge, in pixels, up to which detail is needed. An image at least twice as large is shrunk by a
    whole number, never below `min_edge`; a JPEG is not even decoded at its full size (libjpeg's scaled DCT). The result
    is to be resized by the `box` that comes with it. A function is called only once the header is good, for callers
    that have to load a model for the answer.

    Only the first frame raises. Where a later one is broken, or a quarter of a second of processor time is used up, the
    rest is left out.
    """
    limits = limits or ImageLimits()
    _check_bytes(data, limits)
    image_format = _known_format(data)
    with _refusals(image_format):
        if image_format == "jxl":
            _check_size(*jxl_size(data), limits)  # to open it is to decode it
        image = _opener(image_format)(io.BytesIO(data), "")
        _check_header(image, data, limits)
    edge = min_edge() if callable(min_edge) else min_edge
    with _refusals(image_format):
        first = _decode(image, edge)
    yield first
    if frames > 1 and image_format in _ANIMATED:
        yield from _later_frames(image, edge, frames)


@contextmanager
def _refusals(image_format: Format) -> Iterator[None]:
    """Turns whatever decoders raise into ImageRejected, or EncodingFailed where memory is short."""
    try:
        yield
    except ImageRejected:
        raise
    except MemoryError as error:
        raise EncodingFailed("There is not enough memory for this image at the moment.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRejected(RejectReason.TOO_MANY_PIXELS, "The image needs more memory than there is.") from error
    except Exception as error:
        # On arbitrary bytes decoders raise nearly anything: OSError, SyntaxError, ValueError, struct.error ...
        log.debug("a %s image did not decode: %s", image_format, type(error).__name__)
        raise ImageRejected(RejectReason.BROKEN, f"The {image_format.upper()} image is truncated or broken.") from error


def load_optional_decoders() -> None:
    """Before the first image of these formats, where it matters what memory they take."""
    if READS_HEIC:
        _opener("heic")
    if READS_JXL:
        _opener("jxl")


def _opener(image_format: Format) -> type[ImageFile.ImageFile]:
    # Imported when needed, since few images are of these formats.
    if image_format == "heic":
        from pillow_heif import HeifImageFile

        return cast(type[ImageFile.ImageFile], HeifImageFile)
    if image_format == "jxl":
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile

        return cast(type[ImageFile.ImageFile], JXLImageFile)
    return _OPENERS[image_format]


def _check_bytes(data: bytes, limits: ImageLimits) -> None:
    if not data:
        raise ImageRejected(RejectReason.EMPTY, "The file is empty.")
    if len(data) > limits.max_bytes:
        raise ImageRejected(
            RejectReason.TOO_MANY_BYTES,
            f"The file has {len(data)} bytes; at most {limits.max_bytes} are read.",
            limit=limits.max_bytes,
        )


def _known_format(data: bytes) -> Format:
    if found := sniff(data):
        return found
    if name := unsupported_name(data):
        raise ImageRejected(
            RejectReason.UNSUPPORTED_FORMAT, f"{name} files are not supported; save the image as PNG or JPEG."
        )
    raise ImageRejected(RejectReason.UNKNOWN_FORMAT, "The bytes are no image in a known format.")


def _check_header(image: ImageFile.ImageFile, data: bytes, limits: ImageLimits) -> None:
    _check_size(*image.size, limits)
    if _has_more_frames(image, limits.max_frames):
        raise ImageRejected(
            RejectReason.TOO_MANY_FRAMES,
            f"The image has more than {limits.max_frames} frames.",
            limit=limits.max_frames,
        )
    if isinstance(image, JpegImagePlugin.JpegImageFile) and data.count(b"\xff\xda") > _MAX_SCANS:
        raise ImageRejected(RejectReason.TOO_COSTLY, f"The JPEG image has more than {_MAX_SCANS} scans.")


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise ImageRejected(RejectReason.BROKEN, "The image has no pixels.")
    if width * height > limits.max_pixels:
        raise ImageRejected(
            RejectReason.TOO_MANY_PIXELS,
            f"The image has {width} x {height} pixels; at most {limits.max_pixels} are read.",
            limit=limits.max_pixels,
        )


def _has_more_frames(image: ImageFile.ImageFile, most: int) -> bool:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return getattr(image, "n_frames", 1) > most
    try:
        image.seek(most)  # n_frames would read every page's directory, however many there are
    except EOFError:
        image.seek(0)
        return False
    return True


def _decode(image: ImageFile.ImageFile, min_edge: int | None) -> DecodedImage:
    width, height = image.size
    across, down = _draft(image, min_edge)
    image.load()
    shrink = 1 if min_edge is None else max(1, min(image.size) // min_edge)
    box = 0.0, 0.0, across / shrink, down / shrink
    orientation = _orientation(image)
    pixels, box = _turned(_flatten(image, shrink), box, orientation)
    if orientation in _SWAPPED:
        width, height = height, width
    return DecodedImage(pixels, width, height, box)


def _later_frames(image: ImageFile.ImageFile, min_edge: int | None, frames: int) -> Iterator[DecodedImage]:
    began, count = thread_time(), getattr(image, "n_frames", 1)
    wanted = {place * count // frames for place in range(frames)} - {0} if count > frames else set(range(1, count))
    for number in range(1, max(wanted, default=0) + 1):
        try:
            image.seek(number)  # one by one, so that the time can be looked at
            image.load()
            decoded = _decode(image, min_edge) if number in wanted else None
        except Exception as error:
            log.debug("a later frame did not decode: %s", type(error).__name__)
            return
        if decoded is not None:
            yield decoded
        if thread_time() - began > _FRAMES_CPU_S:
            return


def _draft(image: ImageFile.ImageFile, min_edge: int | None) -> tuple[float, float]:
    """Has a JPEG decoded small. The size in pixels that it will have: a fraction, where Pillow's is rounded up."""
    width, height = image.size
    if min_edge is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        short = min(width, height)
        drafted = image.draft(None, (-(-width * min_edge // short), -(-height * min_edge // short)))  # rounded up
        if drafted is not None:
            return drafted[1][2:]
    return width, height


def _turned(pixels: Pixels, box: Box, orientation: int) -> tuple[Pixels, Box]:
    left, top, right, bottom = box
    if orientation in _SWAPPED:
        pixels = pixels.transpose(1, 0, 2)
        left, top, right, bottom = top, left, bottom, right
    height, width = pixels.shape[:2]
    if orientation in _MIRRORED_X:
        pixels = pixels[:, ::-1]
        left, right = width - right, width - left
    if orientation in _MIRRORED_Y:
        pixels = pixels[::-1]
        top, bottom = height - bottom, height - top
    return pixels, (left, top, right, bottom)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # Cameras and editors often write broken EXIF; the image itself is fine, so it stays as stored.
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _flatten(image: Image.Image, shrink: int = 1) -> Pixels:
    """The loaded image, of any mode, as uint8 [ceil(h / shrink), ceil(w / shrink), 3]: means of shrink x shrink pixels.

    In pieces: a whole copy in RGBA or in floats would take several times the image's own memory.
    """
    width, height = image.size
    pixels = np.empty((-(-height // shrink), -(-width // shrink), 3), np.uint8)
    white = _white_point(image) if _has_deep_gray(image) else None
    for left, top, right, bottom in _pieces(width, height, shrink):
        piece = image.crop((left, top, right, bottom))
        flat = _onto_white(piece) if white is None else _from_deep_gray(piece, white)
        shrunk = flat.reduce(shrink) if shrink > 1 else flat
        target = pixels[top // shrink :, left // shrink :]
        target[: shrunk.height, : shrunk.width] = np.asarray(shrunk)
    return pixels


def _pieces(width: int, height: int, shrink: int) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of about a million pixels that cover the image, with corners at multiples of `shrink`."""
    across = _multiple(min(width, _PIECE_WIDTH), shrink)
    down = _multiple(_PIECE_PIXELS // across, shrink)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def _multiple(length: int, of: int) -> int:
    return max(of, length // of * of)


def _onto_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _has_deep_gray(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def _from_deep_gray(image: Image.Image, white: float) -> Image.Image:
    """Scales the range; Pillow's own conversion clips deep gray at 255, which whitens it."""
    deep = _numbers(image)
    gray = np.clip(deep * (255.0 / white), 0, 255).round().astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[deep == transparent] = 255
    return Image.fromarray(gray).convert("RGB")


def _white_point(image: Image.Image) -> float:
    """Modes I and F do not define white: the smallest usual range that holds the values."""
    if image.mode.startswith("I;16"):
        return 65535.0
    brightest = max(float(_numbers(image.crop(box)).max(initial=0.0)) for box in _pieces(*image.size, 1))
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if brightest <= white), brightest)


def _numbers(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0.0, neginf=0.0)


_ANIMATED: tuple[Format, ...] = ("gif", "png", "webp", "avif")  # a TIFF's further pages are none of its frames
_PIECE_PIXELS = 1 << 20
_PIECE_WIDTH = 1 << 16
_ORIENTATION_TAG = 0x0112
# The orientations (Exif 2.32, §4.6.4 A) that are turned upright by swapping the axes, and then by mirroring the result.
_SWAPPED = (5, 6, 7, 8)
_MIRRORED_X = (2, 3, 6, 7)
_MIRRORED_Y = (3, 4, 7, 8)
_OPENERS: dict[Format, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
