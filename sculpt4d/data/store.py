"""Folder of one prepared object: written atomically, read in parts.

The layout is that of the official release: render_cond/frame_0000/{000.png.., mesh.ply, transforms.json} and
geo_data/4d_sample_new.npz. Separate files add labelled query points, closed meshes, masks of interior points (called
`swallowed`) and object.json. The module holds the object record, the array files, and the readers of images, cameras
and meshes. Coordinates are in [-0.5, 0.5]^3.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict
from zipfile import BadZipFile

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Float16, UInt8
from PIL import Image, UnidentifiedImageError

from sculpt4d.files import replacing_folder, to_json
from sculpt4d.geometry.bounds import Box
from sculpt4d.render.cameras import Camera, read_transforms, write_transforms
from sculpt4d.types import Mesh

SEPARATORS = ("/", "_")  # between frame and array name in an npz: ours first, then the release's


def frame_name(number: int) -> str:
    return f"frame_{number:04d}"


def read_arrays(path: Path, frames: Sequence[int], names: Sequence[str]) -> list[np.ndarray]:
    """Return each named array, stacked over the frames; reads nothing else. Raises ValueError, naming the file."""
    again = f"prepare {path.parents[1].name} again (python prepare.py), or remove it from the data"
    try:
        with np.load(path, allow_pickle=False) as file:
            return [np.stack([file[_key(file.files, frame, name, path)] for frame in frames]) for name in names]
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]}; {again}") from error
    except (ValueError, BadZipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {again}") from error


def _key(stored: Sequence[str], frame: int, name: str, path: Path) -> str:
    for separator in SEPARATORS:
        key = f"{frame_name(frame)}{separator}{name}"
        if key in stored:
            return key
    raise KeyError(f"holds no {name} of {frame_name(frame)}, its {len(stored)} arrays begin with {list(stored)[:3]}")


RECORD = "object.json"


class Record(TypedDict):
    """Content of object.json: origin and preparation of the object.

    counts: vertices, faces, points on sharp edges; random_swallowed and sharp_swallowed count interior points, summed
    over the frames. seconds: processor time by stage; absent from files of earlier versions. mode: see release.py.
    found: the surface points existed before and are not ours. motion: measurements of the filter.
    """

    name: str
    family: str
    source: str
    sha256: str
    clip: str
    settings: Mapping[str, int | float | bool | str]
    seed: int
    times: list[float]
    notes: list[str]
    counts: Mapping[str, int]
    uid: str
    licence: str
    mode: str
    found: bool
    motion: Mapping[str, float]
    seconds: NotRequired[Mapping[str, float]]


UNRECORDED = Record(
    name="", family="", source="", sha256="", clip="", settings={}, seed=0, times=[], notes=[], counts={}, uid="",
    licence="", mode="export", found=False, motion={})  # fmt: skip


def read_record(folder: Path) -> Record:
    """Read object.json, or return default values with the folder's name: the official release has no object.json."""
    path = folder / RECORD
    if not path.is_file():
        return UNRECORDED | {"name": folder.name}
    try:
        return UNRECORDED | json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): delete {folder} and prepare the object again") from error


SURFACE = Path("geo_data/4d_sample_new.npz")
DISTANCE = Path("geo_data/4d_distance.npz")
SWALLOWED = Path("geo_data/4d_swallowed.npz")
ARRAYS = ("random_surface", "sharp_surface")


