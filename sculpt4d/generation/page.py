"""Self-contained HTML page: an interactive, offline player of the mesh sequence next to the input frames."""

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import fast_simplification
import numpy as np
from jaxtyping import Float, Integer, UInt8, UInt16
from PIL import Image

from sculpt4d.types import Mesh, MeshSequence

FRAME_FACES = 20_000  # at most 60,000 corners, so an index always fits 16 bits
PAGE_FACES = 640_000  # total over all frames; keeps the file below 15 MB


def write_page(
    path: Path,
    sequence: MeshSequence,
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]],
    title: str = "Sculpt4D",
    facts: Mapping[str, str] | None = None,
) -> int:
    """Write the page and return the maximum number of faces per frame. Denser frames are decimated.

    `pictures`: input frames on white, one per mesh. `facts`: labels and values shown under the title.
    """
    limit = min(FRAME_FACES, PAGE_FACES // max(len(sequence.frames), 1))
    lower, extent = _bounds(sequence)
    frames = []
    for mesh in sequence.frames:
        positions, faces = quantise(decimate(mesh, limit), lower, extent)
        frames.append(
            {
                "positions": _base64(positions.astype("<u2").tobytes()),
                "indices": _base64(faces.astype("<u2").tobytes()),
                "faces": len(mesh.faces),
            }
        )
    counts = [len(mesh.faces) for mesh in sequence.frames]
    shown = dict(facts or {})
    if max(counts, default=0) > limit:
        shown["Shown here"] = f"at most {limit:,} faces a frame; the OBJ and GLB files have all"
    data = {
        "fps": sequence.fps,
        "lower": lower.tolist(),
        "extent": extent,
        "frames": frames,
        "pictures": [picture_uri(picture) for picture in pictures],
    }
    page = resources.files("sculpt4d.generation").joinpath("viewer.html").read_text(encoding="utf-8")
    pairs = [(html.escape(key), html.escape(value)) for key, value in shown.items()]
    rows = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in pairs)
    values = {"title": html.escape(title), "facts": rows, "data": json.dumps(data)}
    path.write_text(re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], page), encoding="utf-8")
    return limit


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """Simplify the mesh to at most `faces` faces."""
    if len(mesh.faces) <= faces:
        return mesh
    vertices, triangles = fast_simplification.simplify(
        np.ascontiguousarray(mesh.vertices), np.ascontiguousarray(mesh.faces, dtype=np.int32), target_count=faces
    )
    # Faces that cannot be simplified, such as loose triangles, are dropped to keep the page small.
    return Mesh(vertices.astype(np.float32), triangles[:: -(-len(triangles) // faces)])


def quantise(
    mesh: Mesh, lower: Float[np.ndarray, " 3"], extent: float
) -> tuple[UInt16[np.ndarray, "v 3"], Integer[np.ndarray, "f 3"]]:
    """Quantise positions to steps of extent / 65535 from `lower`. Merges equal vertices, drops flat faces."""
    if len(mesh.faces) == 0:
        return np.zeros((0, 3), np.uint16), np.zeros((0, 3), np.int64)
    steps = np.rint((mesh.vertices - lower) / extent * 65535).clip(0, 65535).astype(np.uint16)
    used = np.unique(mesh.faces)
    rows = np.zeros(len(steps), np.int64)
    positions, rows[used] = np.unique(steps[used], axis=0, return_inverse=True)
    faces = rows[mesh.faces]
    first, second, third = faces.T
    return positions, faces[(first != second) & (second != third) & (third != first)]


def picture_uri(picture: UInt8[np.ndarray, "h w 3"], size: int = 360) -> str:
    """Encode the image as a JPEG data URI of at most `size` pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=86, optimize=True)
    return "data:image/jpeg;base64," + _base64(buffer.getvalue())


def _bounds(sequence: MeshSequence) -> tuple[Float[np.ndarray, " 3"], float]:
    """Lower corner and longest side over all frames; the box [-1, 1]^3 if all are empty."""
    points = [mesh.vertices for mesh in sequence.frames if len(mesh.faces)]
    if not points:
        return np.full(3, -1.0), 2.0
    lower = np.min([frame.min(axis=0) for frame in points], axis=0).astype(np.float64)
    upper = np.max([frame.max(axis=0) for frame in points], axis=0)
    return lower, max(float((upper - lower).max()), 1e-6)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
