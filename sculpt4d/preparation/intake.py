"""Read the animation of one object according to its mode, and filter it before any computation."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sculpt4d.data.release import is_rendered, read_rendered, with_rest
from sculpt4d.gltf.document import GltfFile
from sculpt4d.gltf.read import StillError, read_animation
from sculpt4d.preparation.filter import (
    MotionStats,
    Selection,
    Unsuitable,
    check_motion,
    check_origin,
    check_size,
    measure_motion,
    settle,
    stated_licence,
)
from sculpt4d.types import AnimatedMesh

PROBES = 32  # minimum number of frames used to filter an animated file, however few are requested


class Origin(NamedTuple):
    """Origin of an object.

    file: an animated file; None in mode render. renders: the folder of finished renders; None in mode export. names: id
    and name; the object is excluded if either is listed.
    """

    file: Path | None
    renders: Path | None
    names: Sequence[str]
    licence: str | None
    clip: str | int | None


class Intake(NamedTuple):
    """Result of reading an object.

    licence: known from elsewhere or stated in the file; None if neither. motion: None if the object was not filtered.
    """

    animated: AnimatedMesh
    licence: str | None
    motion: MotionStats | None


def take_in(origin: Origin, frames: int, selection: Selection | None) -> Intake:
    """Read the animation at `frames` timestamps, or at all frames of finished renders.

    Without a selection nothing is filtered. Raises Unsuitable when the selection rejects the object; ValueError and
    OSError, naming the file, when it is damaged.
    """
    licence = origin.licence
    notes: list[str] = []
    if origin.file is not None and selection is not None:
        licence = stated_licence(GltfFile(origin.file)) if licence is None else licence
    if selection is not None:
        notes += settle(check_origin(origin.names, licence, selection), selection)
    if selection is None:
        return Intake(_read(origin, frames), licence, None)
    try:
        animated = _read(origin, frames)
    except StillError as error:
        raise Unsuitable(f"not animated: {error}") from error
    notes += settle(check_size(animated.vertices.shape[1], selection), selection)
    motion = measure_motion(_probe(animated, origin, frames))
    notes += settle(check_motion(motion, selection), selection)
    return Intake(dataclasses.replace(animated, notes=(*animated.notes, *notes)), licence, motion)


def _read(origin: Origin, frames: int) -> AnimatedMesh:
    if origin.renders is None:
        assert origin.file is not None
        return read_animation(origin.file, frames, origin.clip)
    if not is_rendered(origin.renders):
        raise FileNotFoundError(
            f"{origin.renders} holds no render_cond/frame_0000: render the object first, or use mode=export"
        )
    rendered = read_rendered(origin.renders)
    if origin.file is None:
        return rendered
    source = read_animation(origin.file, len(rendered.vertices), origin.clip)
    return with_rest(rendered, source, origin.renders, origin.file)


def _probe(animated: AnimatedMesh, origin: Origin, frames: int) -> AnimatedMesh:
    """Read the file again at more frames when there are too few for the filter."""
    if origin.renders is not None or origin.file is None or frames >= PROBES:
        return animated
    return read_animation(origin.file, PROBES, origin.clip)
