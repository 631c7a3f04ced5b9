"""Meshes to pictures for the networks that judge them: one clay for every method, one ring of cameras, white ground."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sculpt4d.data.drafts import new_draft
from sculpt4d.evaluation.appearance.images import Pictures, read_view
from sculpt4d.evaluation.folders import files_digest, files_of, read_side
from sculpt4d.evaluation.holdout import write_json
from sculpt4d.evaluation.inputs.layouts import Found
from sculpt4d.evaluation.metrics.geometry import frame_failed
from sculpt4d.evaluation.metrics.motion import Frame, Motion, points_of
from sculpt4d.evaluation.protocols.protocol import Protocol, aligned, clip_box, draw_points, into_box, own_box
from sculpt4d.evaluation.records import kept
from sculpt4d.render.cameras import Camera
from sculpt4d.render.embree import render_views
from sculpt4d.types import Mesh

CLAY = (0.93, 0.87, 0.81)  # of the previews too: pale, so that shape shows by its shading
RECORD = "drawn.json"
SIDES = ("prediction", "ground_truth")
MARGIN = 1.25  # of the box [-1, 1]^3: what lies farther out is cut off in some picture
OUTSIDE = "the prediction leaves the pictures of the truth: protocol=sculpt4d brings them together"


class Drawing(NamedTuple):
    """One object whose meshes are to be drawn under `folder`/<side>/<view>; a side of pictures stays where it is."""

    name: str
    predicted: Found | Pictures
    truth: Found | Pictures
    protocol: Protocol
    moments: int
    cameras: tuple[Camera, ...]
    size: int
    folder: Path


@dataclass(frozen=True)
class Drawn:
    """What became of an object. frames: in every view of the truth; failed_frames: predicted meshes without a surface,
    drawn as an empty picture; digest: of all files the pictures were made from.
    """

    name: str
    digest: str
    frames: int
    failed_frames: int
    layouts: dict[str, str]
    notes: tuple[str, ...]


def draw_object(job: Drawing) -> None:
    """Both sides of an object, unless they are there and of the same input. Raises ValueError or OSError."""
    digest = _digest(job.predicted, job.truth)
    done = kept(job.folder / RECORD, lambda path: read_drawn(path.parent))
    if done is not None and done.digest == digest:
        return
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    draft = new_draft(job.folder)
    try:
        drawn = _draw(job, draft, digest)
        write_json(draft / RECORD, vars(drawn))
        shutil.rmtree(job.folder, ignore_errors=True)  # of an older input
        os.replace(draft, job.folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_drawn(folder: Path) -> Drawn:
    """The record beside an object's pictures."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return Drawn(**{**record, "notes": tuple(record["notes"])})


def sides_of(job: Drawing) -> tuple[Pictures, Pictures]:
    """The pictures of prediction and truth: those drawn, and those that came as pictures."""
    found = []
    for side, given in zip(SIDES, (job.predicted, job.truth), strict=True):
        folder = job.folder / side
        drawn = {f"{view:02d}": folder / f"{view:02d}" for view in range(len(job.cameras))}
        found.append(given if isinstance(given, Pictures) else Pictures(folder, drawn))
    return found[0], found[1]


def place(predicted: Motion, truth: Motion, protocol: Protocol) -> tuple[Motion, Motion]:
    """Both sides in [-1, 1]^3 as the protocol says, the prediction aligned where it aligns."""
    box = own_box(truth, protocol.box)
    inside = into_box(truth, *box)
    placed = into_box(predicted, *(own_box(predicted, "first_frame") if protocol.box == "first_frame" else box))
    if protocol.alignment is not None:
        (first,) = draw_points(Motion(inside.frames[:1]), protocol.points, (protocol.seed, 0))
        placed = aligned(placed, first, protocol)
    return placed, inside


def leaves_pictures(motion: Motion) -> bool:
    """Whether a finite point of any frame lies clearly outside of the box that the cameras are set up for."""
    points = np.concatenate([points_of(frame) for frame in motion.frames])
    return bool((np.abs(points[np.isfinite(points).all(axis=1)]) > MARGIN).any())


def _draw(job: Drawing, folder: Path, digest: str) -> Drawn:
    notes: list[str] = []
    layouts = {side: "pictures" for side in SIDES}
    motions: dict[str, Motion] = {}
    truth = read_side(job.truth, job.moments, SIDES[1]) if isinstance(job.truth, Found) else None
    frames = len(truth.frames) if truth else _count(job.truth)
    if isinstance(job.predicted, Found):
        predicted = read_side(job.predicted, frames, SIDES[0]).cut(frames)
        if truth:
            motions = dict(zip(SIDES, place(predicted, truth, job.protocol), strict=True))
            notes.extend([OUTSIDE] if leaves_pictures(motions[SIDES[0]]) else [])
        else:
            motions = {SIDES[0]: into_box(predicted, *clip_box(predicted))}
            notes.append("the truth has no geometry: the prediction fills its own box and was not aligned")
        layouts[SIDES[0]], notes = predicted.layout, [*notes, *predicted.notes]
    elif truth:
        motions = {SIDES[1]: into_box(truth, *own_box(truth, job.protocol.box))}
    if truth:
        layouts[SIDES[1]], notes = truth.layout, [*notes, *truth.notes]
    for side, motion in motions.items():
        draw_motion(motion, job.cameras, job.size, folder / side)
    failed = [frame_failed(frame) for frame in motions[SIDES[0]].frames] if SIDES[0] in motions else []
    return Drawn(job.name, digest, frames, sum(failed), layouts, tuple(notes))


def draw_motion(motion: Motion, cameras: Sequence[Camera], size: int, folder: Path) -> None:
    """RGBA pictures `folder`/<view>/<frame>.png of meshes in [-1, 1]^3; a frame without a surface shows nothing.

    Raises ValueError for clouds of points, which have no surface.
    """
    for view in range(len(cameras)):
        (folder / f"{view:02d}").mkdir(parents=True)
    for number, frame in enumerate(motion.frames):
        mesh = _surface(frame)
        colors = np.tile(np.array(CLAY, np.float32), (len(mesh.faces), 1))
        half = mesh.vertices * np.float32(0.5)  # cameras are set up for the box [-0.5, 0.5]^3
        pictures = render_views(half, mesh.faces, colors, cameras, size, smooth=True)
        for view, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{view:02d}" / f"{number:04d}.png", compress_level=1)


def _surface(frame: Frame) -> Mesh:
    """The mesh, or an empty one in the place of what has no surface."""
    if not isinstance(frame, Mesh):
        raise ValueError(
            "a cloud of points has no surface to draw: render it with its own renderer and give the pictures"
        )
    return Mesh(frame.vertices[:0], frame.faces[:0]) if frame_failed(frame) else frame


def _count(side: Found | Pictures) -> int:
    assert isinstance(side, Pictures)
    counts = {name: len(read_view(view)) for name, view in side.views.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{side.path} has views of different lengths {counts}: give every view the same frames")
    return next(iter(counts.values()))


def _digest(*sides: Found | Pictures) -> str:
    """Of the contents of all files, and of how pictures are split into views."""
    files = [file for side in sides for file in (side.files if isinstance(side, Pictures) else files_of(side))]
    views = [str(count) for side in sides if isinstance(side, Pictures) for count in side.counts]
    return "-".join([files_digest(files), *views])
