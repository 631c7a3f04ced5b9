"""Objects of two folders paired by name, whether meshes or pictures, and the pictures of one object compared."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sculpt4d.evaluation.appearance.compare import PERFECT, Judge
from sculpt4d.evaluation.appearance.draw import Drawing, read_drawn, sides_of
from sculpt4d.evaluation.appearance.images import Pictures, find_pictures, read_view
from sculpt4d.evaluation.folders import Measured
from sculpt4d.evaluation.holdout import write_json
from sculpt4d.evaluation.inputs.layouts import Found, find_motions

Side = Found | Pictures


@dataclass(frozen=True)
class Looked:
    """One object's numbers, and I3D's rows (one per clip) of either side, from which FVD of the set is computed."""

    digest: str
    values: Mapping[str, float]
    predicted: Sequence[Sequence[float]]
    truth: Sequence[Sequence[float]]
    notes: Sequence[str]
    seconds: float


def find_sides(root: Path, pattern: str | None = None) -> dict[str, Side]:
    """Objects by name: meshes where the folder holds any, else pictures. pattern: of meshes, as in layouts.py.

    Raises FileNotFoundError when it holds neither.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} is missing: give a file or a folder of predictions or of ground truth")
    pictures = find_pictures(root)
    try:
        return dict(find_motions(root, pattern))
    except FileNotFoundError:
        if not pictures:
            raise
        return dict(pictures)


def compare_object(task: Drawing, judge: Judge, path: Path) -> Looked:
    """The views of an object one after the other; kept in `path` while its pictures are the same.

    Raises ValueError when the sides cannot be compared.
    """
    drawn = read_drawn(task.folder)
    if path.is_file():
        record = json.loads(path.read_text())
        if record["digest"] == drawn.digest:
            return Looked(**record)
    started = time.perf_counter()
    pairs = pair_views(*sides_of(task))
    values: list[dict[str, float]] = []
    rows: tuple[list[list[float]], list[list[float]]] = ([], [])
    notes = list(drawn.notes)
    for mine, theirs in pairs:
        frames, wanted = read_view(mine), read_view(theirs)
        if len(frames) < len(wanted):
            raise ValueError(f"{len(frames)} pictures were given in {mine}, the ground truth has {len(wanted)}")
        if len(frames) > len(wanted):
            notes.append(f"first {len(wanted)} of {len(frames)} pictures of view {mine.stem} used")
        sides = judge.pictures(frames[: len(wanted)], str(mine)), judge.pictures(wanted, str(theirs))
        values.append(judge.compare(*sides))
        if "fvd" in judge.networks:
            for side, pictures in zip(rows, sides, strict=True):
                side.extend(judge.features(pictures).tolist())
    means = {name: float(np.mean([view[name] for view in values])) for name in values[0]}
    looked = Looked(drawn.digest, means, *rows, notes, round(time.perf_counter() - started, 3))
    write_json(path, asdict(looked))
    return looked


def pair_views(predicted: Pictures, truth: Pictures) -> list[tuple[Path, Path]]:
    """Views of equal names, or in their order where the names differ. Raises ValueError when the counts differ."""
    mine, theirs = predicted.views, truth.views
    if len(mine) != len(theirs):
        raise ValueError(
            f"{len(mine)} views of the prediction ({', '.join(mine)}) and {len(theirs)} of the ground truth "
            f"({', '.join(theirs)}): render the same ones, or give one camera per view (metrics.azimuths)"
        )
    if mine.keys() == theirs.keys():
        return [(mine[name], theirs[name]) for name in theirs]
    return list(zip(mine.values(), theirs.values(), strict=True))


def measured(task: Drawing, looked: Looked) -> Measured:
    """An object as the result file of every evaluation holds it."""
    drawn = read_drawn(task.folder)
    return Measured(
        name=task.name,
        digest=drawn.digest,
        values=looked.values,
        floor={name: PERFECT[name] for name in looked.values},
        absent={},
        frames=drawn.frames,
        failed_frames=drawn.failed_frames,
        open_frames=0,
        layouts=drawn.layouts,
        notes=looked.notes,
        seconds=looked.seconds,
    )
