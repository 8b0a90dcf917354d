"""Draws a map of pictures as a JPEG file. Call it off the event loop: it takes a fifth of a second."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from bot.search.map_layout import Box, Positions, boxes_of, rows_of
from clipcore.folder_search.contact_sheet import Font, font_for, missing_glyphs
from clipcore.types import Pixels

EDGE = 160
"""Of a thumbnail, in pixels; it is shown smaller where there are many."""

_CELL = 100  # what a picture takes of a page where clusters are of middling size, and what a heading takes
_HEADING_CELLS = 2.0
_NARROWEST, _WIDEST = 640, 1800
_PROPORTIONS = 1.5  # wider than high, as screens are
_MARGIN, _GUTTER, _PADDING, _HEADING, _GAP, _WIDEST_GAP = 8, 5, 12, 54, 6, 16
_CARD_RADIUS, _PICTURE_RADIUS = 14, 8
_NAME_SIZE = 28  # to be read where a client shows the page at a third of its width

# Of Discord's dark theme. The page has a ground of its own, so it can be seen on the light one, too.
_GROUND, _CARD, _INK, _FAINT = "#1e1f22", "#2b2d31", "#f2f3f5", "#949ba4"
_COLOURS = (
    *("#5865f2", "#3ba55d", "#faa61a", "#eb459e", "#00b0f4", "#ed4245"),
    *("#9b84ee", "#45ddc0", "#f47b67", "#c9cdfb", "#b5e853", "#e6b1ff"),
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """names: what it is called, as many as there is room for. thumbnails: uint8 [EDGE, EDGE, 3] each. positions: where
    they lie in the plane.
    """

    names: Sequence[str]
    thumbnails: Sequence[Pixels]
    positions: Positions


def draw_map(clusters: Sequence[Cluster]) -> bytes:
    """A card for each cluster, with its names and number; clusters that are alike lie near each other. Of a name,
    characters that no font of this machine has are left out.
    """
    sizes = [len(cluster.thumbnails) for cluster in clusters]
    weights = [size + _HEADING_CELLS for size in sizes]
    width = round(min(_WIDEST, max(_NARROWEST, math.sqrt(sum(weights) * _PROPORTIONS) * _CELL)))
    height = round(width / _PROPORTIONS)
    page = Image.new("RGB", (width, height), _GROUND)
    centers = np.stack([cluster.positions.mean(axis=0) for cluster in clusters])
    whole = Box(_MARGIN, _MARGIN, width - 2 * _MARGIN, height - 2 * _MARGIN)
    for at, (cluster, box) in enumerate(zip(clusters, boxes_of(centers, weights, whole), strict=True)):
        _draw_cluster(page, cluster, box, _COLOURS[at % len(_COLOURS)])
    file = io.BytesIO()
    page.save(file, "JPEG", quality=88, subsampling=0)
    return file.getvalue()


def _draw_cluster(page: Image.Image, cluster: Cluster, box: Box, colour: str) -> None:
    left, top = round(box.x + _GUTTER), round(box.y + _GUTTER)
    right, bottom = round(box.x + box.width - _GUTTER), round(box.y + box.height - _GUTTER)
    draw = ImageDraw.Draw(page)
    draw.rounded_rectangle((left, top, right, bottom), _CARD_RADIUS, _CARD)
    _draw_heading(draw, cluster, (left + _PADDING, top, right - _PADDING), colour)
    inner = Box(left + _PADDING, top + _HEADING, right - left - 2 * _PADDING, bottom - top - _HEADING - _PADDING)
    columns, edge = _grid(len(cluster.thumbnails), inner)
    mask = _rounded(edge)
    corners = _corners(len(cluster.thumbnails), columns, edge, inner)
    for row, (x, y) in zip(rows_of(cluster.positions, columns), corners, strict=True):
        picture = Image.fromarray(cluster.thumbnails[row]).resize((edge, edge), Image.Resampling.LANCZOS)
        page.paste(picture, (x, y), mask)


def _draw_heading(draw: ImageDraw.ImageDraw, cluster: Cluster, place: tuple[int, int, int], colour: str) -> None:
    """place: left, top and right."""
    left, top, right = place
    middle = top + _HEADING / 2 + 1
    draw.rounded_rectangle((left, middle - 12, left + 7, middle + 12), 3, colour)
    left += 17
    number = f"{len(cluster.thumbnails):,}"
    small = font_for(number, _NAME_SIZE - 6)
    name, font = _fitting(cluster.names, right - left - small.getlength(number) - 10)
    if name:
        draw.text((left, middle), name, _INK, font, "lm")
        left += round(font.getlength(name)) + 10
    draw.text((left, middle), number, _FAINT, small, "lm")


def _fitting(names: Sequence[str], room: float) -> tuple[str, Font]:
    """As many names as there is room for, or the beginning of the first."""
    font = font_for(" ".join(names), _NAME_SIZE)
    missing = missing_glyphs(" ".join(names), font)
    drawn = [name for one in names if (name := "".join(char for char in one if char not in missing).strip())]
    for count in range(len(drawn), 0, -1):
        if font.getlength(joined := ", ".join(drawn[:count])) <= room:
            return joined, font
    first = drawn[0] if drawn else ""
    kept = next((end for end in range(len(first), 2, -1) if font.getlength(first[:end] + "…") <= room), 0)
    return first[:kept] and f"{first[:kept].rstrip()}…", font


def _grid(count: int, box: Box) -> tuple[int, int]:
    """How many columns let so many squares be largest, and their edge."""

    def edge(columns: int) -> float:
        return min(box.width / columns, box.height / math.ceil(count / columns))

    columns = max(range(1, count + 1), key=edge)
    return columns, max(1, min(EDGE, math.floor(edge(columns)) - _GAP))


def _corners(count: int, columns: int, edge: int, box: Box) -> Iterator[tuple[int, int]]:
    """Of the squares, row by row. They move apart where there is room, but not far."""
    rows = math.ceil(count / columns)
    across = min((box.width - edge) / max(1, columns - 1), edge + _WIDEST_GAP)
    down = min((box.height - edge) / max(1, rows - 1), edge + _WIDEST_GAP)
    for at in range(count):
        row, column = divmod(at, columns)
        yield round(box.x + column * across), round(box.y + row * down)


def _rounded(edge: int) -> Image.Image:
    """Drawn large and shrunk, for smooth corners."""
    mask = Image.new("L", (4 * edge, 4 * edge))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * edge - 1, 4 * edge - 1), 4 * _PICTURE_RADIUS, 255)
    return mask.resize((edge, edge), Image.Resampling.LANCZOS)
