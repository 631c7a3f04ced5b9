"""The files of one object, opened one by one: what is missing, damaged or of the wrong kind becomes a finding.

Three layouts are known: ours (`store`), the official release's of many frames, and the base release's mini set of one
frame (render_cond/000.png, geo_data/<id>_surface.npz).
"""

import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sculpt4d.data import store
from sculpt4d.data.cameras import Camera, read_transforms
from sculpt4d.data.record import UNRECORDED
from sculpt4d.data.verify_findings import Finding
from sculpt4d.types import Mesh

AGAIN = "prepare the object again (python prepare.py)"
ANGLES = 1e-4  # a pose written in float32 differs from its angles by 2^-24 of distances up to 10 and a few operations
DEEP = 3  # folders below the one that is named in which objects are looked for
DAMAGE = (ValueError, KeyError, OSError, EOFError, BadZipFile, zlib.error)


class Layout(NamedTuple):
    """Where the parts of an object lie. `kind`: see the module; `frames`: folders of pictures, by frame number."""

    folder: Path
    kind: Literal["ours", "release", "static"]
    frames: dict[int, Path]
    surface: Path
    record: store.Record


class FrameFiles(NamedTuple):
    """What could be read of one frame; None or empty for what could not.

    random, sharp (n, 6); masks: alpha of each picture by its number; labels: places (m, 3) and distances (m,).
    """

    random: np.ndarray | None
    sharp: np.ndarray | None
    mesh: Mesh | None
    closed: Mesh | None
    cameras: tuple[Camera, ...]
    pictures: dict[int, UInt8[np.ndarray, "_h _w 4"]]
    labels: tuple[np.ndarray, np.ndarray] | None


def find_objects(root: Path) -> tuple[Path, ...]:
    """The folder itself when it is an object, else the objects below it. Raises ValueError when there are none."""
    if not root.is_dir():
        raise FileNotFoundError(f"verify={root} is no folder: name an object's folder or one that holds objects")
    found, level = [], [root]
    for _ in range(DEEP):
        found += [path for path in level if _is_object(path)]
        level = [
            child
            for path in level
            if not _is_object(path)
            for child in sorted(path.iterdir())
            if child.is_dir() and not child.name.startswith(".")
        ]
    if not found:
        raise ValueError(f"verify={root}: no object there (a folder with render_cond and geo_data)")
    return tuple(found)


def _is_object(folder: Path) -> bool:
    return any((folder / part).exists() for part in ("render_cond", "geo_data", store.RECORD))


def open_layout(folder: Path, findings: list[Finding]) -> Layout:
    """What should be there, from what is there and from object.json."""
    record, kind = UNRECORDED | {"name": folder.name}, "release"
    if (folder / store.RECORD).is_file():
        kind = "ours"
        try:
            stored = json.loads((folder / store.RECORD).read_text())
            if not isinstance(stored, dict) or not isinstance(stored.get("settings", {}), dict):
                raise ValueError("it is not an object with settings")
            record = store.Record(**(UNRECORDED | stored))  # type: ignore[typeddict-item]
        except (ValueError, OSError) as error:
            findings.append(Finding("files", f"{store.RECORD} cannot be read ({error})", AGAIN))
    pictures = folder / "render_cond"
    frames = {}
    for path in sorted(pictures.glob("frame_*")) if pictures.is_dir() else ():
        if path.name[6:].isdecimal():
            frames[int(path.name[6:])] = path
    surface = folder / store.SURFACE
    if not frames and kind == "release" and (pictures / "transforms.json").is_file():
        kind, frames = "static", {0: pictures}
        named = sorted((folder / "geo_data").glob("*_surface.npz"))
        surface = named[0] if named else folder / "geo_data" / f"{folder.name}_surface.npz"
    expected = _setting(record, "frames") or max(frames, default=-1) + 1
    missing = tuple(number for number in range(max(expected, 1)) if number not in frames)
    if missing:
        what = f"render_cond holds {len(frames)} of {max(expected, 1)} frames, those named here are missing"
        findings.append(Finding("frames", what, AGAIN, missing))
    extra = tuple(number for number in frames if number >= expected)
    if extra:
        findings.append(Finding("frames", f"object.json says {expected} frames, these are too many", AGAIN, extra))
    return Layout(folder, kind, frames, surface, record)  # type: ignore[arg-type]


