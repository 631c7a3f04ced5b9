"""Verify prepared objects: `python prepare.py verify=FOLDER` opens every file and reports all faults.

Points are checked by a fixed random sample (`points`). Silhouettes are checked by the bounds of every mask, and by
points in three views per frame (`masks`).
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

SHOWN = 8  # snapshots per object, spread over its frames and views
PICTURED = 100  # objects with snapshots, so that the page of a large set stays small enough to open
DOTS = 1500  # points drawn on each snapshot
SAMPLED = (
    f"All files were opened, all rows checked for range, finiteness and normal length; {SAMPLE} uniform and {SAMPLE} "
    f"sharp-edge rows a frame for surface, direction and correspondence; the bounds of every mask, and the points in "
    f"{LOOKED} views a frame."
)


def verify(root: Path, output: Path | None = None) -> tuple[ObjectReport, ...]:
    """Check one object's folder, or all objects below `root`. Logs one warning per finding.

    Writes verify.html and verify.json to `output` (None: `root`). Raises FileNotFoundError or ValueError when there is
    no object.
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
    """Run all checks on one object without writing anything."""
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
        # mask checks would only repeat this finding
        misplaced = any(fault.check in ("box", "surface") for fault in faults)
        findings += faults
        findings += check_masks(files, None if misplaced else points, slack.cell, frame)
        if row in shown:
            snapshots += _snapshots(files, points, slack.cell, frame, SHOWN // len(shown), row)
    arrays.close()
    findings += _across(layout, carried, meshes, cameras)
    return ObjectReport(folder.name, folder, layout.kind, len(layout.frames), merge(findings), tuple(snapshots))


def run(folder: str, output: str | None = None) -> None:
    """Run `python prepare.py verify=FOLDER`; the report goes to `output`, or to the folder itself.

    Raises ValueError when there are findings.
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
    """Return the sampled points of both sections, uniform ones first."""
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
    """Run the checks that need all frames."""
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
    # the ablation samples new points in every frame, which this check would report
    if layout.record["settings"].get("consistent", True):
        found += check_motion(carried, meshes)
    return found


def _snapshots(
    files: FrameFiles, points: Float32[np.ndarray, "k 3"] | None, slack: float, frame: int, count: int, row: int
) -> list[Snapshot]:
    """Return some views of the frame; the views change from frame to frame."""
    views = sorted(files.pictures)
    dots = None if points is None else points[:: max(1, len(points) // DOTS)]
    chosen = {views[(row * count + step * len(views) // count) % len(views)] for step in range(count)} if views else ()
    return [snapshot(files, dots, slack, frame, view) for view in sorted(chosen)]


def _unlisted(root: Path, names: set[str]) -> Sequence[ObjectReport]:
    """Return reports on objects that split.json names but that do not exist."""
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
