from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, TiffImagePlugin

from clipcore.errors import ImageRejected, RejectReason
from clipcore.images.decode import ImageLimits, decode_image, read_image
from clipcore.images.formats import READS_HEIC, READS_JXL
from clipcore.images.preprocess import Preprocessing
from tests.clipcore.images import FORMATS, encode, noise, png, quarters

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(data: bytes) -> list[tuple[int, ...]]:
    """The colours near the four corners (left to right, top to bottom), each channel snapped to 0 or 255."""
    pixels = decode_image(data)
    height, width = pixels.shape[:2]
    places = [(height // 4, width // 4), (height // 4, 3 * width // 4), (3 * height // 4, width // 4)]
    places.append((3 * height // 4, 3 * width // 4))
    return [tuple(255 * (int(channel) > 127) for channel in pixels[place]) for place in places]


def rejected(data: bytes, limits: ImageLimits | None = None) -> RejectReason:
    with pytest.raises(ImageRejected) as caught:
        decode_image(data, limits)
    assert str(caught.value).endswith(".")
    return caught.value.reason


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_is_read_by_its_bytes(image_format):
    data = encode(quarters(), image_format)
    assert decode_image(data).shape == (48, 64, 3)
    assert decode_image(data).dtype == np.uint8
    assert corners(data) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_animation_is_its_first_frame(image_format):
    frames = [quarters(), Image.new("RGB", (64, 48), "black")]
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert corners(data) == [RED, GREEN, BLUE, WHITE]


# Orientation n is how the image must be turned before it is stored, so that a viewer that honours n sees it upright.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_turn_is_undone(orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(quarters().transpose(STORED_AS[orientation]), image_format, exif=exif)
    assert corners(data) == [RED, GREEN, BLUE, WHITE]
    image = read_image(data)
    assert (image.width, image.height) == (64, 48)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says so and goes on
@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00"])
def test_broken_exif_leaves_the_image_as_stored(exif):
    assert corners(encode(quarters(), "JPEG", exif=exif)) == [RED, GREEN, BLUE, WHITE]


def test_an_orientation_that_does_not_exist_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 99
    assert corners(encode(quarters(), "JPEG", exif=exif)) == [RED, GREEN, BLUE, WHITE]


def test_a_palette_with_a_transparent_colour_is_shown_on_white():
    palette = quarters().quantize(8)
    index = palette.getpixel((1, 1))
    data = encode(palette, "PNG", transparency=index)
    assert corners(data) == [WHITE, GREEN, BLUE, WHITE]


def test_a_palette_with_alpha_for_each_colour_is_shown_on_white():
    palette = quarters().quantize(8)
    alphas = bytes(0 if index == palette.getpixel((1, 1)) else 255 for index in range(8))
    assert corners(encode(palette, "PNG", transparency=alphas)) == [WHITE, GREEN, BLUE, WHITE]


def test_a_transparent_gif_is_shown_on_white():
    palette = quarters().quantize(8)
    data = encode(palette, "GIF", transparency=palette.getpixel((1, 1)))
    assert corners(data) == [WHITE, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparency_lies_on_white_whatever_colour_hides_beneath(image_format):
    image = quarters().convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 0, 32, 24))
    assert corners(encode(image, image_format)) == [WHITE, GREEN, BLUE, WHITE]


def test_half_transparency_is_half_white():
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert decode_image(encode(image))[4, 4].tolist() == [127, 127, 127]


def test_one_transparent_colour_of_a_true_colour_image_is_white():
    assert corners(encode(quarters(), "PNG", transparency=RED)) == [WHITE, GREEN, BLUE, WHITE]


def test_gray_with_alpha_is_shown_on_white():
    image = Image.new("LA", (8, 8), (0, 0))
    assert decode_image(encode(image)).min() == 255


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(image_format):
    assert corners(encode(quarters().convert("CMYK"), image_format)) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_and_gray_become_rgb(mode):
    image = Image.new(mode, (8, 8), 255)
    assert decode_image(encode(image)).shape == (8, 8, 3)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bit_gray_keeps_its_shades(image_format):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    pixels = decode_image(encode(Image.fromarray(ramp), image_format))
    assert np.array_equal(pixels[0, :, 0], np.arange(256))


def test_a_transparent_shade_of_sixteen_bit_gray_is_white():
    gray = np.full((4, 4), 1000, np.uint16)
    gray[0, 0] = 2000
    pixels = decode_image(with_png_chunk(encode(Image.fromarray(gray)), b"tRNS", struct.pack(">H", 1000)))
    assert pixels[0, 0, 0] == 8
    assert pixels[1, 1, 0] == 255


def test_sixteen_bit_colour_keeps_its_shades():
    """Pillow cannot write this one, so its chunks are written here (PNG specification, §11)."""
    ramp = (np.arange(256, dtype=np.uint16) * 257).repeat(3).astype(">u2").tobytes()
    pixels = decode_image(raw_png(256, 1, b"\x00" + ramp, depth=16, colour=2))
    assert np.array_equal(pixels[0, :, 1], np.arange(256))


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_gray_is_scaled_to_its_range(white):
    ramp = (np.linspace(0, 1, 256) * white).astype(np.float32)[None]
    assert np.array_equal(decode_image(encode(Image.fromarray(ramp), "TIFF"))[0, :, 0], np.arange(256))


def test_lab_colours_become_rgb():
    middling = decode_image(encode(Image.new("LAB", (8, 8), (137, 128, 128)), "TIFF"))[4, 4]
    assert np.abs(middling.astype(int) - 128).max() < 5


def test_an_empty_file_is_rejected_as_empty():
    assert rejected(b"") is RejectReason.EMPTY


def test_too_many_bytes_are_rejected_before_decoding():
    assert rejected(png(), ImageLimits(max_bytes=20)) is RejectReason.TOO_MANY_BYTES


@pytest.mark.parametrize("image_format", FORMATS)
def test_more_pixels_than_allowed_are_rejected(image_format):
    data = encode(quarters(), image_format)
    assert rejected(data, ImageLimits(max_pixels=64 * 48 - 1)) is RejectReason.TOO_MANY_PIXELS
    assert decode_image(data, ImageLimits(max_pixels=64 * 48)).shape == (48, 64, 3)


def test_a_decompression_bomb_is_rejected_from_its_header():
    """50,000 x 50,000 pixels announced, hardly any there: only a check before decoding can say so."""
    bomb = raw_png(50_000, 50_000, b"\x00" * 100, depth=8, colour=2)
    assert rejected(bomb) is RejectReason.TOO_MANY_PIXELS


def test_a_gif_whose_frame_is_larger_than_its_canvas_is_measured_by_the_frame():
    data = bytearray(encode(Image.new("P", (8, 8)), "GIF"))
    descriptor = data.index(b"\x2c", 13)
    data[descriptor + 5 : descriptor + 9] = struct.pack("<HH", 60_000, 60_000)
    assert rejected(bytes(data)) is RejectReason.TOO_MANY_PIXELS


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_more_frames_than_allowed_are_rejected(image_format):
    frames = [Image.fromarray(noise(16, 16, seed)) for seed in range(4)]
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert rejected(data, ImageLimits(max_frames=3)) is RejectReason.TOO_MANY_FRAMES
    assert decode_image(data, ImageLimits(max_frames=4)).shape == (16, 16, 3)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_broken(image_format, part):
    data = encode(Image.fromarray(noise(64, 48)), image_format)
    assert rejected(data[: int(len(data) * part)]) is RejectReason.BROKEN


SVG = b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'
HTML = b"<!DOCTYPE html><html><body>404</body></html>"
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


@pytest.mark.parametrize("data", [SVG, b"\xef\xbb\xbf <svg/>", b"8BPS\x00\x01", b"%PDF-1.7"])
def test_formats_that_are_known_but_not_read_are_named(data):
    assert rejected(data) is RejectReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(("data", "is_read"), [(HEIC, READS_HEIC), (b"\xff\x0a\x00", READS_JXL)])
def test_heic_and_jpeg_xl_are_read_or_named(data, is_read):
    """By their extras; what carries no more than a signature is broken then."""
    assert rejected(data) is (RejectReason.BROKEN if is_read else RejectReason.UNSUPPORTED_FORMAT)


@pytest.mark.parametrize("data", [HTML, b"\x00", b"\x00" * 4096, b"hello", b"RIFF\x00\x00\x00\x00WAVE", b"PK\x03\x04"])
def test_bytes_of_no_known_format_are_rejected_as_unknown(data):
    assert rejected(data) is RejectReason.UNKNOWN_FORMAT


@pytest.mark.parametrize("signature", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00", b"MM\x00+"])
def test_a_signature_alone_is_broken(signature):
    assert rejected(signature) is RejectReason.BROKEN


def test_a_large_jpeg_is_decoded_at_a_reduced_scale_and_keeps_its_size():
    data = encode(quarters(2000, 1600), "JPEG")
    image = read_image(data, min_edge=200)
    assert (image.width, image.height) == (2000, 1600)
    assert image.pixels.shape == (200, 250, 3)
    assert corners(encode(Image.fromarray(image.pixels))) == [RED, GREEN, BLUE, WHITE]


def test_a_reduced_scale_never_goes_below_min_edge():
    image = read_image(encode(quarters(2000, 1600), "JPEG"), min_edge=201)
    assert min(image.pixels.shape[:2]) == 400


@pytest.mark.parametrize(("width", "height"), [(1500, 1403), (1403, 1500), (70_000, 40)])
def test_a_large_image_is_shrunk_the_same_whatever_pieces_it_is_taken_in(width, height):
    original = Image.fromarray(noise(width, height))
    enough = min(width, height) // 7
    image = read_image(encode(original), min_edge=enough)
    assert (image.width, image.height) == (width, height)
    assert min(image.pixels.shape[:2]) >= enough
    assert np.array_equal(image.pixels, np.asarray(original.reduce(min(width, height) // enough)))


def test_a_large_transparent_image_is_shrunk_as_it_looks_on_white():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    image.paste((0, 0, 255, 0), (0, 0, 32, 64))
    image = read_image(encode(image), min_edge=1)
    assert image.pixels[0, 0].tolist() == [128, 128, 128]


def test_a_turned_jpeg_at_a_reduced_scale_keeps_its_upright_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(encode(quarters(1600, 800), "JPEG", exif=exif), min_edge=100)
    assert (image.width, image.height) == (800, 1600)
    assert image.pixels.shape == (200, 100, 3)


@given(st.integers(241, 400), st.integers(241, 400), st.sampled_from(["JPEG", "PNG"]), st.integers(1, 8), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_shrunk_image_is_resized_to_what_the_whole_one_is(width, height, image_format, orientation, squash):
    """Overlooking that its last pixels stand for less than the others costs more than 10 dB in most sizes."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(noise(12, 12)).resize((width, height), Image.Resampling.BICUBIC)
    data = encode(image, image_format, exif=exif, **({"quality": 95} if image_format == "JPEG" else {}))
    whole, shrunk = read_image(data), read_image(data, min_edge=120)
    assert shrunk.pixels.size <= whole.pixels.size / 3.5
    assert (shrunk.width, shrunk.height) == (whole.width, whole.height)
    looked_at = Preprocessing(size=50, crop=50, squash=squash)
    difference = looked_at.prepare(whole.pixels).astype(float) - looked_at.prepare(shrunk.pixels, shrunk.box)
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 45


def test_many_threads_decode_at_once():
    sources = [encode(Image.fromarray(noise(64, 64, seed)), "PNG") for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(decode_image, sources * 16))
    assert all(np.array_equal(pixels, noise(64, 64, place % 8)) for place, pixels in enumerate(decoded))


def test_pillows_global_settings_are_not_changed():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    decode_image(png())
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == before == (89478485, False)


SEEDS = [encode(quarters(), image_format) for image_format in FORMATS]
SEEDS.append(encode(quarters(), "PNG", save_all=True, append_images=[Image.new("RGB", (64, 48))]))
SEEDS.append(encode(quarters(), "WEBP", save_all=True, append_images=[Image.new("RGB", (64, 48))]))
SEEDS.append(encode(quarters(), "TIFF", compression="tiff_lzw"))


def decodes_or_is_rejected(data: bytes) -> None:
    """Anything but pixels or ImageRejected fails the test that calls this."""
    try:
        image = read_image(data, ImageLimits(max_pixels=1_000_000), min_edge=16)
    except ImageRejected:
        return
    assert image.pixels.dtype == np.uint8
    assert image.pixels.ndim == 3


@given(st.binary(max_size=300), st.sampled_from([b"", *(seed[:12] for seed in SEEDS)]))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_only_ever_rejected(tail, head):
    decodes_or_is_rejected(head + tail)


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=6)), min_size=1, max_size=6))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_images_decode_or_are_rejected(seed, damages):
    data = bytearray(seed)
    for place, bytes_there in damages:
        at = int(place * len(data))
        data[at : at + len(bytes_there)] = bytes_there
    decodes_or_is_rejected(bytes(data))


def raw_png(width: int, height: int, scanlines: bytes, *, depth: int, colour: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in parts)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_png_chunk(data: bytes, kind: bytes, content: bytes) -> bytes:
    """The same image with one more chunk before its pixels."""
    at = data.index(b"IDAT") - 4
    return io.BytesIO(data[:at] + png_chunk(kind, content) + data[at:]).getvalue()


def tiff_of_directories(count: int) -> bytes:
    """A chain of pages of one pixel each: 114 bytes a page."""
    entries = [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 1)]
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for number in range(count):
        size = 2 + 12 * len(entries) + 4
        fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        data += struct.pack("<H", len(entries)) + fields
        data += struct.pack("<I", len(data) + 4 if number < count - 1 else 0)
        assert len(data) == 8 + size * (number + 1)
    return bytes(data)


def test_the_pages_of_a_tiff_are_counted_no_further_than_allowed(monkeypatch):
    read = []
    load = TiffImagePlugin.ImageFileDirectory_v2.load
    monkeypatch.setattr(
        TiffImagePlugin.ImageFileDirectory_v2, "load", lambda self, file: (read.append(1), load(self, file))
    )
    assert rejected(tiff_of_directories(3000), ImageLimits(max_frames=20)) is RejectReason.TOO_MANY_FRAMES
    assert len(read) < 30


def test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded():
    data = encode(Image.fromarray(noise(64, 64)), "JPEG", progressive=True)
    scan = data[data.rfind(b"\xff\xc4") : -2]
    assert rejected(data[:-2] + scan * 500 + data[-2:]) is RejectReason.TOO_COSTLY
    assert decode_image(data[:-2] + scan * 5 + data[-2:]).shape == (64, 64, 3)
