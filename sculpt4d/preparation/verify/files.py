"""Checked reading of all files of one frame: missing, damaged and wrong files become findings."""

import json
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sculpt4d.data import store
from sculpt4d.preparation.verify.arrays import DAMAGE, Arrays
from sculpt4d.preparation.verify.findings import AGAIN, Finding
from sculpt4d.preparation.verify.layout import ObjectLayout, setting
from sculpt4d.render.cameras import Camera, read_transforms
from sculpt4d.types import Mesh

ANGLES = 1e-4  # a float32 pose deviates from its angles by 2^-24 of distances up to 10, times a few operations


class FrameFiles(NamedTuple):
    """Readable content of one frame; None or empty for everything that could not be read.

    random, sharp: (n, 6). pictures: RGBA images by view number. labels: query points (m, 3) and distances (m,).
    swallowed: masks of interior points in random and sharp.
    """

    random: np.ndarray | None
    sharp: np.ndarray | None
    mesh: Mesh | None
    closed: Mesh | None
    cameras: tuple[Camera, ...]
    pictures: dict[int, UInt8[np.ndarray, "_h _w 4"]]
    labels: tuple[np.ndarray, np.ndarray] | None
    swallowed: tuple[np.ndarray, np.ndarray] | None


def read_frame(layout: ObjectLayout, arrays: Arrays, frame: int, findings: list[Finding]) -> FrameFiles:
    """Read every file of the frame."""

    def fault(what: str) -> None:
        findings.append(Finding("files", what, AGAIN, (frame,)))

    random = arrays.read("surface", "random_surface", frame, 6)
    sharp = arrays.read("surface", "sharp_surface", frame, 6)
    labels = None
    if "labels" in arrays.files:
        places, distance = arrays.read("labels", "points", frame, 3), arrays.read("labels", "distance", frame, None)
        labels = (places, distance) if places is not None and distance is not None else None
    for name, rows in (("points", random), ("sharp_points", sharp)):
        asked = setting(layout.record, name) if layout.own_points else 0
        if rows is not None and asked and len(rows) not in ((asked,) if name == "points" else (0, asked)):
            findings.append(Finding("arrays", f"{len(rows)} {name} stored, object.json says {asked}", AGAIN, (frame,)))
    folder = layout.frames[frame]
    cameras = _cameras(folder / "transforms.json", fault)
    pictures = _pictures(folder, cameras, setting(layout.record, "views") if layout.own_pictures else 0, fault)
    size = setting(layout.record, "image_size") if layout.own_pictures else 0
    wrong = {view.shape[:2] for view in pictures.values()} - {(size, size) if size else (0, 0)}
    if (size and wrong) or len(wrong) > 1:
        fault(f"pictures measure {sorted(wrong)}, expected all {f'{size} x {size}' if size else 'of one size'}")
    mesh = _mesh(folder / "mesh.ply", fault)
    closed = None
    if layout.kind == "ours":
        closed = _mesh(layout.folder / "geo_data" / "watertight" / f"{store.frame_name(frame)}.ply", fault)
    return FrameFiles(random, sharp, mesh, closed, cameras, pictures, labels, _swallowed(layout, frame, fault))


def _swallowed(layout: ObjectLayout, frame: int, fault: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        found = store.read_swallowed(layout.folder, (frame,))
    except DAMAGE as error:
        fault(f"the marks of swallowed points cannot be read ({error})")
        return None
    return None if found is None else (found[0][0], found[1][0])


def _cameras(path: Path, fault: Callable[[str], None]) -> tuple[Camera, ...]:
    if not path.is_file():
        fault(f"{path.name} is missing")
        return ()
    try:
        content = json.loads(path.read_text())
        cameras = read_transforms(content)
        numbers = np.array(
            [[camera.azimuth, camera.elevation, camera.distance, camera.field] for camera in cameras], np.float64
        )
        poses = np.array([view["transform_matrix"] for view in content["frames"]], dtype=np.float64)
        expected = np.array([camera.to_world() for camera in cameras])
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
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
    differing = np.flatnonzero(~(np.abs(poses - expected).max(axis=(1, 2)) < ANGLES))
    if len(differing):
        fault(f"{path.name}: transform_matrix of view {differing.tolist()} disagrees with its angles and distance")
    return cameras


def _pictures(
    folder: Path, cameras: Sequence[Camera], views: int, fault: Callable[[str], None]
) -> dict[int, np.ndarray]:
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
        # Pillow raises SyntaxError for a damaged header and its own error for absurd sizes
        except (OSError, ValueError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError) as error:
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


def _mesh(path: Path, fault: Callable[[str], None]) -> Mesh | None:
    name = "mesh.ply" if path.name == "mesh.ply" else f"watertight/{path.name}"
    if not path.is_file():
        fault(f"{name} is missing")
        return None
    try:
        mesh = store.read_ply(path)
    except Exception as error:  # any error of the reader on a damaged file is a finding
        fault(f"{name} is damaged ({type(error).__name__}: {error})")
        return None
    if mesh.faces.ndim != 2 or len(mesh.faces) == 0 or mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        fault(f"{name} has no faces, or faces of vertices that do not exist")
        return None
    if not np.isfinite(mesh.vertices).all():
        fault(f"{name} has vertices that are not finite")
        return None
    return mesh
