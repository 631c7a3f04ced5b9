"""Which clips of an animated file are worth an object: those that move, and in which the object fills its box."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sculpt4d.data.gltf_clips import PROBE_VERTICES, clips, tracks_of
from sculpt4d.data.gltf_file import GltfError
from sculpt4d.data.gltf_pose import pose, read_model
from sculpt4d.data.selection import Motion, distinct_poses

PROBES = 16  # moments at which a clip is judged
DISTINCT = 8  # poses among them that differ
FLAT = 0.05  # sides of boxes below this share of the longest count as that much
SAME = 0.02  # mean distance of the vertices, of the size: two clips nearer than this show one motion


class ClipMeasure(NamedTuple):
    """One clip of a file. key: its name, or its number where the name is not unique. motion: as the filter of
    `prepare.py` has it. fill: how much of the clip's box the object takes in a frame, as a length: cube root of the
    share of the volume of their boxes, mean over the frames; 1 for an object that stays where it is. path (t, v, 3):
    some vertices, in sizes of the first frame."""

    key: str
    motion: Motion
    fill: float
    path: Float[np.ndarray, "t v 3"]


def measure_clips(path: Path) -> tuple[ClipMeasure, ...]:
    """All clips of a file that can be played, judged at 16 moments. Raises GltfError for a damaged file."""
    model = read_model(path)
    found = clips(model.file)
    names = [clip.name for clip in found]
    thin = model.thinned(PROBE_VERTICES)
    measured = []
    for number, clip in enumerate(found):
        if not (clip.targets and clip.end > clip.start):
            continue
        try:
            frames, _ = pose(thin, tracks_of(model, clip), np.linspace(clip.start, clip.end, PROBES))
        except GltfError:  # this clip alone is damaged; `read_animation` tells why when somebody asks for it
            continue
        unique = clip.name and names.count(clip.name) == 1 and not clip.name.isdecimal()
        measured.append(ClipMeasure(str(clip.name) if unique else str(number), *_judge(frames)))
    return tuple(measured)


def _judge(frames: Float[np.ndarray, "t v 3"]) -> tuple[Motion, float, Float[np.ndarray, "t v 3"]]:
    sides, whole = np.ptp(frames, axis=1), np.ptp(frames, axis=(0, 1))
    size = max(float(sides[0].max()), 1e-12)
    least = FLAT * max(float(whole.max()), 1e-12)
    shares = (np.maximum(sides, least) / np.maximum(whole, least)).prod(axis=1)
    mean = float(np.linalg.norm(frames[1:] - frames[0], axis=2).mean()) / size
    reach = 2 * float(np.abs(frames - (frames[0].min(axis=0) + frames[0].max(axis=0)) / 2).max()) / size
    return Motion(distinct_poses(frames), mean, reach), float(np.cbrt(shares).mean()), frames / size


def choose_clips(
    measured: Sequence[ClipMeasure], limit: int, min_fill: float, min_motion: float, salt: str
) -> tuple[ClipMeasure, ...]:
    """At most `limit` clips that move enough and fill their box, no two of one motion.

    Which of the good ones is decided by SHA-256 of `salt` and key, so that files of one pack, which often share their
    list of motions, show different ones.
    """
    good = [
        clip
        for clip in measured
        if clip.motion.distinct >= DISTINCT and clip.motion.mean >= min_motion and clip.fill >= min_fill
    ]
    good.sort(key=lambda clip: hashlib.sha256(f"{salt}/{clip.key}".encode()).digest())
    chosen: list[ClipMeasure] = []
    for clip in good:
        if len(chosen) == limit:
            break
        if all(np.linalg.norm(clip.path - other.path, axis=2).mean() > SAME for other in chosen):
            chosen.append(clip)
    return tuple(chosen)