class FrameData(NamedTuple):
    """All stored data of one frame.

    views: square RGBA images, one per camera. mesh: animated mesh, in the box. closed: its watertight surface. random
    (n, 6), sharp (s, 6): position and unit normal. points (m, 3), distance (m,): query points and signed distance,
    positive inside. swallowed: masks of `random` (n,) and `sharp` (s,) for interior points, which have no surface of
    their own on the closed mesh.
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
    """Writes the frames of one object in order; `finish` writes the arrays and, last, object.json."""

    def __init__(self, folder: Path, cameras: Sequence[Camera], box: Box) -> None:
        self.folder, self.cameras, self.box = folder, cameras, box
        self.surface: dict[str, np.ndarray] = {}
        self.labels: dict[str, np.ndarray] = {}
        self.swallowed: dict[str, np.ndarray] = {}
        self.frames = 0
        (folder / "geo_data" / "watertight").mkdir(parents=True)

    def add(self, frame: FrameData) -> None:
        name = frame_name(self.frames)
        pictures = self.folder / "render_cond" / name
        pictures.mkdir(parents=True)
        for number, view in enumerate(frame.views):
            Image.fromarray(view).save(pictures / f"{number:03d}.png", compress_level=1)
        _write_mesh(pictures / "mesh.ply", frame.mesh)
        (pictures / "transforms.json").write_text(to_json(write_transforms(self.cameras, self.box)))
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
        """Return the number of interior points so far, summed over the frames: random_swallowed and sharp_swallowed."""
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
        (self.folder / RECORD).write_text(to_json(record))


@contextmanager
def writing(folder: Path, cameras: Sequence[Camera], box: Box) -> Iterator[ObjectWriter]:
    """Yield a writer into a hidden sibling that replaces `folder` if the block succeeds and is removed otherwise.

    If the process is killed at any time, `folder` is absent, unchanged or complete, never partial.
    """
    if folder.exists() and (not (folder / RECORD).is_file() or read_record(folder)["mode"] != "export"):
        raise ValueError(
            f"{folder} exists and was not written by prepare, or is finished renders: move it, or choose another output"
        )
    with replacing_folder(folder) as draft:
        yield ObjectWriter(draft, cameras, box)


def complete(folder: Path) -> bool:
    """Return whether both parts of the layout exist, ours or the official release's."""
    return (folder / SURFACE).is_file() and (folder / "render_cond" / frame_name(0)).is_dir()


def object_names(root: Path) -> tuple[str, ...]:
    """Return the sorted names of the complete objects in a data folder."""
    return tuple(sorted(path.name for path in root.iterdir() if not path.name.startswith(".") and complete(path)))


def frame_count(folder: Path) -> int:
    """Return the number of frames; 0 when the object is not prepared."""
    frames = folder / "render_cond"
    return sum(path.name.startswith("frame_") for path in frames.iterdir()) if frames.is_dir() else 0


def view_count(folder: Path) -> int:
    """Return the number of images per frame; 0 when the object is not prepared."""
    return len(list((folder / "render_cond" / frame_name(0)).glob("[0-9]*.png")))


def read_surface(
    folder: Path, frames: Sequence[int]
) -> tuple[Float16[np.ndarray, "t n 6"], Float16[np.ndarray, "t s 6"]]:
    """Read uniform and sharp-edge points of the frames; s = 0 when the object has no sharp edge."""
    random, sharp = read_arrays(folder / SURFACE, frames, ARRAYS)
    return random, sharp


def read_swallowed(
    folder: Path, frames: Sequence[int]
) -> tuple[Bool[np.ndarray, "t n"], Bool[np.ndarray, "t s"]] | None:
    """Read the masks of interior points in `read_surface`; None when they are not stored (official release)."""
    if not (folder / SWALLOWED).is_file():
        return None
    random, sharp = read_arrays(folder / SWALLOWED, frames, ARRAYS)
    return random, sharp


def read_distances(
    folder: Path, frames: Sequence[int]
) -> tuple[Float16[np.ndarray, "t m 3"], Float16[np.ndarray, "t m"]]:
    """Read the labelled query points and their signed distances, positive inside."""
    path = folder / DISTANCE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: prepare the object again with distance_points=6144 or another count"
        )
    points, distance = read_arrays(path, frames, ("points", "distance"))
    return points, distance


def read_views(folder: Path, frames: Sequence[int], view: int = 0) -> tuple[UInt8[np.ndarray, "h w 4"], ...]:
    """Read the RGBA images of one camera."""
    return tuple(_read_picture(folder / "render_cond" / frame_name(frame) / f"{view:03d}.png") for frame in frames)


def read_cameras(folder: Path, frame: int = 0) -> tuple[Camera, ...]:
    path = folder / "render_cond" / frame_name(frame) / "transforms.json"
    return read_transforms(json.loads(path.read_text()))


def read_mesh(folder: Path, frame: int) -> Mesh:
    """Read the animated mesh of one frame; all frames have the same topology."""
    return read_ply(folder / "render_cond" / frame_name(frame) / "mesh.ply")


def read_watertight(folder: Path, frame: int) -> Mesh:
    """Read the closed mesh of one frame; the official release has none."""
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
    """Read the triangles of a ply file; vertices are kept as stored."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: prepare the object again (python prepare.py)")
    mesh = trimesh.load_mesh(path, process=False)
    return Mesh(np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces))