class Arrays:
    """The stored points, read frame by frame. A file that cannot be opened is one finding, not one per frame."""

    def __init__(self, layout: Layout, findings: list[Finding]) -> None:
        self.layout, self.findings = layout, findings
        self.files = {"surface": self._open(layout.surface)}
        labels = layout.folder / store.DISTANCE
        if labels.is_file() or _setting(layout.record, "distance_points"):
            self.files["labels"] = self._open(labels)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._compare_frames()

    def close(self) -> None:
        for file in self.files.values():
            if file is not None:
                file.close()

    def _open(self, path: Path) -> Any:
        if not path.is_file():
            self.findings.append(Finding("files", f"{self._name(path)} is missing", AGAIN))
            return None
        try:
            return np.load(path, allow_pickle=False)
        except DAMAGE as error:
            self.findings.append(Finding("files", f"{self._name(path)} cannot be read ({error})", AGAIN))
            return None

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.layout.folder))

    def _compare_frames(self) -> None:
        """Frames of the arrays that have no folder of pictures; missing arrays are found when they are read."""
        stored = self.files["surface"]
        if stored is None or self.layout.kind == "static":
            return
        numbers = {int(key[6:10]) for key in stored.files if key[:6] == "frame_" and key[6:10].isdecimal()}
        extra = tuple(sorted(numbers - self.layout.frames.keys()))
        if extra:
            what = f"{self._name(self.layout.surface)} holds frames that have no pictures"
            self.findings.append(Finding("frames", what, AGAIN, extra))

    def read(self, part: str, name: str, frame: int, width: int | None) -> np.ndarray | None:
        """One array as float32; None with a finding when it is missing, damaged, misshapen or not finite.

        width: columns expected, None for a flat array. Every frame must have the shape of the first one read.
        """
        file = self.files.get(part)
        if file is None:
            return None
        keys = [name] if self.layout.kind == "static" else [f"frame_{frame:04d}{mark}{name}" for mark in "/_"]
        key = next((key for key in keys if key in file.files), None)
        if key is None:
            self._fault(frame, f"{name} is missing from {part}")
            return None
        try:
            array = file[key]
        except DAMAGE as error:
            self._fault(frame, f"{key} cannot be read ({error})")
            return None
        if (
            array.dtype.kind != "f"
            or array.ndim != (1 if width is None else 2)
            or array.shape[1:] != (width,)[: array.ndim - 1]
        ):
            expected = "(n,)" if width is None else f"(n, {width})"
            self._fault(frame, f"{key} is {array.dtype} {array.shape}, expected floating point {expected}")
            return None
        if array.dtype != np.float16:
            self._fault(frame, f"{key} is stored as {array.dtype}, expected float16")
        first = self.shapes.setdefault(name, array.shape)
        if array.shape != first:
            self._fault(
                frame, f"{key} has {len(array)} rows, other frames {first[0]}: rows are no longer the same points"
            )
            return None
        bad = int((~np.isfinite(array).reshape(len(array), -1).all(axis=1)).sum())
        if bad:
            self.findings.append(
                Finding("finite", f"{key} has {bad} of {len(array)} rows with NaN or infinite values", AGAIN, (frame,))
            )
            return None
        return array.astype(np.float32)

    def _fault(self, frame: int, what: str) -> None:
        self.findings.append(Finding("arrays", what, AGAIN, (frame,)))


def read_frame(layout: Layout, arrays: Arrays, frame: int, findings: list[Finding]) -> FrameFiles:
    """Opens every file of the frame."""

    def fault(what: str) -> None:
        findings.append(Finding("files", what, AGAIN, (frame,)))

    random = arrays.read("surface", "random_surface", frame, 6)
    sharp = arrays.read("surface", "sharp_surface", frame, 6)
    labels = None
    if "labels" in arrays.files:
        places, distance = arrays.read("labels", "points", frame, 3), arrays.read("labels", "distance", frame, None)
        labels = (places, distance) if places is not None and distance is not None else None
    for name, rows in (("points", random), ("sharp_points", sharp)):
        asked = _setting(layout.record, name)
        if rows is not None and asked and len(rows) not in ((asked,) if name == "points" else (0, asked)):
            findings.append(Finding("arrays", f"{len(rows)} {name} stored, object.json says {asked}", AGAIN, (frame,)))
    folder = layout.frames[frame]
    cameras = _cameras(folder / "transforms.json", fault)
    pictures = _pictures(folder, cameras, _setting(layout.record, "views"), fault)
    size = _setting(layout.record, "image_size")
    wrong = {view.shape[:2] for view in pictures.values()} - {(size, size) if size else (0, 0)}
    if (size and wrong) or len(wrong) > 1:
        fault(f"pictures measure {sorted(wrong)}, expected all {f'{size} x {size}' if size else 'of one size'}")
    mesh = _mesh(folder / "mesh.ply", fault)
    closed = None
    if layout.kind == "ours":
        closed = _mesh(layout.folder / "geo_data" / "watertight" / f"{store.frame_name(frame)}.ply", fault)
    return FrameFiles(random, sharp, mesh, closed, cameras, pictures, labels)


