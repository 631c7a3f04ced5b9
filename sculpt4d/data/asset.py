"""One animated asset to one training folder: points carried through time, closed surfaces, pictures (paper 3.2)."""

import dataclasses
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from sculpt4d.data import store, synthetic
from sculpt4d.data.cameras import Camera, choose_cameras
from sculpt4d.data.glb import read_animation
from sculpt4d.data.views import RENDERERS, draw_views
from sculpt4d.geometry.bounds import clip_box, to_box
from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.projection import project
from sculpt4d.geometry.sharp import sample_sharp
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
    front camera. renderer: embree, blender or pytorch3d.
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

    def __post_init__(self) -> None:
        if self.renderer not in RENDERERS:
            raise ValueError(f"renderer={self.renderer}: choose one of {', '.join(RENDERERS)}")
        for name in ("frames", "points", "views", "image_size", "grid_res"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("sharp_points", "distance_points"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be 0 or more")


@dataclass(frozen=True)
class Job:
    """One object to prepare. `made` is the seed of a synthetic object, whose GLB is written first; None for files."""

    name: str
    path: Path
    folder: Path
    settings: PrepareSettings
    family: str = ""
    clip: str | int | None = None
    made: int | None = None


def is_prepared(job: Job) -> bool:
    """True when the folder holds this very object: same source, settings, clip and seed."""
    if not (job.folder / store.RECORD).is_file():
        return False
    record = store.read_record(job.folder)
    same = record["settings"] == dataclasses.asdict(job.settings) and record["clip"] == _clip_label(job)
    if job.made is not None:
        return same and record["seed"] == job.made and record["family"] == job.family
    return same and job.path.is_file() and record["sha256"] == _digest(job.path)


def prepare_object(job: Job) -> Path:
    """One GLB to `job.folder`, which appears only when it is complete. Raises ValueError, naming the file."""
    if job.made is not None:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        synthetic.write_object(job.name, job.family, job.made, job.path)
    animated = read_animation(job.path, job.settings.frames, job.clip)
    try:
        return prepare_animation(animated, job)
    except ValueError as error:
        raise ValueError(f"{job.path}: {error}") from error


def prepare_animation(animated: AnimatedMesh, job: Job) -> Path:
    """Points are drawn once on the rest pose and carried, so that row k is one material point in all frames."""
    settings = job.settings
    rng = np.random.default_rng((settings.seed, zlib.crc32(job.name.encode())))
    box = clip_box(animated.vertices)
    vertices = to_box(animated.vertices, box)
    notes = list(animated.notes)
    random = sample_surface(animated.rest, animated.faces, settings.points, rng)
    sharp = sample_sharp(animated.rest, animated.faces, settings.sharp_points, rng)
    if settings.sharp_points and len(sharp.face) == 0:
        notes.append("the rest pose has no sharp edge: sharp_surface is empty")
    cameras = choose_cameras(settings.views, settings.front, rng)
    with store.writing(job.folder, cameras, box) as writer:
        for pose in vertices:
            carried = [carry(points, pose[None], animated.faces)[0] for points in (random, sharp)]
            writer.add(
                _frame(
                    Mesh(pose, animated.faces), animated.colors, animated.appearance, carried, cameras, settings, rng
                )
            )
        counts = {"vertices": vertices.shape[1], "faces": len(animated.faces), "sharp": len(sharp.face)}
        writer.finish(
            store.Record(
                name=job.name,
                family=job.family,
                source=job.path.name,
                sha256=_digest(job.path),
                clip=_clip_label(job),
                settings=dataclasses.asdict(settings),
                seed=settings.seed if job.made is None else job.made,
                times=animated.times.tolist(),
                notes=notes,
                counts=counts,
            )
        )
    return job.folder


def _frame(
    mesh: Mesh,
    colors: Float32[np.ndarray, "f 3"],
    appearance: Appearance | None,
    carried: Sequence[Float[np.ndarray, "_ 3"]],
    cameras: Sequence[Camera],
    settings: PrepareSettings,
    rng: np.random.Generator,
) -> store.FrameData:
    closed = watertight(mesh, settings.grid_res)
    positions, normals = project(np.concatenate(carried), closed)
    random, sharp = np.split(np.concatenate([positions, normals], axis=1), [len(carried[0])])
    points = distance_places(closed, settings.distance_points, rng)
    distance = signed_distance(points, closed) if len(points) else np.zeros(0, np.float32)
    views = draw_views(mesh, colors, appearance, cameras, settings.image_size, settings.renderer)
    return store.FrameData(views, mesh, closed, random, sharp, points, distance)


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


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _clip_label(job: Job) -> str:
    return "" if job.clip is None else str(job.clip)
