"""The folder of one prepared object, written whole or not at all, and read in parts.

The layout is that of the official release: render_cond/frame_0000/{000.png.., mesh.ply, transforms.json} and
geo_data/4d_sample_new.npz; labelled points, closed meshes, marks of swallowed points and object.json are added, each in
a file of its own. Coordinates lie in [-0.5, 0.5]^3.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Float16, UInt8
from PIL import Image, UnidentifiedImageError

from sculpt4d.data.arrays import frame_name, read_arrays
from sculpt4d.data.cameras import Camera, read_transforms, write_transforms
from sculpt4d.data.drafts import new_draft
from sculpt4d.data.record import RECORD, Record, read_record
from sculpt4d.geometry.bounds import Box
from sculpt4d.geometry.facing import Facing
from sculpt4d.types import Mesh

SURFACE = Path("geo_data/4d_sample_new.npz")
DISTANCE = Path("geo_data/4d_distance.npz")
SWALLOWED = Path("geo_data/4d_swallowed.npz")
FACINGS = Path("geo_data/facings.json")
ARRAYS = ("random_surface", "sharp_surface")


class FrameData(NamedTuple):
    """Everything stored of one frame.

    views: square RGBA pictures, one per camera; mesh: the animated mesh, in the box; closed: its watertight surface;
    random (n, 6), sharp (s, 6): position and unit normal; points (m, 3), distance (m,): positive inside;
    swallowed: of `random` (n,) and of `sharp` (s,), points that have no place of their own on the closed surface.
    """

    views: Sequence[UInt8[np.ndarray, "h w 4"]]
    mesh: Mesh
    closed: Mesh
    random: Float[np.ndarray, "n 6"]
    sharp: Float[np.ndarray, "s 6"]
    points: Float[np.ndarray, "m 3"]
    distance: Float[np.ndarray, " m"]
    swallowed: tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " s"]] | None = None


class ObjectWriter:
    """Takes the frames of one object in order; `finish` writes the arrays and, last, object.json."""

    def __init__(self, folder: Path, cameras: Sequence[Camera], box: Box) -> None:
        self.folder, self.cameras, self.box = folder, cameras, box
        self.surface: dict[str, np.ndarray] = {}
        self.labels: dict[str, np.ndarray] = {}
        self.swallowed: dict[str, np.ndarray] = {}
        self.frames = 0
        self.facings: Sequence[Facing] = ()
        (folder / "geo_data" / "watertight").mkdir(parents=True)

    def add(self, frame: FrameData) -> None:
        name = frame_name(self.frames)
        pictures = self.folder / "render_cond" / name
        pictures.mkdir(parents=True)
        for number, view in enumerate(frame.views):
            Image.fromarray(view).save(pictures / f"{number:03d}.png", compress_level=1)
        _write_mesh(pictures / "mesh.ply", frame.mesh)
        (pictures / "transforms.json").write_text(json.dumps(write_transforms(self.cameras, self.box), indent=1))
        self.add_geometry(frame)

    def add_geometry(self, frame: FrameData) -> None:
        name = frame_name(self.frames)
        _write_mesh(self.folder / "geo_data" / "watertight" / f"{name}.ply", frame.closed)
        self.surface[f"{name}/random_surface"] = frame.random.astype(np.float16)
        self.surface[f"{name}/sharp_surface"] = frame.sharp.astype(np.float16)
        if frame.swallowed is not None:
            for array, marked in zip(ARRAYS, frame.swallowed, strict=True):
                self.swallowed[f"{name}/{array}"] = marked
        if len(frame.points):
            self.labels[f"{name}/points"] = frame.points.astype(np.float16)
            self.labels[f"{name}/distance"] = frame.distance.astype(np.float16)
        self.frames += 1

    def swallowed_counts(self) -> dict[str, int]:
        """Swallowed rows so far, summed over the frames: random_swallowed and sharp_swallowed."""
        counts = {"random_swallowed": 0, "sharp_swallowed": 0}
        for key, marked in self.swallowed.items():
            counts[key.split("/")[1].replace("surface", "swallowed")] += int(marked.sum())
        return counts

    def finish(self, record: Record) -> None:
        np.savez(self.folder / SURFACE, **self.surface)  # type: ignore[arg-type]
        if self.swallowed:
            np.savez_compressed(self.folder / SWALLOWED, **self.swallowed)  # type: ignore[arg-type]
        if self.labels:
            np.savez(self.folder / DISTANCE, **self.labels)  # type: ignore[arg-type]
        if self.facings:
            views = [
                {"angle": view.angle, "center": view.box.center.tolist(), "scale": view.box.scale}
                for view in self.facings
            ]
            (self.folder / FACINGS).write_text(json.dumps(views, indent=1))
        (self.folder / RECORD).write_text(json.dumps(record, indent=1))


@contextmanager
def writing(folder: Path, cameras: Sequence[Camera], box: Box) -> Iterator[ObjectWriter]:
    """A writer into a hidden sibling of `folder` that takes its place when the block ends well, and vanishes if not.

    Whatever instant a process is killed at, `folder` is absent, what it was or complete: never in between.
    """
    if folder.exists() and (not (folder / RECORD).is_file() or read_record(folder)["mode"] != "export"):
        raise ValueError(
            f"{folder} exists and was not written by prepare, or is finished renders: move it, or choose another output"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft, outdated = new_draft(folder), new_draft(folder)
    try:
        draft.chmod(0o755)  # mkdtemp keeps others out
        yield ObjectWriter(draft, cameras, box)
        with suppress(FileNotFoundError):
            os.replace(folder, outdated)  # a half deleted folder could still have its record
        try:
            os.replace(draft, folder)
        except OSError:
            if not (folder / RECORD).is_file():  # else another process has just finished the same object
                raise
    finally:
        for path in (draft, outdated):
            shutil.rmtree(path, ignore_errors=True)


def complete(folder: Path) -> bool:
    """True when the object can be read: both parts of the layout are there, ours or the official release's."""
    return (folder / SURFACE).is_file() and (folder / "render_cond" / frame_name(0)).is_dir()


