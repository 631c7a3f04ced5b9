"""Reports on a preparation run: report.json for programs, report.csv as a table, report.html with images."""

import base64
import csv
import html
import io
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sculpt4d.data import store
from sculpt4d.data.store import UNRECORDED
from sculpt4d.files import write_json, write_text

log = logging.getLogger(__name__)

EYE = math.radians(20)  # camera elevation preferred for thumbnails
SIDE = 112  # thumbnail size in pixels
FRAMES = 3  # thumbnails per object, spread over its clip
SHOWN = 400  # objects with thumbnails, so that the page stays below about 15 MB


@dataclass
class Report:
    """Outcome of a run: names of objects prepared now or complete before, and reasons for the others.

    skipped: not wanted. failed: damaged or aborted. seconds, attempts: of the objects tried in this run.
    """

    prepared: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        parts = ("prepared", "present", "skipped", "failed")
        return {part: len(getattr(self, part)) for part in parts}


class ReportRow(NamedTuple):
    """One object in the table. Unknown columns are empty."""

    name: str
    status: str
    reason: str
    uid: str
    licence: str
    source: str
    clip: str
    split: str
    frames: str
    vertices: str
    distinct_frames: str
    motion: str
    reach: str
    seconds: str
    attempts: str
    notes: str


def kind(reason: str) -> str:
    """Return the part of a reason before the colon, by which reasons are counted."""
    return reason.partition(":")[0]


def write_reports(
    root: Path, report: Report, split: Mapping[str, Sequence[str]], settings: Mapping[str, Any]
) -> Sequence[ReportRow]:
    """Write the three report files to `root`. settings: resolved, nested as in the configuration."""
    rows = _rows(root, report, split)
    write_json(root / "report.json", asdict(report) | {"counts": report.counts(), "settings": settings})
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(ReportRow._fields)
    writer.writerows(rows)
    write_text(root / "report.csv", table.getvalue())
    write_text(root / "report.html", _page(root, rows, report, split, settings))
    return rows


def _rows(root: Path, report: Report, split: Mapping[str, Sequence[str]]) -> list[ReportRow]:
    rows = []
    lost = {"skipped": report.skipped, "failed": report.failed}
    states = {name: (part, "") for part in ("prepared", "present") for name in getattr(report, part)}
    states |= {name: (part, reason) for part, reasons in lost.items() for name, reason in reasons.items()}
    places = {name: part for part in ("train", "holdout") for name in split.get(part, ())}
    for name, (status, reason) in sorted(states.items()):
        record = UNRECORDED if status in lost else store.read_record(root / name)
        motion, counts = record["motion"], record["counts"]
        notes = "; ".join(record["notes"])
        clip = re.match(r"clip (.*?), [\d.]+ s", notes)
        rows.append(
            ReportRow(
                name=name,
                status=status,
                reason=reason,
                uid=record["uid"],
                licence=record["licence"],
                source=record["source"],
                clip=clip[1] if clip else "",
                split=places.get(name, ""),
                frames=str(store.frame_count(root / name)) if status not in lost else "",
                vertices=str(counts.get("vertices", "")),
                distinct_frames=str(motion.get("distinct", "")),
                motion=f"{motion['mean']:.4g}" if "mean" in motion else "",
                reach=f"{motion['reach']:.4g}" if "reach" in motion else "",
                seconds=f"{report.seconds[name]:.1f}" if name in report.seconds else "",
                attempts=str(report.attempts.get(name, "")),
                notes=notes,
            )
        )
    return rows


