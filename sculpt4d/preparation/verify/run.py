"""Is a prepared set what it should be: `python prepare.py verify=FOLDER` opens every file and says what is wrong.

Every file of every frame is opened; points are judged by a fixed random sample (`verify_points`), silhouettes by all
bounds and by points in three views a frame (`verify_masks`).
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from rich.progress import track

from sculpt4d.preparation.verify.arrays import Arrays
from sculpt4d.preparation.verify.files import FrameFiles, read_frame
from sculpt4d.preparation.verify.findings import AGAIN, Finding, merge
from sculpt4d.preparation.verify.layout import ObjectLayout, find_objects, open_layout
from sculpt4d.preparation.verify.masks import LOOKED, Snapshot, check_masks, snapshot
from sculpt4d.preparation.verify.motion import TrackSample, check_motion
from sculpt4d.preparation.verify.page import ObjectReport, write_findings, write_page
from sculpt4d.preparation.verify.points import SAMPLE, check_center, check_points, sample_rows, slack_of
from sculpt4d.render.cameras import Camera
from sculpt4d.types import Mesh

log = logging.getLogger(__name__)

SHOWN = 8  # snapshots of an object, spread over its frames and views
PICTURED = 100  # objects with snapshots: the page of a large set must still open
DOTS = 1500  # points drawn on each
SAMPLED = (
    f"All files were opened, all rows checked for range, finiteness and normal length; {SAMPLE} uniform and {SAMPLE} "
    f"sharp-edge rows a frame for surface, direction and correspondence; the bounds of every mask, and the points in "
    f"{LOOKED} views a frame."
)


def verify(root: Path, output: Path | None = None) -> tuple[ObjectReport, ...]:
    """Checks an object's folder, or all objects below `root`; writes verify.html and verify.json into `output` (None:
    `root`). One warning is logged per finding.

    Raises FileNotFoundError or ValueError when there is no object.
    """
    folders = find_objects(root)
    reports: list[ObjectReport] = []
    for folder in track(folders, description="Verifying", disable=len(folders) == 1):
        report = verify_object(folder, len(folders) == 1)
        for finding in report.findings:
            log.warning("%s: %s", report.name, finding.line())
        reports.append(report if len(reports) < PICTURED else report._replace(snapshots=()))
    reports += _unlisted(root, {report.name for report in reports})
    target = root if output is None else output
    target.mkdir(parents=True, exist_ok=True)
    write_page(target / "verify.html", reports, SAMPLED)
    write_findings(target / "verify.json", reports)
    log.info("%d objects verified, %s", len(reports), target / "verify.html")
    return tuple(reports)


def verify_object(folder: Path, progress: bool = False) -> ObjectReport:
    """All checks of one object; nothing is written."""
    findings: list[Finding] = []
    layout = open_layout(folder, findings)
    arrays = Arrays(layout, findings)
    slack = slack_of(layout)
    carried: dict[int, TrackSample] = {}
    meshes: dict[int, Mesh] = {}
    cameras: dict[int, tuple[Camera, ...]] = {}
    snapshots: list[Snapshot] = []
    shown = set(np.linspace(0, len(layout.frames) - 1, min(SHOWN, len(layout.frames))).astype(int).tolist())
    for row, frame in enumerate(track(layout.frames, description=f"Verifying {folder.name}", disable=not progress)):
        files = read_frame(layout, arrays, frame, findings)
        sample = _sampled(files)
        points = None if sample is None else sample.points
        if sample is not None:
            carried[frame] = sample
        if files.mesh is not None:
            meshes[frame] = files.mesh
        if files.cameras:
            cameras[frame] = files.cameras
        faults = check_points(files, slack, frame)
        misplaced = any(fault.check in ("box", "surface") for fault in faults)  # then masks would only say it again
        findings += faults
        findings += check_masks(files, None if misplaced else points, slack.cell, frame)
        if row in shown:
            snapshots += _snapshots(files, points, slack.cell, frame, SHOWN // len(shown), row)
    arrays.close()
    findings += _across(layout, carried, meshes, cameras)
    return ObjectReport(folder.name, folder, layout.kind, len(layout.frames), merge(findings), tuple(snapshots))


def run(folder: str, output: str | None = None) -> None:
    """What `python prepare.py verify=FOLDER` does; the report goes into `output`, or the folder itself.

    Raises ValueError when something is wrong.
    """
    root = Path(folder).expanduser()
    target = root if output is None else Path(output).expanduser()
    reports = verify(root, target)
    wrong = [report.name for report in reports if report.findings]
    if wrong:
        named = ", ".join(wrong[:5]) + (" ..." if wrong[5:] else "")
        raise ValueError(
            f"{sum(len(report.findings) for report in reports)} findings in {len(wrong)} of {len(reports)} objects "
            f"({named}): see {target / 'verify.html'}"
        )


def _sampled(files: FrameFiles) -> TrackSample | None:
    """The rows looked at of both sections, uniform ones first."""
    if files.random is None or files.sharp is None:
        return None
    sections = (files.random, files.sharp)
    rows = [sample_rows(len(section)) for section in sections]
    points = np.concatenate([section[taken, :3] for section, taken in zip(sections, rows, strict=True)])
    if files.swallowed is None or [len(marks) for marks in files.swallowed] != [len(section) for section in sections]:
        return TrackSample(points, None)
    return TrackSample(
        points, np.concatenate([marks[taken] for marks, taken in zip(files.swallowed, rows, strict=True)])
    )


def _across(
    layout: ObjectLayout,
    carried: dict[int, TrackSample],
    meshes: dict[int, Mesh],
    cameras: dict[int, tuple[Camera, ...]],
) -> list[Finding]:
    """What only all frames together show."""
    found = []
    if layout.own_pictures and len(meshes) == len(layout.frames) and meshes:
        found += check_center(list(meshes.values()))
        first = next(iter(meshes.values())).faces
        other = tuple(frame for frame, mesh in meshes.items() if not np.array_equal(mesh.faces, first))
        if other:
            found.append(Finding("frames", "mesh.ply has other faces than in the first frame", AGAIN, other))
    usual = next(iter(cameras.values()), ())
    moved = tuple(frame for frame, seen in cameras.items() if seen != usual)
    if moved:
        what = "the cameras are not those of the first frame: a clip would jump from picture to picture"
        found.append(Finding("cameras", what, AGAIN, moved))
    # the ablation draws other points in every frame, which is what this rule exists to find
    if layout.record["settings"].get("consistent", True):
        found += check_motion(carried, meshes)
    return found


def _snapshots(
    files: FrameFiles, points: Float32[np.ndarray, "k 3"] | None, slack: float, frame: int, count: int, row: int
) -> list[Snapshot]:
    """Some views of the frame, other ones in every row."""
    views = sorted(files.pictures)
    dots = None if points is None else points[:: max(1, len(points) // DOTS)]
    chosen = {views[(row * count + step * len(views) // count) % len(views)] for step in range(count)} if views else ()
    return [snapshot(files, dots, slack, frame, view) for view in sorted(chosen)]


def _unlisted(root: Path, names: set[str]) -> Sequence[ObjectReport]:
    """Objects that split.json names and that are not there."""
    path = root / "split.json"
    if not path.is_file():
        return ()
    try:
        listed = json.loads(path.read_text())
        wanted = {name for part in ("train", "holdout") for name in listed[part]}
    except (ValueError, KeyError, TypeError) as error:
        fault = Finding("files", f"split.json cannot be read ({error!r})", AGAIN)
        return (ObjectReport("split.json", path, "ours", 0, (fault,), ()),)
    lost = Finding("files", "split.json names this object, and no folder holds it", f"{AGAIN}, or take it off the list")
    return [ObjectReport(name, root / name, "ours", 0, (lost,), ()) for name in sorted(wanted - names)]
