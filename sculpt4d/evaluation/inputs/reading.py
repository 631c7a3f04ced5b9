"""A found layout to meshes or clouds in memory."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import trimesh
from jaxtyping import Shaped

from sculpt4d.data import store
from sculpt4d.data.dataset import TO_CLIP
from sculpt4d.evaluation.inputs.layouts import GLTF, Found, gltf_header
from sculpt4d.evaluation.inputs.splats import is_cloud, read_cloud
from sculpt4d.evaluation.metrics.motion import Cloud, Frame, Motion
from sculpt4d.gltf.compressed import DRACO, MESHOPT
from sculpt4d.gltf.pose import pose, read_model, triangles
from sculpt4d.gltf.read import read_animation
from sculpt4d.types import Mesh

PACKED = {DRACO, *MESHOPT, "KHR_mesh_quantization"}  # what trimesh leaves out or reads as whole numbers
LARGE = 1 << 24  # bytes of a file after which memory is given back at once
BLOCK = 1 << 16  # rows of a text file held as Python objects


def read_motion(found: Found, moments: int, tracked: bool = False) -> Motion:
    """The motion. An animation is read at `moments`, evenly over its clip; `tracked` takes the moving mesh of a
    prepared object instead of its closed ones.

    Raises ValueError or OSError, naming the file, for whatever is damaged.
    """
    if found.kind == "unreadable":
        raise ValueError(" ".join(found.notes))
    if found.kind == "animation":
        with _named(found.files[0]):
            animated = read_animation(found.files[0], moments)
        poses: tuple[Frame, ...] = tuple(Mesh(vertices, animated.faces) for vertices in animated.vertices)
        span = float(np.diff(animated.times).mean()) if moments > 1 else 0.0
        note = f"animation read at {moments} moments evenly over its clip"
        return Motion(poses, found.kind, 1 / span if span > 0 else None, notes=(note, *animated.notes))
    if found.kind == "surfaces":
        return _surfaces(found)
    if found.kind == "arrays":
        return Motion(_arrays(found.files), found.kind, found.fps, notes=found.notes)
    if found.kind == "prepared":
        return _prepared(found, tracked)
    frames = _read_frames(found.files)
    clouds = sum(isinstance(frame, Cloud) for frame in frames)
    notes = found.notes
    if clouds:
        notes = (*notes, f"{clouds} of {len(frames)} frames are points without faces, drawn by their opacity")
    return Motion(frames, found.kind, found.fps, notes=notes)


def _read_frames(files: Sequence[Path]) -> tuple[Frame, ...]:
    """All frames; equal faces are held once, which they are most of the memory of."""
    frames: list[Frame] = []
    for path in files:
        frame = read_frame(path)
        if path.stat().st_size > LARGE:
            gc.collect()  # trimesh's meshes are cycles, which would all wait for a collector that counts objects alone
        last = frames[-1] if frames else None
        if isinstance(frame, Mesh) and isinstance(last, Mesh) and np.array_equal(frame.faces, last.faces):
            frame = Mesh(frame.vertices, last.faces)
        frames.append(frame)
    return tuple(frames)


def read_frame(path: Path) -> Frame:
    """One frame's mesh (the parts of a scene joined), or the points of a PLY file without faces.

    A file without a triangle is an empty mesh. Raises ValueError, naming the file, when it cannot be read.
    """
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is an empty file of 0 bytes: write it again")
    with _named(path):
        return _read_frame(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file becomes a ValueError that names it once."""
    try:
        yield
    except Exception as error:  # trimesh and its readers raise whatever they meet
        if isinstance(error, MemoryError | FileNotFoundError):
            raise
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read as a mesh: {type(error).__name__}: {error}") from error


def _read_frame(path: Path) -> Frame:
    suffix = path.suffix.lower()
    if suffix == ".ply" and is_cloud(path):
        return read_cloud(path)
    if suffix == ".obj":
        return _read_obj(path)
    if suffix == ".stl":
        _check_stl(path)
    if suffix in GLTF and PACKED & set(gltf_header(path).get("extensionsUsed", [])):
        model = read_model(path)
        return _checked(pose(model, {}, np.zeros(1))[0][0], triangles(model), path)
    mesh = trimesh.load_scene(path, process=False).to_mesh()
    return _checked(np.asarray(mesh.vertices), np.asarray(mesh.faces), path)


