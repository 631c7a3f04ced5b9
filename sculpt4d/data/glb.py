"""An animated glTF file read as one topology that moves, resampled to N frames."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from sculpt4d.data.gltf_file import GltfFile
from sculpt4d.data.gltf_pose import REST, Part, Tracks, pose, read_parts
from sculpt4d.data.keyframes import Track
from sculpt4d.types import AnimatedMesh

PROBES = 16  # moments at which the motion of a clip is judged
PROBE_VERTICES = 2000  # and about how many vertices of each part
SAME = 1e-6  # vertices closer than this share of the object, at all times, are one
LOOP = 1e-3  # first and last pose closer than this share: the clip loops


def read_animation(path: Path, frames: int, clip: str | int | None = None) -> AnimatedMesh:
    """The clip (name, number, or by default the one that moves most) at `frames` moments, evenly spaced.

    Moments run from the first to the last key; a clip whose last pose is its first loops, and leaves the last out.
    Colours are sRGB. Equal vertices are merged, so that surfaces are connected.
    Raises ValueError, naming file and remedy, for whatever is damaged, static, empty, not finite or unsupported.
    """
    if frames < 1:
        raise ValueError(f"{path}: {frames} frames cannot be read: ask for at least 1")
    file = GltfFile(Path(path))
    if not file.items("animations"):
        raise file.error("has no animation", "export it with its animation, or choose another object")
    parts, notes = read_parts(file)
    rest, rest_signs = pose(file, parts, {}, np.zeros(1))
    if not np.isfinite(rest).all():
        raise file.error("has vertices that are not finite", "clean the mesh and export it again")
    chosen, tracks = _choose(file, parts, clip)
    start, end = _interval(tracks)
    times, loops = _moments(file, parts, tracks, frames)
    moving, signs = pose(file, parts, tracks, times)
    if not np.isfinite(moving).all():
        raise file.error("has vertices that are not finite in motion", "clean the animation and export it again")
    poses = np.concatenate([rest, moving])
    mirrored = np.concatenate([rest_signs, signs]).sum(0) < 0
    starts = np.cumsum([0, *(len(part.positions) for part in parts)])
    faces = np.concatenate(
        [
            (part.faces[:, ::-1] if flip else part.faces) + offset
            for part, flip, offset in zip(parts, mirrored, starts, strict=False)
        ]
    )
    faces = _merge(poses, np.concatenate([np.full(len(part.positions), part.node) for part in parts]))[faces]
    kept = _solid(poses, faces)
    if not kept.any():
        raise file.error("has only degenerate faces", "give a mesh with triangles of some area")
    if not kept.all():
        notes = [*notes, f"{np.count_nonzero(~kept)} degenerate faces left out"]
    used, rows = np.unique(faces[kept], return_inverse=True)
    return AnimatedMesh(
        vertices=poses[1:, used].astype(np.float32),
        faces=rows.reshape(-1, 3).astype(np.int64),
        rest=poses[0, used].astype(np.float32),
        colors=np.concatenate([part.colors for part in parts])[kept].astype(np.float32),
        times=times,
        name=Path(path).stem,
        notes=(f"clip {_label(file, chosen)}, {end - start:.3f} s{', loops' if loops else ''}", *notes),
    )


def _label(file: GltfFile, row: int) -> str:
    """The clip's name in quotes, or its number."""
    return repr(file.items("animations")[row].get("name") or row)


