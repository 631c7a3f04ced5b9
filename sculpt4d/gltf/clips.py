"""Clips of a glTF file: their channels, animations that play together, and the choice of the clip with most motion."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sculpt4d.gltf.accessors import array
from sculpt4d.gltf.document import GltfError, GltfFile
from sculpt4d.gltf.keyframes import Track
from sculpt4d.gltf.pose import Model, Tracks, pose
from sculpt4d.gltf.tree import REST

PROBES = 16  # timestamps at which the motion of a clip is measured
PROBE_VERTICES = 4000  # approximate number of vertices used for it
MOST_NUMBERS = 2**25  # maximum count of numbers in the keys of one clip: 1/8 GiB
ALIKE = 0.01  # animations that start and end within this share of their length may form one clip
MOST_NAMED = 12  # maximum number of animations named in a note
POINTER = re.compile(r"/nodes/(\d+)/(translation|rotation|scale|weights)")
INTERPOLATIONS = ("LINEAR", "STEP", "CUBICSPLINE")


class GltfClip(NamedTuple):
    """One animation, or several that play together. start, end: seconds. targets: (node, path) of each channel."""

    name: str | None
    animations: tuple[int, ...]
    start: float
    end: float
    targets: frozenset[tuple[int, str]]
    interpolations: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return the name in quotes, or the index of a clip without a name."""
        return repr(self.name) if self.name else str(self.animations[0])


class ClipChoice(NamedTuple):
    """A chosen clip with its tracks and the reasons for the choice.

    travel: mean distance a vertex moves. notes: reasons.
    """

    clip: GltfClip
    tracks: Tracks
    travel: float
    notes: tuple[str, ...]


class Channel(NamedTuple):
    """One channel of an animation: its target, and the accessors of its keys."""

    node: int
    path: str
    times: int
    values: int
    interpolation: str


def clips(file: GltfFile) -> list[GltfClip]:
    """Return the file's animations in order, followed by groups of animations that form one clip.

    Some exporters write one animation per object. Animations form a group when they start and end at the same times and
    no two of them have the same target.
    """
    singles = [_outline(file, row) for row in range(len(file.items("animations")))]
    groups: list[list[int]] = []
    for row in sorted(range(len(singles)), key=lambda row: (singles[row].end, singles[row].start, row)):
        clip = singles[row]
        if not clip.targets or clip.end <= clip.start:
            continue
        first = singles[groups[-1][0]] if groups else None
        near = ALIKE * (clip.end - clip.start)
        if first and abs(first.start - clip.start) <= near and abs(first.end - clip.end) <= near:
            groups[-1].append(row)
        else:
            groups.append([row])
    return singles + [
        _together([singles[row] for row in sorted(group)]) for group in groups if _disjoint(group, singles)
    ]


def tracks_of(model: Model, clip: GltfClip) -> dict[tuple[int, str], Track]:
    """Return the tracks of all channels of a clip. Raises GltfError for keys that cannot be played."""
    tracks, numbers = {}, 0
    times: dict[int, np.ndarray] = {}
    file = model.file
    for animation in clip.animations:
        with file.reading(f"animation {animation}"):
            for channel in _channels(file, animation):
                if channel.times not in times:
                    times[channel.times] = _times(file, channel.times, clip)
                keys = _track(file, channel, times[channel.times], clip)
                numbers += keys.values.size
                if numbers > MOST_NUMBERS:
                    fault = f"has more than {MOST_NUMBERS} numbers in the keys of clip {clip.label}"
                    raise file.error(fault, "resample it at fewer keys")
                tracks[channel.node, channel.path] = keys
    return tracks


def choose(model: Model, found: list[GltfClip], asked: str | int | None) -> ClipChoice:
    """Return the clip with the requested name or index, or the clip whose vertices travel furthest.

    The first clip wins a tie. Raises GltfError when there is no such clip, or none can be played.
    """
    if asked is None:
        # members of a group are not also tried alone: there may be one animation per node
        inside = {row for clip in found if len(clip.animations) > 1 for row in clip.animations}
        outer = [clip for clip in found if len(clip.animations) > 1 or clip.animations[0] not in inside]
        candidates = [clip for clip in outer if clip.targets and clip.end > clip.start] or found
    else:
        candidates = [_asked(model.file, found, asked)]
    thin = model.thinned(PROBE_VERTICES)
    best: ClipChoice | None = None
    faults = []
    for clip in candidates:
        try:
            tracks = tracks_of(model, clip)
            travel = _travel(thin, tracks, clip)
        except GltfError as error:
            if len(candidates) == 1:
                raise
            faults.append(f"clip {clip.label} left out: {error}")
            continue
        if best is None or travel > best.travel:
            best = ClipChoice(clip, tracks, travel, ())
    if best is None:
        fault = f"has no clip that can be played ({faults[0] if faults else 'none at all'})"
        raise model.file.error(fault, "clean its animation and export it again")
    notes = [f"of {len(found)} clips the one that moves most"] if asked is None and len(found) > 1 else []
    if len(best.clip.animations) > 1:
        rows = ", ".join(map(str, best.clip.animations[:MOST_NAMED]))
        more = ", ..." if len(best.clip.animations) > MOST_NAMED else ""
        notes.append(f"{len(best.clip.animations)} animations ({rows}{more}) played as one motion")
    if others := _ignored(model.file, best.clip):
        notes.append(f"{others} channels that move no node left out")
    return best._replace(notes=(*notes, *faults))


