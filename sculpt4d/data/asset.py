"""One animated asset to one training folder: points carried through time, closed surfaces, pictures (paper 3.2)."""

import dataclasses
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from sculpt4d.data import release, store, synthetic
from sculpt4d.data.cameras import Camera, choose_cameras
from sculpt4d.data.intake import Origin, take_in
from sculpt4d.data.looks import Look, random_looks, roughen
from sculpt4d.data.render import render_views
from sculpt4d.data.sampling import Drawn, draw, place
from sculpt4d.data.selection import Motion, Selection
from sculpt4d.data.stages import StageClock
from sculpt4d.data.views import RENDERERS, draw_views
from sculpt4d.geometry.bounds import clip_box, to_box
from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.facing import facing
from sculpt4d.geometry.projection import PROJECTIONS
from sculpt4d.geometry.surface import carry, sample_surface
from sculpt4d.geometry.watertight import watertight
from sculpt4d.types import AnimatedMesh, Appearance, Mesh

NEAR = ((2, 0.015), (4, 0.06))  # (one in so many labelled points, deviation from the surface in stored units)
FAR = 0.51  # the other labelled points are uniform in a cube of this half side


@dataclass(frozen=True)
class PrepareSettings:
    """What is stored of each object; the defaults are those of the official release.

    points, sharp_points: surface points per frame. distance_points: places with known distance (0: none; the
    autoencoder stage needs them). grid_res: cells of the watertight grid along the box. front: view 0 is the fixed
    front camera. sharp_degrees: angle between the normals of two faces above which their edge is sharp.
    renderer: embree, blender or pytorch3d. world: all views but a front one are as people film (azimuth all round, a
    realistic elevation and lens), and every view has lamps of its own, a rough mask edge, and random colours where the
    file has none; it needs embree.
    Ablations: consistent=False draws new points for every frame, sharp_points=0 none on edges, projection="none" leaves
    them on the animated mesh; projection="nearest_center" is the paper's, see `geometry.projection`.
    """

    frames: int = 32
    points: int = 124928
    sharp_points: int = 124928
    distance_points: int = 0
    views: int = 24
    image_size: int = 512
    grid_res: int = 256
    front: bool = False
    renderer: str = "embree"
    seed: int = 0
    sharp_degrees: float = 30.0
    consistent: bool = True
    projection: str = "closest_point"
    world: bool = False

    def __post_init__(self) -> None:
        if self.renderer not in RENDERERS:
            raise ValueError(f"renderer={self.renderer}: choose one of {', '.join(RENDERERS)}")
        if self.world and self.renderer != "embree":
            raise ValueError(f"world=true is drawn by renderer=embree alone, not by {self.renderer}")
        for name in ("frames", "points", "views", "image_size", "grid_res"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("sharp_points", "distance_points"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be 0 or more")
        if not 0 < self.sharp_degrees < 180:
            raise ValueError(f"sharp_degrees={self.sharp_degrees}: must lie between 0 and 180")
        if self.projection not in (*PROJECTIONS, "none"):
            raise ValueError(f"projection={self.projection} is not one of {', '.join(PROJECTIONS)}, none")


@dataclass(frozen=True)
class Job:
    """One object to prepare. `made` is the seed of a synthetic object, whose GLB is written first; None for files.

    mode: as in release.py; `path` is the animated file, or in mode render the folder of finished renders. `selection`
    judges the object, None takes it as it is. licence: None when it is not known.
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


def is_prepared(job: Job) -> bool:
    """True when the folder holds this very object: same source, settings, mode, clip and seed."""
    if not (job.folder / store.RECORD).is_file() or not store.complete(job.folder):
        return False
    record = store.read_record(job.folder)
    if record["mode"] != job.mode:
        return record["mode"] == "export" and job.path == job.folder  # made here from its file: there is nothing to add
    same = recorded_settings(job.folder) == job.settings and record["clip"] == _clip_label(job)
    if job.made is not None:
        return same and record["seed"] == job.made and record["family"] == job.family
    return same and job.path.exists() and record["sha256"] == _digest(job)


def recorded_settings(folder: Path) -> PrepareSettings | None:
    """What the object was prepared with; what its version did not know has its default. None: not our settings."""
    known = {field.name for field in dataclasses.fields(PrepareSettings)}
    settings = store.read_record(folder)["settings"]
    return PrepareSettings(**settings) if settings.keys() <= known else None  # type: ignore[arg-type]


def prepare_object(job: Job) -> Path:
    """One object to `job.folder`, which appears only when it is complete. Raises ValueError, naming the file, and
    Unsuitable when the selection rules it out."""
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
    animated: AnimatedMesh, job: Job, clock: StageClock | None = None, motion: Motion | None = None
) -> Path:
    """Points are drawn once on the rest pose and carried, so that row k is one material point in all frames.

    With consistent=False they are drawn anew for every frame: the same places of the rest pose are as likely as before,
    but a row means nothing.
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
    cameras = (
        ()
        if rendered
        else choose_cameras(settings.views, settings.front, rng, vertices.reshape(-1, 3) if settings.world else None)
    )
    looks = random_looks(animated, len(cameras), rng) if settings.world else []
    source = job.path if job.mode == "render" else job.folder
    opened = release.beside(source, job.folder) if rendered else store.writing(job.folder, cameras, box)
    clock.lap("sampling")
    with opened as writer:
        writer.facings = [facing(vertices, camera.to_mesh()[:3, 3]) for camera in cameras]
        for number, pose in enumerate(vertices):
            if number and not settings.consistent:
                drawn = _draw(animated, settings, rng)
            mesh, look = Mesh(pose, animated.faces), animated.appearance
            writer.add(_frame(mesh, animated.colors, look, drawn, cameras, looks, settings, rng, clock))
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


def _draw(animated: AnimatedMesh, settings: PrepareSettings, rng: np.random.Generator) -> Drawn:
    counts = settings.points, settings.sharp_points
    return draw(animated.rest, animated.faces, *counts, settings.sharp_degrees, rng)


def _frame(
    mesh: Mesh,
    colors: Float32[np.ndarray, "f 3"],
    appearance: Appearance | None,
    drawn: Drawn,
    cameras: Sequence[Camera],
    looks: Sequence[Look],
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
    if looks:
        views = [
            _look_view(mesh, colors, camera, look, settings, rng) for camera, look in zip(cameras, looks, strict=True)
        ]
    else:
        views = draw_views(mesh, colors, appearance, cameras, settings.image_size, settings.renderer) if cameras else []
    clock.lap("rendering")
    swallowed = placed.random_swallowed, placed.sharp_swallowed
    return store.FrameData(views, mesh, closed, placed.random, placed.sharp, points, distance, swallowed)


def _look_view(
    mesh: Mesh,
    colors: Float32[np.ndarray, "f 3"],
    camera: Camera,
    look: Look,
    settings: PrepareSettings,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "s s 4"]:
    drawn = (mesh.vertices, mesh.faces, colors, (camera,), settings.image_size)
    view = render_views(*drawn, smooth=True, appearance=look.appearance, studio=look.studio)[0]
    return roughen(view, look, rng)


def distance_places(closed: Mesh, count: int, rng: np.random.Generator) -> Float32[np.ndarray, "{count} 3"]:
    """Where distances are asked: half close to the surface, a quarter farther off, the rest anywhere in the box.

    Rounded to float16 as they are stored, so that the distance belongs to the stored place.
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


def _digest(job: Job) -> str:
    """SHA-256 of the animated file, of the rendered meshes, or in mode hybrid of both."""
    if job.mode == "render":
        return release.mesh_digest(job.path)
    digest = hashlib.sha256(job.path.read_bytes())
    if job.mode == "hybrid":
        digest.update(release.mesh_digest(job.folder).encode())
    return digest.hexdigest()


def _clip_label(job: Job) -> str:
    return "" if job.clip is None else str(job.clip)
