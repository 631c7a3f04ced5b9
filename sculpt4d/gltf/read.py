"""Read an animated glTF file as one mesh with moving vertices, resampled to N frames."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from sculpt4d.gltf.clips import GltfClip, choose, clips
from sculpt4d.gltf.materials import read_appearance
from sculpt4d.gltf.pose import Model, Tracks, pose, read_model, triangles
from sculpt4d.gltf.primitives import face_crosses
from sculpt4d.types import AnimatedMesh, Appearance

SAME = 1e-6  # vertices closer than this share of the object's size at all times are merged
LOOP = 1e-3  # the clip loops if first and last pose differ by less than this share


class StillError(ValueError):
    """The file is valid, but nothing in it moves."""


def read_animation(path: Path, frames: int, clip: str | int | None = None) -> AnimatedMesh:
    """Read a clip (name, index, or by default the one with the most motion) at `frames` evenly spaced timestamps.

    Timestamps run from the first to the last key. If the last pose equals the first, the clip loops and the last
    timestamp is omitted. Colours are sRGB. Equal vertices are merged, so that surfaces are connected. Every choice is
    recorded in the notes.

    Raises ValueError, naming file and remedy, for damaged, empty, non-finite or unsupported content, and its subclass
    StillError when nothing moves.
    """
    if frames < 1:
        raise ValueError(f"{path}: {frames} frames cannot be read: ask for at least 1")
    model = read_model(path)
    file = model.file
    found = clips(file)
    if not found:
        raise StillError(file.error("has no animation", "export it with its animation, or choose another object"))
    choice = choose(model, found, clip)
    start, end = choice.clip.start, choice.clip.end
    if not end > start:
        remedy = "give a clip of two keys or more, at different times"
        raise StillError(file.error("has an animation of zero duration", remedy))
    if choice.travel == 0:
        raise StillError(file.error("has an animation, but it moves no vertex", "choose another clip or object"))
    times, loops = _moments(model, choice.tracks, choice.clip, frames)
    rest, rest_signs = pose(model, {}, np.zeros(1))
    moving, signs = pose(model, choice.tracks, times)
    poses = np.concatenate([rest, moving])
    del moving
    model = _outward(model, np.concatenate([rest_signs, signs]).sum(axis=0) < 0)
    owner = np.repeat([part.node for part in model.parts], [len(part.positions) for part in model.parts])
    faces = _merge(poses, owner)[triangles(model)]
    kept = _solid(poses, faces)
    if not kept.any():
        raise file.error("has only degenerate faces", "give a mesh with triangles of some area")
    used, rows = np.unique(faces[kept], return_inverse=True)
    with np.errstate(over="ignore"):
        vertices = poses[1:, used].astype(np.float32)
    if not np.isfinite(vertices).all():
        raise file.error("has vertices that are not finite in 32 bits", "scale it down and export it again")
    appearance, colors, missing = read_appearance(file, model.parts)
    notes = [f"clip {choice.clip.label}, {end - start:.3f} s{', loops' if loops else ''}", *choice.notes, *model.notes]
    if not kept.all():
        notes.append(f"{np.count_nonzero(~kept)} degenerate faces left out")
    return AnimatedMesh(
        vertices=vertices,
        faces=rows.reshape(-1, 3).astype(np.int64),
        rest=poses[0, used].astype(np.float32),
        colors=colors[kept],
        times=times,
        name=Path(path).stem,
        notes=(*notes, *missing),
        appearance=Appearance(
            appearance.colors[kept], appearance.texcoords[kept], appearance.texture[kept], appearance.textures
        ),
    )


def _moments(model: Model, tracks: Tracks, clip: GltfClip, frames: int) -> tuple[Float[np.ndarray, " t"], bool]:
    """Return the timestamps to read, and whether the clip loops."""
    ends, _ = pose(model, tracks, np.array([clip.start, clip.end]))
    extent = float(np.ptp(ends, axis=(0, 1)).max())
    loops = bool(np.abs(ends[1] - ends[0]).max() <= LOOP * extent)
    return np.linspace(clip.start, clip.end, frames, endpoint=not loops), loops


def _outward(model: Model, mirrored: Bool[np.ndarray, " p"]) -> Model:
    """Reverse the faces of mirrored parts, so that all faces are counter-clockwise seen from outside."""
    parts = [
        part._replace(faces=part.faces[:, ::-1]) if flip else part
        for part, flip in zip(model.parts, mirrored, strict=True)
    ]
    return model._replace(parts=parts)


def _merge(poses: Float[np.ndarray, "t v 3"], owner: Int[np.ndarray, " v"]) -> Int[np.ndarray, " v"]:
    """Map every vertex to the first one of the same owner with equal positions in every pose.

    Positions are rounded to a grid and hashed to 64 bits; different vertices collide only by chance.
    """
    low = poses.min(axis=(0, 1))
    cell = SAME * max(float((poses.max(axis=(0, 1)) - low).max()), 1e-30)
    mix = np.random.default_rng(0).integers(1, 2**63, (len(poses), 3), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    words = owner.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for frame, factors in zip(poses, mix, strict=True):
        words += (np.rint((frame - low) / cell).astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    _, first, row = np.unique(words, return_index=True, return_inverse=True)
    return first[row]


def _solid(poses: Float[np.ndarray, "t v 3"], faces: Int[np.ndarray, "f 3"]) -> Bool[np.ndarray, " f"]:
    """Return which faces have three different corners and a non-zero area at some time."""
    extent = float((poses.max(axis=(0, 1)) - poses.min(axis=(0, 1))).max())
    a, b, c = faces.T
    solid = np.zeros(len(faces), bool)
    open_rows = np.flatnonzero((a != b) & (b != c) & (c != a))
    for frame in poses:  # nearly all faces have an area in the first pose
        found = np.linalg.norm(face_crosses(frame[faces[open_rows]]), axis=1) > 1e-14 * extent**2
        solid[open_rows[found]] = True
        open_rows = open_rows[~found]
    return solid
