"""Plot of time against number of frames: dense attention, the selected backend, and the limit set by its density."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN, LINE = 960, 600, 90, 20  # pixels
COLOURS = {"dense": "#888888", "ours": "#d1495b", "limit": "#2e86ab"}

Point = tuple[float, float]


def curves(reports: Mapping[int, Mapping[str, Any]]) -> dict[str, list[Point]]:
    """(frames, seconds) of dense attention, of the selected backend (or the fastest shown), and density times dense."""
    found: dict[str, list[Point]] = {name: [] for name in COLOURS}
    for count, report in sorted(reports.items()):
        frames = float(count)
        rows = [row for row in report["rows"] if row["backend"] == report["chosen"]] or report["rows"]
        found["dense"].append((frames, report["dense_seconds"]))
        if rows:
            found["ours"].append((frames, min(row["seconds"] for row in rows)))
        found["limit"].append((frames, report["density"] * report["dense_seconds"]))
    return {name: points for name, points in found.items() if points}


def draw(path: Path, reports: Mapping[int, Mapping[str, Any]], title: str) -> None:
    """Draw the curves on logarithmic axes, each labelled at its last point."""
    lines = curves(reports)
    frames, seconds = ([point[axis] for points in lines.values() for point in points] for axis in (0, 1))
    bottom, top = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))  # powers of ten
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=16)

    def place(point: Point) -> Point:
        x = _share(math.log2(point[0]), math.log2(min(frames)), math.log2(max(frames)))
        y = _share(math.log10(point[1]), float(bottom), float(top))
        return MARGIN + x * (WIDTH - 2.5 * MARGIN), HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN)

    for power in range(bottom, top + 1):
        x, y = place((min(frames), 10.0**power))
        pen.line([(x, y), (WIDTH - 1.5 * MARGIN, y)], fill="#dddddd")
        pen.text((x - 12, y), f"{10.0**power:g} s", "black", font, anchor="rm")
    for count in sorted(set(frames)):
        x, y = place((count, 10.0**bottom))
        pen.text((x, y + 12), f"{count:g}", "black", font, anchor="mt")
    pen.text((WIDTH / 2 - MARGIN / 2, HEIGHT - MARGIN / 3), "frames", "black", font, anchor="mm")
    pen.text((WIDTH / 2, MARGIN / 2), title, "black", font, anchor="mm")
    for name, points in lines.items():
        _line(pen, [place(point) for point in points], COLOURS[name])
    lowest = 0.0
    for name, points in sorted(lines.items(), key=lambda line: place(line[1][-1])[1]):  # prevents overlapping labels
        x, y = place(points[-1])
        lowest = max(y, lowest + LINE)
        pen.text((x + 12, lowest), name, COLOURS[name], font, anchor="lm")
    picture.save(path)


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _line(pen: ImageDraw.ImageDraw, points: Sequence[Point], colour: str) -> None:
    pen.line(list(points), fill=colour, width=3)
    for x, y in points:
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour)
