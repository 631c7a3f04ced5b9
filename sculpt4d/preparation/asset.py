"""Prepare one animated asset: surface points tracked through time, closed meshes, images (paper, section 3.2).

The module defines the job of one object, the check whether it is already prepared, and the stage timings.
"""

import dataclasses
import hashlib
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from sculpt4d.config.settings import PrepareSettings
from sculpt4d.data import release, store
from sculpt4d.geometry.bounds import clip_box, to_box
from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.surface import carry, sample_surface
from sculpt4d.geometry.watertight import watertight
from sculpt4d.preparation.filter import MotionStats, Selection
from sculpt4d.preparation.intake import Origin, take_in
from sculpt4d.preparation.sampling import SurfaceSamples, draw, place
from sculpt4d.preparation.synthetic import families as synthetic
from sculpt4d.render.cameras import Camera, choose_cameras
from sculpt4d.render.views import draw_views
from sculpt4d.types import AnimatedMesh, Appearance, Drawable, Mesh


class StageClock:
    """Processor time by stage; other programs do not count.

    `lap(stage)` adds the time since the previous lap to that stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, stage: str) -> None:
        now = time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def rounded(self) -> dict[str, float]:
        return {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}


# (one in this many query points, standard deviation of its offset from the surface in stored units)
NEAR = ((2, 0.015), (4, 0.06))
FAR = 0.51  # the other query points are uniform in a cube of this half side


@dataclass(frozen=True)
class PrepareJob:
    """One object to prepare.

    made: seed of a synthetic object, whose GLB is written first; None for files. mode: see release.py. path: the
    animated file, or in mode render the folder of finished renders. selection: filter applied to the object; None: no
    filter. licence: None when unknown.
    """

    name: str
    path: Path
    folder: Path
    settings: PrepareSettings
    family: str = ""
    clip: str | int | None = None
    made: int | None = None
    mode: str = "export"
    uid: str = ""
    licence: str | None = None
    selection: Selection | None = None


def is_prepared(job: PrepareJob) -> bool:
    """Return whether the folder holds this object with the same source, settings, mode, clip and seed."""
    if not (job.folder / store.RECORD).is_file() or not store.complete(job.folder):
        return False
    record = store.read_record(job.folder)
    if record["mode"] != job.mode:
        return record["mode"] == "export" and job.path == job.folder  # prepared here from its file: nothing to add
    same = recorded_settings(job.folder) == job.settings and record["clip"] == _clip_label(job)
    if job.made is not None:
        return same and record["seed"] == job.made and record["family"] == job.family
    return same and job.path.exists() and record["sha256"] == _digest(job)


def recorded_settings(folder: Path) -> PrepareSettings | None:
    """Return the settings the object was prepared with, or None when they are not ours.

    Settings that its version did not have get their defaults.
    """
    known = {field.name for field in dataclasses.fields(PrepareSettings)}
    settings = store.read_record(folder)["settings"]
    return PrepareSettings(**settings) if settings.keys() <= known else None  # type: ignore[arg-type]


def prepare_object(job: PrepareJob) -> Path:
    """Prepare one object in `job.folder`, which appears only when complete.

    Raises ValueError, naming the file, and Unsuitable when the selection rejects the object.
    """
    if job.made is not None:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        synthetic.write_object(job.name, job.family, job.made, job.path)
    clock = StageClock()
    file = None if job.mode == "render" else job.path
    renders = {"export": None, "hybrid": job.folder, "render": job.path}[job.mode]
    origin = Origin(file, renders, (job.name, job.uid, job.path.stem), job.licence, job.clip)
    animated, licence, motion = take_in(origin, job.settings.frames, job.selection)
    clock.lap("reading")
    try:
        return prepare_animation(animated, dataclasses.replace(job, licence=licence), clock, motion)
    except ValueError as error:
        raise ValueError(f"{job.path}: {error}") from error


def prepare_animation(
    animated: AnimatedMesh, job: PrepareJob, clock: StageClock | None = None, motion: MotionStats | None = None
) -> Path:
    """Prepare an animation that is already read.

    Points are sampled once on the rest pose and carried to every frame, so that index k is one material point in all
    frames. With consistent=False they are sampled again for every frame: the distribution on the rest pose is the same,
    but indices do not correspond between frames.
    """
    settings, clock = job.settings, clock or StageClock()
    rng = np.random.default_rng((settings.seed, zlib.crc32(job.name.encode())))
    rendered = job.mode != "export"
    box = release.rendered_box(animated) if rendered else clip_box(animated.vertices)
    vertices = to_box(animated.vertices, box)
    notes = list(animated.notes)
    drawn = _draw(animated, settings, rng)
    if settings.sharp_points and len(drawn.sharp.face) == 0:
        notes.append("the rest pose has no sharp edge: sharp_surface is empty")
    cameras = () if rendered else choose_cameras(settings.views, settings.front, rng)
    source = job.path if job.mode == "render" else job.folder
    opened = release.beside(source, job.folder) if rendered else store.writing(job.folder, cameras, box)
    clock.lap("sampling")
    with opened as writer:
        for number, pose in enumerate(vertices):
            if number and not settings.consistent:
                drawn = _draw(animated, settings, rng)
            mesh, look = Mesh(pose, animated.faces), animated.appearance
            writer.add(_frame(mesh, animated.colors, look, drawn, cameras, settings, rng, clock))
            clock.lap("writing")
        counts = {"vertices": vertices.shape[1], "faces": len(animated.faces), "sharp": len(drawn.sharp.face)}
        writer.finish(
            store.Record(
                name=job.name,
                family=job.family,
                source=job.path.name,
                sha256=_digest(job),
                clip=_clip_label(job),
                settings=dataclasses.asdict(settings),
                seed=settings.seed if job.made is None else job.made,
                times=animated.times.tolist(),
                notes=notes,
                counts=counts | writer.swallowed_counts(),
                seconds=clock.rounded(),
                uid=job.uid,
                licence=job.licence or "",
                mode=job.mode,
                found=False,
                motion={} if motion is None else {k: v for k, v in motion._asdict().items() if np.isfinite(v)},
            )
        )
    return job.folder


def _draw(animated: AnimatedMesh, settings: PrepareSettings, rng: np.random.Generator) -> SurfaceSamples:
    counts = settings.points, settings.sharp_points
    return draw(animated.rest, animated.faces, *counts, settings.sharp_degrees, rng)


def _frame(
    mesh: Mesh,
    colors: Float32[np.ndarray, "f 3"],
    appearance: Appearance | None,
    drawn: SurfaceSamples,
    cameras: Sequence[Camera],
    settings: PrepareSettings,
    rng: np.random.Generator,
    clock: StageClock,
) -> store.FrameData:
    closed = watertight(mesh, settings.grid_res)
    clock.lap("watertight")
    placed = place(drawn, mesh, closed, settings.projection, settings.grid_res)
    clock.lap("projection")
    points = distance_places(closed, settings.distance_points, rng)
    distance = signed_distance(points, closed) if len(points) else np.zeros(0, np.float32)
    clock.lap("distances")
    drawable = Drawable(mesh, colors, appearance, smooth=appearance is not None)
    views = draw_views(drawable, cameras, settings.image_size, settings.renderer) if cameras else []
    clock.lap("rendering")
    swallowed = placed.random_swallowed, placed.sharp_swallowed
    return store.FrameData(views, mesh, closed, placed.random, placed.sharp, points, distance, swallowed)


def distance_places(closed: Mesh, count: int, rng: np.random.Generator) -> Float32[np.ndarray, "{count} 3"]:
    """Sample query points for signed distances: half near the surface, a quarter farther away, the rest in the whole
    box.

    Points are rounded to float16 as stored, so that each distance belongs to the stored point.
    """
    if count == 0:
        return np.zeros((0, 3), np.float32)
    parts = []
    for share, deviation in NEAR:
        number = count // share
        on_surface = carry(
            sample_surface(closed.vertices, closed.faces, number, rng), closed.vertices[None], closed.faces
        )
        parts.append(on_surface[0] + deviation * rng.standard_normal((number, 3)))
    parts.append(rng.uniform(-FAR, FAR, (count - sum(map(len, parts)), 3)))
    return np.concatenate(parts).astype(np.float16).astype(np.float32)


def _digest(job: PrepareJob) -> str:
    """Return the SHA-256 of the animated file, of the rendered meshes, or in mode hybrid of both."""
    if job.mode == "render":
        return release.mesh_digest(job.path)
    digest = hashlib.sha256(job.path.read_bytes())
    if job.mode == "hybrid":
        digest.update(release.mesh_digest(job.folder).encode())
    return digest.hexdigest()


def _clip_label(job: PrepareJob) -> str:
    return "" if job.clip is None else str(job.clip)
