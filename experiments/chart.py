"""Points and lines with error bars in panels side by side, as one picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from sculpt4d.files import replacing_file

SIDE, LEFT, TOP, BOTTOM, GAP, LEGEND = 880, 190, 190, 150, 70, 300  # pixels
GROUND, INK, MUTED, GRID = "#ffffff", "#181c28", "#70788a", "#e2e5ec"
COLOURS = ("#d1495b", "#2e86ab", "#4c9f70", "#8e6bbf", "#d98b2b", "#6b7280", "#147a8a", "#b5487f")
LARGE, MIDDLE, SMALL = 40, 28, 24  # letters


class Point(NamedTuple):
    """A place with the standard error of y (NaN: none); its name stands beside it."""

    x: float
    y: float
    error: float = math.nan
    name: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one colour, joined by lines or not. Names stand in the legend; hollow marks are published figures."""

    points: tuple[Point, ...]
    name: str = ""
    joined: bool = False
    hollow: bool = False

    @property
    def shown(self) -> list[Point]:
        """Those that have a figure: NaN is not applicable."""
        return [point for point in self.points if not math.isnan(point.y)]


@dataclass(frozen=True)
class Panel:
    """One pair of axes. octaves: x is logarithmic, with a tick at every x that occurs."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    octaves: bool = False

    @property
    def points(self) -> list[Point]:
        """Of all series."""
        return [point for series in self.series for point in series.shown]


def draw(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Writes the picture. Panels without points say so. Series of one place in their panels share colour and name."""
    named = {series.name: (index, series) for panel in panels for index, series in enumerate(panel.series)}
    named.pop("", None)
    right = len(panels) * (SIDE + LEFT + GAP)
    picture = Image.new("RGB", (right + (LEGEND if named else 0), SIDE + TOP + BOTTOM), GROUND)
    pen = ImageDraw.Draw(picture)
    pen.text((LEFT, 30), title, INK, ImageFont.load_default(LARGE))
    for number, panel in enumerate(panels):
        _Axes(pen, panel, number * (SIDE + LEFT + GAP) + LEFT).draw()
    for row, (name, (index, series)) in enumerate(named.items()):
        y = TOP + 24 + 40 * row
        _mark(pen, right - GAP + 34, y, COLOURS[index % len(COLOURS)], series.hollow)
        pen.text((right - GAP + 60, y), name, INK, _font(), anchor="lm")
    with replacing_file(path) as draft:
        picture.save(draft, format="PNG")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from below `low` to above `high`, some `count` of them, in steps of 1, 2 or 5 times 10^k."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * count >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


class _Axes:
    """A panel being drawn at `left`: places data in pixels and keeps what is taken, so that names do not overlap."""

    def __init__(self, pen: ImageDraw.ImageDraw, panel: Panel, left: int) -> None:
        self.pen, self.panel, self.left = pen, panel, left
        self.taken: list[tuple[float, float, float, float]] = []
        points = panel.points
        if points:
            reach = [0.0 if math.isnan(point.error) else point.error for point in points]
            ends = [(point.y - error, point.y + error) for point, error in zip(points, reach, strict=True)]
            self.y_ticks = ticks(min(low for low, _ in ends), max(high for _, high in ends))
            found = sorted({point.x for point in points})
            self.x_ticks = found if panel.octaves else ticks(found[0], found[-1])

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Data to pixels."""
        scale = math.log2 if self.panel.octaves else float
        low, high = scale(self.x_ticks[0]), scale(self.x_ticks[-1])
        across = (scale(x) - low) / (high - low) if high > low else 0.5
        up = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.left + 40 + across * (SIDE - 80), TOP + SIDE - up * SIDE

    def draw(self) -> None:
        """Frame, ticks, series, names."""
        pen, right, bottom = self.pen, self.left + SIDE, TOP + SIDE
        pen.text((self.left, TOP - 50), self.panel.title, INK, ImageFont.load_default(MIDDLE))
        pen.rectangle((self.left, TOP, right, bottom), outline=GRID, width=2)
        if not self.panel.points:
            pen.text((self.left + SIDE / 2, TOP + SIDE / 2), "not measured", MUTED, _font(), anchor="mm")
            return
        for value in self.y_ticks:
            y = self.place(self.x_ticks[0], value)[1]
            pen.line((self.left, y, right, y), GRID, 2)
            pen.text((self.left - 14, y), f"{value:g}", MUTED, _font(), anchor="rm")
        for value in self.x_ticks:
            x = self.place(value, self.y_ticks[0])[0]
            pen.line((x, bottom, x, bottom + 10), MUTED, 2)
            pen.text((x, bottom + 18), f"{value:g}", MUTED, _font(), anchor="mt")
        pen.text((self.left + SIDE / 2, bottom + 70), self.panel.x_label, INK, _font(), anchor="mt")
        pen.text((right, TOP - 14), self.panel.y_label, INK, _font(), anchor="rb")
        for index, series in enumerate(self.panel.series):
            self._series(series, COLOURS[index % len(COLOURS)])
        self._names()

    def _series(self, series: Series, colour: str) -> None:
        places = [self.place(point.x, point.y) for point in series.shown]
        if series.joined and len(places) > 1:
            self.pen.line(places, colour, 4)
        for point, (x, y) in zip(series.shown, places, strict=True):
            low, high = self._ends(point)
            if low != high:
                self.pen.line((x, low, x, high), colour, 3)
                for end in (low, high):
                    self.pen.line((x - 8, end, x + 8, end), colour, 3)
            _mark(self.pen, x, y, colour, series.hollow)
            self.taken.append((x - 10, min(high, y - 10), x + 10, max(low, y + 10)))

    def _ends(self, point: Point) -> tuple[float, float]:
        """Rows of the lower and upper end of the error bar; without one, of the point."""
        reach = 0.0 if math.isnan(point.error) else point.error
        return self.place(point.x, point.y - reach)[1], self.place(point.x, point.y + reach)[1]

    def _names(self) -> None:
        """Every name on the first side of its point, or end of its error bar, where nothing else is."""
        for point in self.panel.points:
            if point.name:
                x, y = self.place(point.x, point.y)
                low, high = self._ends(point)
                sides = [(x + 18, y, "lm"), (x - 18, y, "rm"), (x, y - 18, "mb"), (x, y + 18, "mt")]
                sides += [(x, high - 14 - 28 * step, "mb") for step in range(3)]
                sides += [(x, low + 14 + 28 * step, "mt") for step in range(3)]
                sides += [(x + 18, y + 24 * step, "lm") for step in (-1, 1, -2, 2, -3, 3)]
                boxes = [self.pen.textbbox((a, b), point.name, _font(), anchor) for a, b, anchor in sides]
                free = [index for index, box in enumerate(boxes) if self._is_free(box)]
                chosen = free[0] if free else 0
                a, b, anchor = sides[chosen]
                self.pen.text((a, b), point.name, INK, _font(), anchor=anchor)
                self.taken.append(boxes[chosen])

    def _is_free(self, box: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = box
        inside = self.left < left and right < self.left + SIDE and top > TOP and bottom < TOP + SIDE
        return inside and not any(left < c and a < right and top < d and b < bottom for a, b, c, d in self.taken)


def _mark(pen: ImageDraw.ImageDraw, x: float, y: float, colour: str, hollow: bool) -> None:
    pen.ellipse((x - 9, y - 9, x + 9, y + 9), GROUND if hollow else colour, colour, 4)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(SMALL)
