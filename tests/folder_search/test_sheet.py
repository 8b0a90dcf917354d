from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from clipcore.errors import BadInput
from clipcore.folder_search import contact_sheet
from clipcore.folder_search.contact_sheet import (
    CAPTION,
    GAP,
    MARGIN,
    THUMBNAIL,
    check_sheet,
    draw_sheet,
    elide,
    font_for,
    wrap,
)
from clipcore.folder_search.search import Match, Term
from clipcore.folder_search.store import StoredFile, is_own_sheet
from tests.clipcore.images import encode, quarters
from tests.folder_search.support import paint, write

STEP_X, STEP_Y = THUMBNAIL + GAP, THUMBNAIL + CAPTION + GAP
PAPER = (0xF4, 0xF3, 0xF0)


def drawn(tmp_path, parts, matches, name="sheet.png"):
    terms = [Term(1, part) if isinstance(part, str) else Term(1, image=part) for part in parts]
    draw_sheet(tmp_path / name, terms, matches)
    with Image.open(tmp_path / name) as sheet:
        return np.asarray(sheet.convert("RGB")).astype(int)


def match(path, *, copies=1, weak=False):
    file = StoredFile(os.fsencode(path), 1, b"", 1, 1)
    return Match(0.123, (file,) * copies, weak)


def corner(number, columns):
    row, column = divmod(number, columns)
    return MARGIN + column * STEP_X, MARGIN + row * STEP_Y


