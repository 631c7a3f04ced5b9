"""Filter for training objects: checks of origin, licence, size and motion, with a reason for each rejection.

The thresholds are conf keys (conf/prepare.yaml, `filter`). A reason starts with its kind and a colon.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sculpt4d.config.settings import Thresholds
from sculpt4d.gltf.document import GltfFile
from sculpt4d.jobs.executor import Unsuitable
from sculpt4d.preparation.exclusions import excluded_ids
from sculpt4d.types import AnimatedMesh

SAME = 1e-4  # share of the size: poses whose vertices all lie closer count as one
LICENCE = re.compile(r"\b(cc0)\b|(?:\bcc[ -]|licenses/|^)(by(?:-(?:nc|sa|nd))*)\b|publicdomain/(zero)")


@dataclass(frozen=True)
class Selection(Thresholds):
    """Thresholds of the filter. Sizes are the longest side of the first frame's bounding box.

    min_frames: distinct poses of the clip. min_motion: mean distance of the vertices from the first frame. max_reach:
    side of the cube around the first frame that contains all vertices. licences: None allows all. excluded: maps an id
    or name to the list that contains it. advice: record failed checks as notes instead of rejecting, for a single named
    file. Static objects are always rejected.
    """

    licences: frozenset[str] | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)
    advice: bool = False


class MotionStats(NamedTuple):
    """Motion of a clip.

    distinct: number of distinct poses. mean, reach: measured as `Selection` defines min_motion and max_reach.
    """

    distinct: int
    mean: float
    reach: float


def choose(
    licences: Sequence[str] | None,
    benchmarks: Sequence[str],
    exclude: Sequence[str],
    min_frames: int,
    min_motion: float | int,
    max_reach: float | int,
    max_vertices: int,
) -> Selection:
    """Build the selection from the conf group `filter`. exclude: text files of ids.

    Raises ValueError for an unknown benchmark.
    """
    allowed = None if licences is None else frozenset(map(short_licence, licences))
    excluded = excluded_ids(benchmarks, [Path(name).expanduser() for name in exclude])
    return Selection(min_frames, float(min_motion), float(max_reach), max_vertices, allowed, excluded)


def short_licence(text: str) -> str:
    """Shorten a licence as Objaverse writes it ('CC-BY-4.0 (http://...)'): by, by-nc-sa, cc0; others in lower case."""
    found = LICENCE.search(text.lower().strip().replace("creative commons", "cc"))
    if found is None:
        return text.lower().strip()
    return "cc0" if found[1] or found[3] else found[2]


def stated_licence(file: GltfFile) -> str | None:
    """Return the licence stated in a glTF file, as Sketchfab's exports do; None when there is none."""
    asset = file.json["asset"]
    extras = asset.get("extras")
    stated = extras.get("license") if isinstance(extras, dict) else None
    return short_licence(stated) if isinstance(stated, str) and stated.strip() else None


def check_origin(names: Sequence[str], licence: str | None, selection: Selection) -> list[str]:
    """Return the reasons to reject an object before reading its file.

    names: id and name. licence: None is not checked.
    """
    reasons = []
    lists = {selection.excluded[name.lower()] for name in names if name.lower() in selection.excluded}
    if lists:
        reasons.append(f"excluded: the id is in {', '.join(sorted(lists))} (filter.benchmarks, filter.exclude)")
    if licence is not None and selection.licences is not None and licence not in selection.licences:
        allowed = ", ".join(sorted(selection.licences))
        reasons.append(f"licence: {licence or 'none given'}, allowed are {allowed} (filter.licences)")
    return reasons


def check_size(vertices: int, selection: Selection) -> list[str]:
    if vertices <= selection.max_vertices:
        return []
    return [f"too many vertices: {vertices}, at most {selection.max_vertices} (filter.max_vertices)"]


def check_motion(motion: MotionStats, selection: Selection) -> list[str]:
    """Return the reasons to reject a clip after reading it. Raises Unsuitable when nothing moves at all."""
    if motion.distinct < 2:
        raise Unsuitable("not animated: all frames show one pose")
    reasons = []
    if motion.distinct < selection.min_frames:
        reasons.append(
            f"too few frames: {motion.distinct} distinct, at least {selection.min_frames} (filter.min_frames)"
        )
    if motion.mean < selection.min_motion:
        reasons.append(
            f"too little motion: vertices are {motion.mean:.4f} of the size away from the first frame on average, at "
            f"least {selection.min_motion} (filter.min_motion)"
        )
    if motion.reach > selection.max_reach:
        reasons.append(
            f"travels too far: a box of {motion.reach:.2f} times the size is needed, at most {selection.max_reach} "
            "(filter.max_reach)"
        )
    return reasons


def settle(reasons: Sequence[str], selection: Selection) -> list[str]:
    """Raise Unsuitable with the reasons, or return them as notes with `advice`."""
    if reasons and not selection.advice:
        raise Unsuitable("; ".join(reasons))
    return [f"kept although {reason}" for reason in reasons]


def measure_motion(animated: AnimatedMesh) -> MotionStats:
    """Measure the motion of the clip over the frames that were read."""
    frames = animated.vertices
    low, high = frames[0].min(axis=0), frames[0].max(axis=0)
    size = float((high - low).max())
    if size <= 0:  # the object grows from a point: any other frame leaves any box around it
        return MotionStats(distinct_poses(frames), float("inf"), float("inf"))
    mean = float(np.mean([np.linalg.norm(frame - frames[0], axis=1).mean() for frame in frames[1:]] or [0.0]))
    reach = float(np.abs(frames - (low + high) / 2).max())
    return MotionStats(distinct_poses(frames), mean / size, 2 * reach / size)


def distinct_poses(frames: Float[np.ndarray, "t v 3"]) -> int:
    """Count the frames that differ from every earlier one in some vertex. A pose that recurs counts once."""
    near = SAME * float(np.ptp(frames, axis=(0, 1)).max())
    kept: list[np.ndarray] = []
    for frame in frames:
        if all(np.abs(frame - other).max() > near for other in kept):
            kept.append(frame)
    return len(kept)
