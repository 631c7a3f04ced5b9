"""Output folder of one generation: OBJ per frame, animated GLB, preview video, contact sheet and offline HTML page."""

import errno
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sculpt4d.files import remove_stale, replacing_folder, to_json
from sculpt4d.generation.page import write_page
from sculpt4d.generation.preview import contact_sheet, crop_inputs, preview_frames, render_sequence, write_video
from sculpt4d.gltf.write import vertex_normals, write_sequence
from sculpt4d.types import Mesh, MeshSequence

log = logging.getLogger(__name__)

RECORD = "generation.json"


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Raise FileExistsError if `folder` must not be replaced. Call it before sampling, which takes minutes.

    `overwrite` allows replacing an earlier result, but never a folder that `write_outputs` did not create.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: choose another output=")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{folder} is not empty: choose another output=, or set overwrite=true")
    if not (folder / RECORD).is_file():
        raise FileExistsError(f"{folder} holds no {RECORD}, so it is not an earlier result: choose another output=")


def write_outputs(
    sequence: MeshSequence,
    inputs: Sequence[UInt8[np.ndarray, "h w 4"]],
    folder: Path,
    record: Mapping[str, Any],
    fps: float | None = None,
    title: str | None = None,
    facts: Mapping[str, str] | None = None,
    overwrite: bool = False,
    size: int = 480,
) -> None:
    """Write all files of one generation into `folder` atomically.

    `inputs`: RGBA frames, one per mesh. `record` becomes generation.json with an added entry `outputs` (files, vertices
    and faces per frame, frames without a mesh, seconds). `fps`: default is that of the sequence. `title` of the page:
    default is the folder's name. `facts` shown on the page: default is the result of `summary`. Previews are `size`
    pixels. Raises FileExistsError as `check_folder` does, and OSError when the disk is full.
    """
    if len(inputs) != len(sequence.frames) or not inputs:
        raise ValueError(
            f"{len(inputs)} input frames for {len(sequence.frames)} meshes: give one for each, at least one"
        )
    if fps is not None:
        sequence = replace(sequence, fps=fps)
    folder = Path(folder)
    title, facts = title or folder.name, summary(record, sequence) if facts is None else facts
    check_folder(folder, overwrite)
    remove_stale(folder.parent)
    try:
        with replacing_folder(folder) as draft:
            _write_all(draft, sequence, inputs, record, title, facts, size)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC, f"no space left on the disk of {folder}: free some, or choose another output="
            ) from error
        raise
    log.info("wrote %s", folder)


def summary(record: Mapping[str, Any], sequence: MeshSequence) -> dict[str, str]:
    """Entries of a record to show next to the mesh. Missing entries are omitted."""
    config = record.get("config") or {}
    sampler = config.get("sampler") or {}
    values = {
        "Input": Path(str(record["input"])).name if "input" in record else None,
        "Mask": str(record["background"]).split(",")[0] if "background" in record else None,
        "Frames": f"{len(sequence.frames)} at {sequence.fps:g} fps",
        "Model": (config.get("model") or {}).get("name"),
        "Steps": sampler.get("steps"),
        "Guidance": sampler.get("guidance"),
        "Resolution": config.get("resolution"),
        "Seed": record.get("seed"),
    }
    return {label: str(value) for label, value in values.items() if value is not None}


def write_obj(path: Path, mesh: Mesh, comment: str) -> None:
    """Write a Wavefront OBJ with vertex normals. Face indices start at 1."""
    lines = [
        f"# {' '.join(comment.split())}",
        f"# {len(mesh.vertices)} vertices, {len(mesh.faces)} faces; y up, front on +z",
    ]
    lines += ["v {:.6f} {:.6f} {:.6f}".format(*vertex) for vertex in mesh.vertices.tolist()]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*normal) for normal in vertex_normals(mesh).tolist()]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (mesh.faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="ascii", errors="replace")


def _write_all(
    folder: Path,
    sequence: MeshSequence,
    inputs: Sequence[UInt8[np.ndarray, "h w 4"]],
    record: Mapping[str, Any],
    title: str,
    facts: Mapping[str, str],
    size: int,
) -> None:
    start = time.perf_counter()
    count = len(sequence.frames)
    for index, mesh in enumerate(sequence.frames):
        write_obj(folder / f"frame_{index:04d}.obj", mesh, f"Sculpt4D, {title}, frame {index} of {count}")
    write_sequence(folder / "animated.glb", sequence.frames, sequence.fps)
    pictures, renders = crop_inputs(inputs, size), render_sequence(sequence, size)
    Image.fromarray(contact_sheet(pictures, renders)).save(folder / "contact_sheet.png", optimize=True)
    write_video(folder / "preview.mp4", list(preview_frames(pictures, renders, size)), sequence.fps)
    write_page(folder / "index.html", sequence, pictures, title, facts)
    outputs = {
        "files": sorted([*(file.name for file in folder.iterdir()), RECORD]),
        "fps": sequence.fps,
        "vertices": [len(mesh.vertices) for mesh in sequence.frames],
        "faces": [len(mesh.faces) for mesh in sequence.frames],
        "empty_frames": [index for index, mesh in enumerate(sequence.frames) if len(mesh.faces) == 0],
        "seconds": round(time.perf_counter() - start, 2),
    }
    text = to_json({**record, "outputs": outputs}, indent=2, default=str)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")