def test_each_cell_shows_its_image_whole_and_in_the_middle(tmp_path):
    colours = [
        ("red", (255, 0, 0)),
        ("lime", (0, 255, 0)),
        ("blue", (0, 0, 255)),
        ("black", (0, 0, 0)),
        ("cyan", (0, 255, 255)),
    ]
    cells = [match(paint(tmp_path / f"{name}.png", name, width=400)) for name, _ in colours]
    pixels = drawn(tmp_path, ["words"], cells)
    assert pixels.shape == (2 * MARGIN + 2 * STEP_Y - GAP, 2 * MARGIN + 4 * STEP_X - GAP, 3)
    for number, (_, rgb) in enumerate(colours, start=1):
        x, y = corner(number, 4)
        assert tuple(pixels[y + THUMBNAIL // 2, x + 20]) == rgb
        assert tuple(pixels[y + 20, x + 20]) == (255, 255, 255), "a wide image leaves room above"
    assert tuple(pixels[5, 5]) == PAPER


def test_the_query_image_comes_first_and_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = write(tmp_path / "q.jpg", encode(quarters(400, 400), "JPEG", quality=95, exif=exif))
    pixels = drawn(tmp_path, [turned], [])
    quarter, three = MARGIN + THUMBNAIL // 4, MARGIN + 3 * THUMBNAIL // 4
    assert np.abs(pixels[quarter, quarter] - (0, 0, 255)).max() < 12
    assert np.abs(pixels[quarter, three] - (255, 0, 0)).max() < 12


def test_a_text_query_is_drawn_in_the_first_cell(tmp_path):
    some = drawn(tmp_path, ["a cat"], [])
    more = drawn(tmp_path, ["a cat", "a very long line of words about something else altogether"], [])
    inside = np.s_[MARGIN + 10 : MARGIN + THUMBNAIL - 10, MARGIN + 10 : MARGIN + THUMBNAIL - 10]
    ink_of_some, ink_of_more = ((pixels[inside].sum(axis=2) < 400).sum() for pixels in (some, more))
    assert 0 < ink_of_some < ink_of_more
    edge = np.s_[MARGIN + 10 : MARGIN + THUMBNAIL - 10, MARGIN + THUMBNAIL + 1 :]
    assert (more[edge] == PAPER).all(), "words leave their cell"


def test_captions_stay_below_their_cell_however_long_a_name_is(tmp_path):
    images = [paint(tmp_path / f"{'long name ' * 15}{number}.png") for number in range(2)]
    pixels = drawn(tmp_path, ["x"], [match(path, copies=5) for path in images])
    x, y = corner(1, 3)
    assert (pixels[y + THUMBNAIL + 4 : y + STEP_Y - 4, x : x + THUMBNAIL].sum(axis=2) < 400).any()
    assert (pixels[y : y + STEP_Y, x + THUMBNAIL + 2 : x + STEP_X - 1] == PAPER).all()


def test_weak_matches_have_fainter_captions(tmp_path):
    image = paint(tmp_path / "a.png", "white")
    x, y = corner(1, 2)
    caption = np.s_[y + THUMBNAIL : y + STEP_Y - GAP, x : x + THUMBNAIL]
    strong = drawn(tmp_path, ["x"], [match(image)])[caption].min()
    weak = drawn(tmp_path, ["x"], [match(image, weak=True)])[caption].min()
    assert weak > strong + 60


def test_an_image_that_is_gone_leaves_an_empty_card(tmp_path):
    drawn(tmp_path, ["x"], [match(tmp_path / "gone.png"), match(write(tmp_path / "b.png", b"x"))])


@pytest.mark.parametrize("name", ["sheet.png", "sheet.JPG", "sheet.jpeg"])
def test_a_sheet_is_recognised_and_an_image_is_not(tmp_path, name):
    drawn(tmp_path, ["x"], [], name)
    assert is_own_sheet((tmp_path / name).read_bytes())
    assert not is_own_sheet(paint(tmp_path / "a.png").read_bytes())


@pytest.mark.parametrize(
    ("name", "why"), [("sheet.gif", "must end in"), ("sheet", "must end in"), ("no/s.png", "no folder")]
)
def test_a_sheet_that_cannot_be_written_is_refused_before_the_search(tmp_path, name, why):
    with pytest.raises(BadInput, match=why):
        check_sheet(tmp_path / name, 10)


def test_a_sheet_of_too_many_images_is_refused(tmp_path):
    check_sheet(tmp_path / "sheet.png", 400)
    with pytest.raises(BadInput, match="holds 400 images"):
        check_sheet(tmp_path / "sheet.png", 401)


def test_a_name_with_a_line_break_stays_on_its_line(tmp_path):
    where = (slice(MARGIN + THUMBNAIL + 26, MARGIN + THUMBNAIL + CAPTION), slice(None))
    lines = []
    for name in ("a.png", "a\nggggg.png"):
        sheet = drawn(tmp_path, ["x"], [match(paint(tmp_path / name))])
        lines.append(sheet[where][:, corner(1, 2)[0] :])
    assert np.array_equal(*lines), "the note is drawn over"


def test_long_names_are_cut_in_the_middle():
    name = "IMG_2024_holiday_in_the_mountains_with_friends_0042.jpg"
    font = font_for(name, 15)
    cut = elide(name, font, 150)
    start, end = cut.split("…")
    assert name.startswith(start) and name.endswith(end)
    assert font.getlength(cut) <= 150 < font.getlength(name)
    assert elide("short.png", font, 150) == "short.png"


def test_lines_break_at_spaces_or_else_anywhere_and_the_last_is_elided():
    text = "a cat that sits on a very old sofa"
    font = font_for(text, 20)
    for width in range(70, 200, 10):
        lines = wrap(text, font, width, 9)
        assert " ".join(lines) == text
        assert len(lines) > 1 and all(font.getlength(line) <= width for line in lines)
    assert all(font.getlength(line) <= 120 for line in wrap("w" * 99, font, 120, 3))
    assert "…" in wrap("w" * 99, font, 120, 3)[-1]


def test_characters_that_no_font_can_draw_are_returned(tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "_FALLBACK_FONTS", ())
    contact_sheet._fonts.cache_clear()
    try:
        assert draw_sheet(tmp_path / "sheet.png", [Term(1, "一 cat")], []) == "一"
    finally:
        contact_sheet._fonts.cache_clear()


def test_a_text_that_the_default_font_cannot_draw_is_drawn_in_a_cjk_font(tmp_path):
    if not any("Noto" in str(getattr(font, "path", "")) for font in contact_sheet._fonts(15)):
        pytest.skip("no Noto font on this machine")
    assert draw_sheet(tmp_path / "sheet.png", [Term(1, "一只猫 Ж é")], []) == ""
    assert font_for("a cat", 15) is contact_sheet._fonts(15)[0]