def _outline(file: GltfFile, row: int) -> GltfClip:
    """Return targets, start and end of an animation, read from the times of its keys only."""
    with file.reading(f"animation {row}"):
        channels = list(_channels(file, row))
        times = {channel.times for channel in channels}
        ends = np.array([(keys.min(), keys.max()) for keys in (array(file, one, 1) for one in times) if len(keys)])
        start, end = (float(ends[:, 0].min()), float(ends[:, 1].max())) if len(ends) else (0.0, 0.0)
        name = file.item("animations", row).get("name")
        targets = frozenset((channel.node, channel.path) for channel in channels)
        kinds = tuple(sorted({channel.interpolation for channel in channels}))
        return GltfClip(name if isinstance(name, str) else None, (row,), start, end, targets, kinds)


def _channels(file: GltfFile, row: int) -> Iterator[Channel]:
    """Yield the channels of an animation that target a node; others (cameras, materials) are skipped."""
    animation, nodes = file.item("animations", row), len(file.items("nodes"))
    for channel in animation["channels"]:
        target = channel["target"]
        node, path = target.get("node"), target.get("path")
        pointer = target.get("extensions", {}).get("KHR_animation_pointer", {}).get("pointer", "")
        if path == "pointer" and (match := POINTER.fullmatch(pointer)):
            node, path = int(match[1]), match[2]
        if not isinstance(node, int) or not 0 <= node < nodes or path not in (*REST, "weights"):
            continue
        if path == "weights" and not _target_count(file, node):
            continue
        number = channel["sampler"]
        if not 0 <= number < len(animation["samplers"]):
            raise file.error(f"is damaged: animation {row} has no sampler {number}", "export it again")
        sampler = animation["samplers"][number]
        yield Channel(node, path, sampler["input"], sampler["output"], sampler.get("interpolation", "LINEAR"))


def _target_count(file: GltfFile, node: int) -> int:
    """Return the number of morph targets of a node's mesh."""
    mesh = file.item("nodes", node).get("mesh")
    if mesh is None:
        return 0
    return max((len(primitive.get("targets", [])) for primitive in file.item("meshes", mesh)["primitives"]), default=0)


def _times(file: GltfFile, row: int, clip: GltfClip) -> np.ndarray:
    keys = array(file, row, 1)[:, 0].astype(np.float64)
    if len(keys) == 0 or not np.isfinite(keys).all() or (np.diff(keys) < 0).any():
        fault = f"is damaged: clip {clip.label} has keys whose times are not finite or not in order"
        raise file.error(fault, "export it again")
    return keys


def _track(file: GltfFile, channel: Channel, times: np.ndarray, clip: GltfClip) -> Track:
    """Return a channel's keys after checking them."""
    node, path, _, output, kind = channel
    values = array(file, output)
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    width = len(REST[path]) if path in REST else _target_count(file, node)
    shape = (len(times), 3, width) if kind == "CUBICSPLINE" else (len(times), width)
    if kind not in INTERPOLATIONS:
        raise file.error(f"is damaged: clip {clip.label} is interpolated by {kind!r}", "export it again")
    if values.size != np.prod(shape):
        fault = f"is damaged: clip {clip.label} has {values.size} numbers for {path} at {len(times)} keys"
        raise file.error(f"{fault} ({np.prod(shape)} expected)", "export it again")
    if not np.isfinite(values).all():
        raise file.error(f"has keys that are not finite in clip {clip.label}", "export it again")
    return Track(node, path, times, values.reshape(shape), kind)


def _ignored(file: GltfFile, clip: GltfClip) -> int:
    """Count the channels of a clip that target no node (materials, cameras, lights, missing nodes)."""
    given = sum(len(file.item("animations", row)["channels"]) for row in clip.animations)
    return given - sum(1 for row in clip.animations for _ in _channels(file, row))


def _asked(file: GltfFile, found: list[GltfClip], asked: str | int) -> GltfClip:
    names = [clip.name for clip in found]
    if asked in names:
        return found[names.index(str(asked))]
    if str(asked).isdecimal() and int(asked) < len(found):
        return found[int(asked)]
    labels = ", ".join(clip.label for clip in found) or "none: it has no animation"
    raise file.error(f"has no clip {asked!r}", f"choose one of {labels}, or a number below {len(found)}")


def _travel(thin: Model, tracks: Tracks, clip: GltfClip) -> float:
    """Return the mean distance that vertices travel during the clip."""
    if not clip.end > clip.start:
        return 0.0
    path, _ = pose(thin, tracks, np.linspace(clip.start, clip.end, PROBES))
    return float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum(0).mean())


def _disjoint(group: list[int], singles: list[GltfClip]) -> bool:
    targets = [singles[row].targets for row in group]
    return len(group) > 1 and sum(map(len, targets)) == len(frozenset().union(*targets))


def _together(parts: list[GltfClip]) -> GltfClip:
    """Combine several animations into one clip."""
    shown = [clip.name or str(clip.animations[0]) for clip in parts]
    return GltfClip(
        name=" + ".join(shown if len(shown) <= 3 else [*shown[:2], f"{len(shown) - 2} more"]),
        animations=tuple(row for clip in parts for row in clip.animations),
        start=min(clip.start for clip in parts),
        end=max(clip.end for clip in parts),
        targets=frozenset().union(*(clip.targets for clip in parts)),
        interpolations=tuple(sorted({kind for clip in parts for kind in clip.interpolations})),
    )