def _tracks(file: GltfFile, row: int) -> Tracks:
    """What a clip moves, by node and path; channels of other targets (cameras, extensions) are left out."""
    tracks: Tracks = {}
    try:
        animation = file.items("animations")[row]
        for channel in animation["channels"]:
            target, sampler = channel["target"], animation["samplers"][channel["sampler"]]
            path = target.get("path", "")
            if "node" not in target or path not in (*REST, "weights"):
                continue
            times = file.array(sampler["input"])[:, 0].astype(np.float64)
            values = file.array(sampler["output"]).astype(np.float64)
            kind = sampler.get("interpolation", "LINEAR")
            keys = (len(times), 3) if kind == "CUBICSPLINE" else (len(times),)
            shaped = values.reshape(*keys, values.size // max(int(np.prod(keys)), 1))
            if not (np.isfinite(times).all() and np.isfinite(values).all()):
                raise file.error(f"has keys that are not finite in clip {_label(file, row)}", "export it again")
            if path in REST and shaped.shape[-1] != len(REST[path]):
                raise file.error(f"is damaged: clip {row} gives {path} {shaped.shape[-1]} numbers", "export it again")
            if len(times):
                tracks[target["node"], path] = Track(target["node"], path, times, shaped, kind)
    except (KeyError, IndexError, TypeError) as error:
        raise file.error(f"is damaged: clip {row} cannot be resolved ({error!r})", "export it again") from error
    except ValueError as error:
        if str(file.path) in str(error):
            raise
        raise file.error(f"is damaged: clip {row} has keys without values", "export it again") from error
    return tracks


def _interval(tracks: Tracks) -> tuple[float, float]:
    """First and last key, seconds."""
    if not tracks:
        return 0.0, 0.0
    return (
        float(min(track.times[0] for track in tracks.values())),
        float(max(track.times[-1] for track in tracks.values())),
    )


def _choose(file: GltfFile, parts: list[Part], clip: str | int | None) -> tuple[int, Tracks]:
    """The clip asked for, or the one whose vertices travel furthest; the first wins a tie."""
    names = [animation.get("name") for animation in file.items("animations")]
    if clip is None:
        candidates = list(range(len(names)))
    elif clip in names:
        candidates = [names.index(clip)]
    elif str(clip).isdecimal() and int(clip) < len(names):
        candidates = [int(clip)]
    else:
        raise file.error(f"has no clip {clip!r}", f"choose one of {names}, or a number below {len(names)}")
    thin = [part.thinned(PROBE_VERTICES) for part in parts]
    found: dict[int, tuple[float, Tracks]] = {}
    for row in candidates:
        tracks = _tracks(file, row)
        start, end = _interval(tracks)
        if end > start:
            path, _ = pose(file, thin, tracks, np.linspace(start, end, PROBES))
            if not np.isfinite(path).all():
                fault = f"has vertices that are not finite in clip {_label(file, row)}"
                raise file.error(fault, "clean the animation and export it again")
            found[row] = (float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum(0).mean()), tracks)
    if not found:
        raise file.error("has an animation of zero duration", "give a clip of two keys or more, at different times")
    best = max(found, key=lambda row: found[row][0])
    if found[best][0] == 0:
        raise file.error("has an animation, but it moves no vertex", "choose another clip or object")
    return best, found[best][1]


def _moments(file: GltfFile, parts: list[Part], tracks: Tracks, frames: int) -> tuple[Float[np.ndarray, " t"], bool]:
    """The times to read, and whether the clip loops."""
    start, end = _interval(tracks)
    ends, _ = pose(file, parts, tracks, np.array([start, end]))
    extent = float(np.ptp(ends, axis=(0, 1)).max())
    loops = bool(np.abs(ends[1] - ends[0]).max() <= LOOP * extent)
    return np.linspace(start, end, frames, endpoint=not loops), loops


def _merge(poses: Float[np.ndarray, "t v 3"], owner: Int[np.ndarray, " v"]) -> Int[np.ndarray, " v"]:
    """For every vertex the first one of the same owner that is where it is in every pose.

    Positions are rounded to a grid and hashed: rows that agree get one 64-bit word, others differ but for chance.
    """
    extent = max(float(np.ptp(poses, axis=(0, 1)).max()), 1e-30)
    cells = np.rint((poses - poses.min(axis=(0, 1))) / (SAME * extent)).astype(np.uint64)
    mix = np.random.default_rng(0).integers(1, 2**63, (len(poses), 3), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    words = owner.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for frame in range(len(poses)):
        words = words + (cells[frame] * mix[frame]).sum(axis=1, dtype=np.uint64)
    _, first, row = np.unique(words, return_index=True, return_inverse=True)
    return first[row]


def _solid(poses: Float[np.ndarray, "t v 3"], faces: Int[np.ndarray, "f 3"]) -> Bool[np.ndarray, " f"]:
    """Faces with three different corners and, at some time, an area."""
    extent = float(np.ptp(poses, axis=(0, 1)).max())
    area = np.zeros(len(faces))
    for frame in poses:
        first, second, third = (frame[faces[:, corner]] for corner in range(3))
        area = np.maximum(area, np.linalg.norm(np.cross(second - first, third - first), axis=1))
    a, b, c = faces.T
    return (a != b) & (b != c) & (c != a) & (area > 1e-14 * extent**2)