def _page(
    root: Path,
    rows: Sequence[ReportRow],
    report: Report,
    split: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
) -> str:
    """Return a self-contained HTML page with counts, reasons, images of the objects and settings."""
    counts = report.counts()
    tiles = "".join(f"<div class='tile {part}'><b>{count}</b>{part}</div>" for part, count in counts.items())
    tiles += "".join(
        f"<div class='tile'><b>{len(split.get(part, ()))}</b>{part}</div>" for part in ("train", "holdout")
    )
    reasons = Counter((row.status, kind(row.reason)) for row in rows if row.reason)
    listed = "".join(
        f"<tr><td class='{status}'>{status}</td><td>{html.escape(reason)}</td><td>{count}</td></tr>"
        for (status, reason), count in reasons.most_common()
    )
    good = [row for row in rows if row.status in ("prepared", "present")]
    cards = "".join(_card(root / row.name, row) for row in good[:SHOWN])
    if len(good) > SHOWN:
        cards += f"<p>{len(good) - SHOWN} more are in report.csv.</p>"
    lost = "".join(
        f"<tr><td>{html.escape(row.name)}</td><td class='{row.status}'>{row.status}</td>"
        f"<td>{html.escape(row.reason)}</td></tr>"
        for row in rows
        if row.reason
    )
    chosen = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(value)}</td></tr>" for key, value in _flat(settings)
    )
    sections = [
        f"<div class='tiles'>{tiles}</div>",
        f"<h2>Reasons</h2><table>{listed}</table>" if listed else "",
        f"<h2>Prepared objects</h2><div class='cards'>{cards}</div>" if cards else "",
        f"<h2>Left out</h2><table>{lost}</table>" if lost else "",
        f"<h2>Settings</h2><table>{chosen}</table>",
    ]
    return PAGE.replace("{title}", html.escape(root.name)).replace("{body}", "\n".join(filter(None, sections)))


def _card(folder: Path, row: ReportRow) -> str:
    count = store.frame_count(folder)
    frames = sorted({count * step // FRAMES for step in range(FRAMES)})
    pictures = "".join(map(_picture, frames, _thumbnails(folder, frames)))
    facts = [row.split, f"{row.frames} frames", f"{row.vertices} vertices" if row.vertices else "", row.licence]
    facts.append(f"moves {row.motion} of its size" if row.motion else "")
    told = " · ".join(html.escape(fact) for fact in facts if fact)
    title, name = html.escape(row.notes, quote=True), html.escape(row.name)
    return f"<figure title='{title}'>{pictures}<b>{name}</b><i>{told}</i></figure>"


def _thumbnails(folder: Path, frames: Sequence[int]) -> list[Image.Image]:
    """Return the frames seen from the camera closest to an elevation of 20 degrees, cropped to their common mask.

    Returns an empty list and logs a warning when an image cannot be read.
    """
    try:
        heights = [abs(camera.elevation - EYE) for camera in store.read_cameras(folder)]
        views = store.read_views(folder, frames, heights.index(min(heights)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: no thumbnails, %s", folder.name, error)
        return []
    covered = np.max([view[..., 3] for view in views], axis=0)
    rows, columns = (np.nonzero(covered.any(axis=axis))[0] for axis in (1, 0))
    box = (0, 0, covered.shape[1], covered.shape[0])
    if len(rows):
        middle = (int(columns[0] + columns[-1]) // 2, int(rows[0] + rows[-1]) // 2)
        half = max(int(columns[-1] - columns[0]), int(rows[-1] - rows[0])) // 2 + 2
        box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    return [Image.fromarray(view).crop(box).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for view in views]


def _picture(frame: int, picture: Image.Image) -> str:
    ground = Image.new("RGBA", picture.size, (238, 238, 238, 255))
    ground.alpha_composite(picture)
    content = io.BytesIO()
    ground.convert("RGB").save(content, "WEBP", quality=80)
    return f"<img alt='frame {frame}' src='data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}'>"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested keys, joined by dots, with values as text."""
    pairs = []
    for key, value in settings.items():
        nested = isinstance(value, Mapping)
        pairs += (
            _flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", "null" if value is None else str(value))]
        )
    return pairs


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}: what was prepared</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; }
.tile { background: #f3f3f3; border-radius: 8px; padding: .5rem 1rem; min-width: 5rem; }
.tile b { display: block; font-size: 1.5rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(345px, 1fr)); gap: .7rem; }
figure { margin: 0; background: #eee; border-radius: 8px; padding: .4rem; }
figure img { width: 32%; margin-right: 1%; }
figure b, figure i { display: block; overflow-wrap: anywhere; } figure i { color: #666; font-style: normal; }
table { border-collapse: collapse; } td { padding: .2rem .8rem .2rem 0; vertical-align: top; overflow-wrap: anywhere; }
tr + tr td { border-top: 1px solid #ddd; }
.skipped { color: #8a5a00; } .failed { color: #a00020; } .prepared { color: #1c6b2a; }
</style></head><body>
<h1>{title}: what was prepared</h1>
{body}
</body></html>
"""