def _cameras(path: Path, fault: Any) -> tuple[Camera, ...]:
    if not path.is_file():
        fault(f"{path.name} is missing")
        return ()
    try:
        content = json.loads(path.read_text())
        cameras = read_transforms(content)
        numbers = np.array([[camera.azimuth, camera.elevation, camera.distance, camera.field] for camera in cameras])
        poses = np.array([view["transform_matrix"] for view in content["frames"]], dtype=np.float64)
    except (ValueError, KeyError, TypeError, OSError) as error:
        fault(f"{path.name} cannot be read ({type(error).__name__}: {error})")
        return ()
    if (
        len(cameras) == 0
        or not np.isfinite(numbers).all()
        or not (numbers[:, 3] > 0).all()
        or (numbers[:, 3] >= math.pi).any()
    ):
        fault(f"{path.name} holds no usable camera: angles and distances must be finite, fields between 0 and pi")
        return ()
    if poses.shape != (len(cameras), 4, 4):
        fault(f"{path.name}: transform_matrix is not 4 x 4 in every view")
        return cameras
    expected = np.stack([camera.to_world() for camera in cameras])
    differing = np.flatnonzero(~(np.abs(poses - expected).max(axis=(1, 2)) < ANGLES))
    if len(differing):
        fault(f"{path.name}: transform_matrix of view {differing.tolist()} disagrees with its angles and distance")
    return cameras


def _pictures(folder: Path, cameras: Sequence[Camera], views: int, fault: Any) -> dict[int, np.ndarray]:
    count = len(cameras) or views
    if views and cameras and len(cameras) != views:
        fault(f"transforms.json has {len(cameras)} views, object.json says {views}")
    found, missing = {}, []
    for number in range(count):
        path = folder / f"{number:03d}.png"
        if not path.is_file():
            missing.append(path.name)
            continue
        try:
            with Image.open(path) as picture:
                mode, pixels = picture.mode, np.asarray(picture.convert("RGBA"))
        except (OSError, ValueError, SyntaxError) as error:  # Pillow tells of a damaged header by a SyntaxError
            fault(f"{path.name} is damaged ({error})")
            continue
        if mode not in ("RGBA", "LA", "PA"):
            fault(f"{path.name} has no alpha channel (mode {mode})")
        elif not pixels[..., 3].any():
            fault(f"{path.name} is fully transparent")
        else:
            found[number] = pixels
    if missing:
        fault(
            f"{len(missing)} of {count} pictures are missing ({', '.join(missing[:3])}{' ...' if missing[3:] else ''})"
        )
    return found


def _mesh(path: Path, fault: Any) -> Mesh | None:
    name = "mesh.ply" if path.name == "mesh.ply" else f"watertight/{path.name}"
    if not path.is_file():
        fault(f"{name} is missing")
        return None
    try:
        mesh = store.read_ply(path)
    except Exception as error:  # whatever a damaged file provokes in the reader is the finding
        fault(f"{name} is damaged ({type(error).__name__}: {error})")
        return None
    if mesh.faces.ndim != 2 or len(mesh.faces) == 0 or mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        fault(f"{name} has no faces, or faces of vertices that do not exist")
        return None
    if not np.isfinite(mesh.vertices).all():
        fault(f"{name} has vertices that are not finite")
        return None
    return mesh


def _setting(record: store.Record, name: str) -> int:
    """A count of object.json; 0 when it says none."""
    value = record["settings"].get(name, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
