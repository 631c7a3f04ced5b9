"""Appearance as a source: images of predictions beside images of a ground truth, compared by networks.

Each side is meshes, which are drawn first, an object per process, or images that others rendered. Images and results
are kept, so the same command takes them up again.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sculpt4d import identity
from sculpt4d.evaluation.appearance.compare import DEFINITIONS, PERFECT, AppearanceEvaluator, AppearanceMetrics
from sculpt4d.evaluation.appearance.draw import SIDES, Drawing, RenderedObject, draw_object, read_drawn, sides_of
from sculpt4d.evaluation.appearance.i3d import SHORTEST, TOO_FEW, frechet_distance
from sculpt4d.evaluation.appearance.images import Pictures, find_pictures, read_view
from sculpt4d.evaluation.folders import UNKNOWN
from sculpt4d.evaluation.inputs.layouts import MotionSource, find_motions
from sculpt4d.evaluation.inputs.pairing import pair_objects
from sculpt4d.evaluation.measure import InProcess, Opened, Result, Sample, SetValue, Source
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.provenance import hardware, seconds_per_clip
from sculpt4d.files import file_digest
from sculpt4d.jobs.executor import Executor
from sculpt4d.jobs.progress import shown

log = logging.getLogger(__name__)

NAME = "appearance"
FORMAT = 1  # raised when the same files and settings would be drawn otherwise
EXECUTOR = InProcess(failing=(ValueError, OSError))  # all objects share the networks

Side = MotionSource | Pictures


@dataclass(frozen=True)
class DrawnObject:
    """One pair of images: drawn under `drawing.folder`, or where others left them."""

    drawing: Drawing
    judge: AppearanceEvaluator

    @property
    def name(self) -> str:
        """Of the object."""
        return self.drawing.name

    def open(self) -> Opened:
        """Reads what the drawing says of its input."""
        drawn = read_drawn(self.drawing.folder)
        return Opened(drawn.digest, partial(self._measure, drawn))

    def _measure(self, drawn: RenderedObject, result: Result, seeds: Sequence[int]) -> Iterator[Result]:
        """The views one after the other. Raises ValueError when the sides cannot be compared."""
        started = time.perf_counter()
        values: list[dict[str, float]] = []
        features: dict[str, list[list[float]]] = {side: [] for side in SIDES}
        notes = list(drawn.notes)
        for mine, theirs in pair_views(*sides_of(self.drawing)):
            frames, wanted = read_view(mine), read_view(theirs)
            if len(frames) < len(wanted):
                raise ValueError(f"{len(frames)} pictures were given in {mine}, the ground truth has {len(wanted)}")
            if len(frames) > len(wanted):
                notes.append(f"first {len(wanted)} of {len(frames)} pictures of view {mine.stem} used")
            pair = self.judge.pictures(frames[: len(wanted)], str(mine)), self.judge.pictures(wanted, str(theirs))
            values.append(self.judge.compare(*pair))
            if "fvd" in self.judge.networks:
                for side, pictures in zip(SIDES, pair, strict=True):
                    features[side].extend(self.judge.features(pictures).tolist())
        means = {name: float(np.mean([view[name] for view in values])) for name in values[0]}
        (seed,) = seeds
        yield replace(
            result,
            frames=drawn.frames,
            floor={name: PERFECT[name] for name in means},
            samples={seed: Sample(means, drawn.failed_frames)},
            layouts=drawn.layouts,
            notes=notes,
            seconds=round(time.perf_counter() - started, 3),
            features=features,
        )


def plan_appearance(
    predictions: Path,
    ground_truth: Path,
    protocol: Protocol,
    settings: AppearanceMetrics,
    output: Path,
    executor: Executor,
    *,
    method: str | None = None,
    moments: int = 16,
    pattern: str | None = None,
    names: Sequence[str] | None = None,
    device: str = "cpu",
    placement: Mapping[str, Any],
) -> Source:
    """Every object of the ground truth, or those of `names`; meshes are drawn before this returns.

    placement: the protocol, which places meshes before they are drawn, as its configuration has it. Raises ValueError
    for missing networks or cameras, before anything is drawn, and FileNotFoundError for a side without objects.
    """
    cameras, files = settings.views(), settings.find_networks()
    hashes = {name: {file.name: file_digest(file) for file in found} for name, found in files.items()}
    of_fvd = ("window", "epsilon") if "fvd" in settings.measures else ()
    constants = {
        "name": NAME,
        "placement": dict(placement),
        "cameras": [asdict(camera) for camera in cameras],
        **{name: getattr(settings, name) for name in ("size", "crop", *of_fvd)},
        "networks": hashes,
    }
    drawn_by = {name: constants[name] for name in ("placement", "cameras", "size")} | {"moments": moments}
    pictures = output.absolute() / "pictures" / identity.digest({"drawing": FORMAT, **drawn_by})
    log.info("pictures: %s", pictures)
    truths = find_sides(ground_truth)
    pairs = pair_objects((predictions, find_sides(predictions, pattern)), (ground_truth, truths), names)
    drawings = [
        Drawing(name, *pair, protocol, moments, cameras, settings.size, pictures / name)
        for name, pair in pairs.found.items()
    ]
    failed = dict.fromkeys(pairs.missing, UNKNOWN) | draw_all(drawings, executor, pictures)
    judge = AppearanceEvaluator(settings, files, device)
    method = method or predictions.name
    return Source(
        method=method,
        title=f"{method}, {NAME}",
        output=output,
        jobs=[DrawnObject(drawing, judge) for drawing in drawings if drawing.name not in failed],
        executor=EXECUTOR,
        seeds=(protocol.seed,),
        identity={"source": NAME, "moments": moments, **constants},
        settings={"protocol": constants},
        protocol={**constants, "definitions": dict(DEFINITIONS)},
        facts={
            "networks": {name: dict(settings.networks[name]) | {"files": hashes[name]} for name in files},
            "seconds_per_clip": seconds_per_clip(predictions),
            "hardware": {**hardware(), "device": device},
        },
        failed=failed,
        without_ground_truth=pairs.without_ground_truth,
        of_set=partial(distance_of_set, settings) if "fvd" in settings.measures else None,
    )


def find_sides(root: Path, pattern: str | None = None) -> dict[str, Side]:
    """Objects by name: meshes where the folder holds any, else images. pattern: of meshes, as in layouts.py.

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


def draw_all(drawings: Sequence[Drawing], executor: Executor, folder: Path) -> dict[str, str]:
    """Draws what is meshes. Returns the objects that could not be drawn, with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = executor.run(drawings, draw_object, folder)
    return {o.name: o.reason for o in shown(outcomes, len(drawings), "Drawing") if o.status == "failed"}


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


def distance_of_set(settings: AppearanceMetrics, results: Sequence[Result]) -> dict[str, SetValue]:
    """FVD of all clips of all objects and views."""
    sides = [[row for result in results for row in result.features[side]] for side in SIDES]
    count = len(sides[0])
    value = frechet_distance(*(np.array(side) for side in sides)) if count else float("nan")
    absent = "" if count >= 2 else f"{count} clips of {settings.window or SHORTEST} frames or more: {TOO_FEW}"
    having = sum(bool(result.features[SIDES[0]]) for result in results)
    return {"fvd": SetValue(value, PERFECT["fvd"], having, absent)}
