"""One side of a comparison, whatever it was stored as: a mesh or a cloud of points per frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32

from sculpt4d.geometry.parts import is_closed, usable
from sculpt4d.geometry.surface import face_areas
from sculpt4d.types import Mesh, MeshSequence


@dataclass(frozen=True)
class Cloud:
    """Points of one frame that no faces join. weights (n,): how likely each is drawn, relative to the others.

    points with a coordinate that is not finite are never drawn.
    """

    points: Float32[np.ndarray, "n 3"]
    weights: Float32[np.ndarray, " n"]

    @property
    def usable(self) -> Bool[np.ndarray, " n"]:
        """Finite points of positive weight."""
        return np.isfinite(self.points).all(axis=1) & (self.weights > 0)


Frame = Mesh | Cloud


@dataclass(frozen=True)
class Motion:
    """Frames of one object in order. fps: None where the files do not say.

    tracked: row k of a cloud is the same material point in all frames. layout: what the files were taken for; notes:
    choices made while reading, for the result.
    """

    frames: tuple[Frame, ...]
    layout: str = "in memory"
    fps: float | None = None
    tracked: bool = False
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def same_faces(self) -> bool:
        """Meshes of one topology in all frames: a point on a face can be followed."""
        return one_topology(self.frames)

    def cut(self, frames: int) -> "Motion":
        """The first `frames` frames, with a note when that leaves some out. Raises ValueError when there are fewer."""
        have = len(self.frames)
        if have < frames:
            raise ValueError(f"{have} frames were predicted, the ground truth has {frames}")
        left = (f"first {frames} of {have} frames used",) if have > frames else ()
        return Motion(self.frames[:frames], self.layout, self.fps, self.tracked, (*self.notes, *left))


def one_topology(frames: Sequence[Frame]) -> bool:
    """Whether all frames are meshes with the same faces over as many vertices."""
    first = frames[0]
    if not isinstance(first, Mesh):
        return False
    return all(
        isinstance(mesh, Mesh)
        and mesh.vertices.shape == first.vertices.shape
        and np.array_equal(mesh.faces, first.faces)
        for mesh in frames
    )


def points_of(frame: Frame) -> Float[np.ndarray, "n 3"]:
    """Vertices of a mesh, points of a cloud."""
    return frame.vertices if isinstance(frame, Mesh) else frame.points


def moved(frame: Frame, points: Float[np.ndarray, "n 3"]) -> Frame:
    """The frame with other positions of its vertices or points."""
    points = points.astype(np.float32)
    return Mesh(points, frame.faces) if isinstance(frame, Mesh) else Cloud(points, frame.weights)


def used(frame: Frame) -> Frame:
    """The frame without the vertices that no face uses: they are no part of the surface, wherever they lie."""
    if not isinstance(frame, Mesh):
        return frame
    kept = np.bincount(frame.faces.reshape(-1), minlength=len(frame.vertices)) > 0
    if kept.all():
        return frame
    return Mesh(frame.vertices[kept], (np.cumsum(kept) - 1)[frame.faces])


def is_open(mesh: Mesh) -> bool:
    """Whether the surface has holes or edges that do not pair up; what has no surface is not open."""
    if is_closed(mesh.faces) or not face_areas(mesh.vertices, mesh.faces).any():
        return False
    # files split vertices at seams of texture: what is joined in space is joined here, as it is for the solid
    return not is_closed(usable(mesh.vertices, mesh.faces).shell)


def open_frames(frames: Sequence[Frame]) -> int:
    """How many meshes are open: their solid is that of generalised winding numbers."""
    return sum(is_open(frame) for frame in frames if isinstance(frame, Mesh))


Sided = Motion | MeshSequence  # both have `frames`