def _check_stl(path: Path) -> None:
    """Raises ValueError for a file that is cut off or no STL: trimesh reads such a file as one without a triangle."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(84)
        file.seek(max(0, size - 1024))
        tail = file.read()
    if len(head) == 84 and size == 84 + 50 * int.from_bytes(head[80:], "little"):
        return
    if not (head.lstrip().lower().startswith(b"solid") and b"endsolid" in tail.lower()):
        raise ValueError(
            f"{path} is cut off or no STL: its {size} bytes are neither the triangles it counts nor a text"
        )


def _read_obj(path: Path) -> Mesh:
    """Positions and faces of an OBJ file: vertices stay as they are written, so that equal faces mean equal topology.

    Polygons become fans; texture coordinates, normals and materials are left out.
    """
    points, faces = _Rows(3, np.float64), _Rows(3, np.int64)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                kind, *words = line.split() or [""]
                if kind == "v":
                    points.add(words[:3])
                elif kind == "f":
                    numbers = [int(word.split("/", 1)[0]) for word in words]
                    numbers = [number - 1 if number > 0 else len(points) + number for number in numbers]
                    for corner in range(1, len(numbers) - 1):
                        faces.add([numbers[0], *numbers[corner : corner + 2]])
        vertices, corners = points.array(), faces.array()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} cannot be read as OBJ: {error}") from error
    return _checked(vertices, corners, path)


class _Rows:
    """Rows of equal length, packed block by block: lists of small lists take twenty times the memory."""

    def __init__(self, width: int, kind: type[np.generic]) -> None:
        self.width, self.kind, self.packed = width, kind, list[np.ndarray]()
        self.block: list[Sequence[str | int]] = []
        self.count = 0

    def __len__(self) -> int:
        return self.count

    def add(self, row: Sequence[str | int]) -> None:
        """Raises ValueError, once the block is full, for what is no number or of another length."""
        self.block.append(row)
        self.count += 1
        if len(self.block) == BLOCK:
            self._pack()

    def array(self) -> Shaped[np.ndarray, "n w"]:
        self._pack()
        return np.concatenate([np.zeros((0, self.width), self.kind), *self.packed])

    def _pack(self) -> None:
        if self.block:
            self.packed.append(np.array(self.block, self.kind).reshape(len(self.block), self.width))
            self.block = []


def _checked(vertices: np.ndarray, faces: np.ndarray, path: Path) -> Mesh:
    """A mesh of the right shapes. Raises ValueError for faces that name vertices that are not there."""
    vertices, faces = vertices.reshape(-1, 3), faces.reshape(-1, 3)
    if len(faces) and not (faces.min() >= 0 and faces.max() < len(vertices)):
        raise ValueError(f"{path}: its faces name vertices up to {faces.max()}, it has {len(vertices)}")
    with np.errstate(over="ignore"):
        return Mesh(vertices.astype(np.float32), faces.astype(np.int64))


def _surfaces(found: Found) -> Motion:
    """Tracked points (t, v, 3 or 6); normals are left out."""
    path = found.files[0]
    points = _load(path)
    if points.ndim != 3 or points.shape[2] not in (3, 6):
        raise ValueError(f"{path}: shape {points.shape}, expected (frames, points, 3 or 6)")
    weights = np.ones(points.shape[1], np.float32)
    frames = tuple(Cloud(frame[:, :3].astype(np.float32), weights) for frame in points)
    return Motion(frames, found.kind, found.fps, tracked=True, notes=found.notes)


def _arrays(files: tuple[Path, ...]) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    for vertex_file, face_file in zip(files[::2], files[1::2], strict=True):
        vertices, faces = _load(vertex_file), _load(face_file)
        if vertices.ndim not in (2, 3) or vertices.shape[-1] != 3 or faces.ndim != 2 or faces.shape[-1] != 3:
            shapes = f"{vertices.shape} and {faces.shape}"
            raise ValueError(f"{vertex_file}: shapes {shapes}, expected ([frames,] vertices, 3) and (faces, 3)")
        poses = vertices[None] if vertices.ndim == 2 else vertices
        frames.extend(_checked(pose, faces, vertex_file) for pose in poses)
    return tuple(frames)


def _prepared(found: Found, tracked: bool) -> Motion:
    """In the box of its clip, [-1, 1]^3. The release's own objects have no closed meshes: their moving one is taken."""
    closed, notes, files = not tracked, found.notes, found.files
    folder = found.path / "geo_data" / "watertight"
    if closed and not folder.is_dir():
        closed, notes = False, (*notes, "no closed meshes stored: the moving mesh was taken")
    if closed:
        files = tuple(folder / f"{path.parent.name}.ply" for path in files)
    meshes = []
    for path in files:
        with _named(path):
            meshes.append(store.read_ply(path))
    frames = tuple(Mesh((TO_CLIP * mesh.vertices).astype(np.float32), mesh.faces) for mesh in meshes)
    return Motion(frames, f"prepared, {'closed meshes' if closed else 'moving mesh'}", found.fps, notes=notes)


def _load(path: Path) -> Shaped[np.ndarray, "..."]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{path} is an archive of arrays (.npz) by another name: save the one array in it as .npy")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds values of type {array.dtype}, expected numbers")
    return array