def object_names(root: Path) -> tuple[str, ...]:
    """The complete objects of a data folder, sorted."""
    return tuple(sorted(path.name for path in root.iterdir() if not path.name.startswith(".") and complete(path)))


def frame_count(folder: Path) -> int:
    """Frames of the object; 0 when it is not prepared."""
    frames = folder / "render_cond"
    return sum(path.name.startswith("frame_") for path in frames.iterdir()) if frames.is_dir() else 0


def view_count(folder: Path) -> int:
    """Pictures of every frame; 0 when the object is not prepared."""
    return len(list((folder / "render_cond" / frame_name(0)).glob("[0-9]*.png")))


def read_surface(
    folder: Path, frames: Sequence[int]
) -> tuple[Float16[np.ndarray, "t n 6"], Float16[np.ndarray, "t s 6"]]:
    """Uniform and sharp-edge points of the frames; s = 0 when the object has no sharp edge."""
    random, sharp = read_arrays(folder / SURFACE, frames, ARRAYS)
    return random, sharp


def read_swallowed(
    folder: Path, frames: Sequence[int]
) -> tuple[Bool[np.ndarray, "t n"], Bool[np.ndarray, "t s"]] | None:
    """Which rows of `read_surface` the closed surface swallowed; None where nobody looked (official release)."""
    if not (folder / SWALLOWED).is_file():
        return None
    random, sharp = read_arrays(folder / SWALLOWED, frames, ARRAYS)
    return random, sharp


def read_distances(
    folder: Path, frames: Sequence[int]
) -> tuple[Float16[np.ndarray, "t m 3"], Float16[np.ndarray, "t m"]]:
    """Labelled points and their signed distances, positive inside."""
    path = folder / DISTANCE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: prepare the object again with distance_points=6144 or another count"
        )
    points, distance = read_arrays(path, frames, ("points", "distance"))
    return points, distance


def read_views(folder: Path, frames: Sequence[int], view: int = 0) -> tuple[UInt8[np.ndarray, "h w 4"], ...]:
    """The pictures of one camera, RGBA."""
    return tuple(_read_picture(folder / "render_cond" / frame_name(frame) / f"{view:03d}.png") for frame in frames)


def read_cameras(folder: Path, frame: int = 0) -> tuple[Camera, ...]:
    path = folder / "render_cond" / frame_name(frame) / "transforms.json"
    return read_transforms(json.loads(path.read_text()))


def read_facings(folder: Path) -> tuple[Facing, ...]:
    """The camera's frame of every view. Raises FileNotFoundError for objects of earlier versions and of releases."""
    path = folder / FACINGS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: prepare the object again, or set data.settings.frame=box")
    return tuple(
        Facing(view["angle"], Box(np.array(view["center"], np.float32), view["scale"]))
        for view in json.loads(path.read_text())
    )


def read_mesh(folder: Path, frame: int) -> Mesh:
    """The animated mesh of one frame, the same topology in all."""
    return read_ply(folder / "render_cond" / frame_name(frame) / "mesh.ply")


def read_watertight(folder: Path, frame: int) -> Mesh:
    """The closed surface of one frame; folders of the official release have none."""
    return read_ply(folder / "geo_data" / "watertight" / f"{frame_name(frame)}.ply")


def _read_picture(path: Path) -> UInt8[np.ndarray, "h w 4"]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGBA"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing: choose a view that was rendered, or prepare again") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is not a readable picture ({error}): prepare the object again") from error


def _write_mesh(path: Path, mesh: Mesh) -> None:
    path.write_bytes(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type="ply"))


def read_ply(path: Path) -> Mesh:
    """The triangles of a ply file, vertices as they are stored."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: prepare the object again (python prepare.py)")
    mesh = trimesh.load_mesh(path, process=False)
    return Mesh(np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces))
