"""Anyone's output as a motion: which of the known layouts a file or folder has."""

import json
import math
import os
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sculpt4d.data import store
from sculpt4d.evaluation.inputs.series import MESHES, array_pairs, dangling, masked, mesh_series

GLTF = (".glb", ".gltf")
ARRAY = re.compile("vertices|faces")
SURFACES = "surfaces.npy"
RECORD = "generation.json"


@dataclass(frozen=True)
class Found:
    """kind: `meshes` (a file per frame), `animation` (one animated GLB), `surfaces` (tracked points), `arrays` (pairs
    of vertices and faces), `prepared` (an object of prepare.py or of the official release), `unreadable` (the note says
    why). files: in order.
    """

    kind: str
    path: Path
    files: tuple[Path, ...]
    fps: float | None = None
    notes: tuple[str, ...] = ()


def find_motions(root: Path, pattern: str | None = None) -> dict[str, Found]:
    """Every object of `root` by name: its subfolders and files, or `root` itself when it is one object. Of a prepared
    set, its prepared objects. pattern: see `find_motion`.

    What is damaged or can be read in two ways is there as `unreadable`, and so is a GLB file without an animation among
    other objects. Raises FileNotFoundError when there is nothing, ValueError for a pattern that cannot be one.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} is missing: give a file or a folder of predictions or of ground truth")
    if pattern is not None and not _within(pattern):
        raise ValueError(f"pattern={pattern!r}: give a glob within an object's folder, such as pattern='meshes/*.obj'")
    found, many = _objects(root, pattern) if root.is_dir() and not _marked(root) else ({}, False)
    if many:
        return found
    single = _told(partial(find_motion, pattern=pattern), root)
    if single is None:
        named = "a file that matches pattern" if pattern else "an object of a known layout"
        raise FileNotFoundError(f"{root} does not hold {named} (docs/evaluation.md lists the layouts)")
    name = root.stem if root.is_file() else root.resolve().name
    apart = len(set(map(masked, found))) == len(found)  # files that cannot be one series
    return found | {name: single} if single.kind == "unreadable" and apart else {name: single}


def find_motion(path: Path, pattern: str | None = None) -> Found | None:
    """The layout of one object's file or folder; None when it holds nothing that is known.

    pattern: glob of the object's files within its folder, where that holds several series. Raises ValueError when the
    folder can be read in two ways.
    """
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        return None
    if pattern is not None:
        return _flat(sorted(path.glob(pattern), key=natural), path)
    if (path / SURFACES).is_file():
        return Found("surfaces", path, (path / SURFACES,))
    if (path / "render_cond").is_dir():
        return _prepared(path)
    fps = _recorded_fps(path / RECORD) if (path / RECORD).is_file() else None
    return _flat(sorted(path.iterdir(), key=natural), path, fps) or _inner(path)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def is_animated(path: Path) -> bool:
    """Whether a .glb or .gltf file has an animation. Raises ValueError when it is neither."""
    return bool(gltf_header(path).get("animations"))


def gltf_header(path: Path) -> dict[str, Any]:
    """The JSON of a .glb or .gltf file. Raises ValueError when it is neither."""
    try:
        if path.suffix.lower() == ".gltf":
            header = json.loads(path.read_text())
        else:
            with open(path, "rb") as file:
                magic, _, _, length, _ = struct.unpack("<4s4I", file.read(20))
                if magic != b"glTF":
                    raise ValueError(f"{path} is not a GLB file: it begins with {magic!r}")
                header = json.loads(file.read(length))
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its header cannot be read ({error})") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} is damaged: its header is no JSON object")
    return header


def files_of(found: Found) -> list[Path]:
    """Everything that may be read: closed meshes and buffers beside a .gltf too."""
    files = [*found.files, *sorted(found.path.glob("geo_data/watertight/*.ply"))]
    for file in found.files:
        if file.suffix.lower() == ".gltf":
            try:
                uris = [buffer.get("uri", "data:") for buffer in gltf_header(file).get("buffers", [])]
                files += [file.parent / unquote(uri) for uri in uris if not uri.startswith("data:")]
            except (AttributeError, TypeError) as error:
                raise ValueError(f"{file} is damaged: its buffers cannot be read ({error})") from error
    return files


def _objects(root: Path, pattern: str | None) -> tuple[dict[str, Found], bool]:
    """The objects that the entries of a folder would be, and whether they are more than what one object leaves."""
    entries = [entry for entry in sorted(root.iterdir(), key=natural) if not entry.name.startswith(".")]
    prepared = [entry for entry in entries if os.path.isdir(entry / "render_cond")]
    found, still, folders = dict[str, Found](), dict[str, Found](), False
    for entry in prepared or entries:
        motion = _told(partial(find_motion, pattern=pattern) if entry.is_dir() else _object, entry)
        name = entry.name if entry.is_dir() else entry.stem
        if motion is not None and name in found:
            motion = Found("unreadable", root, (), notes=(f"{root} holds {name} twice: leave one of them",))
        if motion is not None:
            found[name], folders = motion, folders or entry.is_dir()
        elif why := _unfit(entry):
            still[name] = Found("unreadable", entry, (), notes=(why,))
    several = len(found) > 1 and any(motion.kind != "unreadable" for motion in found.values())
    return still | found, several or folders


def _unfit(entry: Path) -> str:
    """Why an entry is no object though it looks like one; empty when it does not."""
    if entry.is_file() and entry.suffix.lower() in GLTF:
        return f"{entry} has no animation: give an animated file, or a folder with a mesh per frame"
    return f"{entry} is a link to what is not there: restore it" if dangling(entry) else ""


def _within(pattern: str) -> bool:
    """Whether a pattern is one that `Path.glob` takes."""
    parts = Path(pattern).parts
    return bool(parts) and not Path(pattern).is_absolute() and not any("**" in part and part != "**" for part in parts)


def _marked(folder: Path) -> bool:
    """Whether the folder says by itself that it is one object."""
    return any((folder / name).exists() for name in (SURFACES, "render_cond", RECORD))


def _told(find: Callable[[Path], Found | None], path: Path) -> Found | None:
    """What is found, or why it cannot be read: the run over the other objects goes on."""
    try:
        return find(path)
    except (ValueError, OSError) as error:
        return Found("unreadable", path, (), notes=(str(error),))


def _object(path: Path) -> Found | None:
    """A file that is a whole motion: an animated GLB or tracked points."""
    whole = path.suffix == ".npy" and not ARRAY.search(path.stem)
    if path.suffix.lower() in GLTF:
        whole = is_animated(path)
    return _file(path) if whole else None


def _file(path: Path) -> Found | None:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return Found("surfaces", path, (path,))
    if suffix in GLTF and is_animated(path):
        return Found("animation", path, (path,))
    return Found("meshes", path, (path,)) if suffix in MESHES else None


def _prepared(folder: Path) -> Found:
    count = store.frame_count(folder)
    frames = [folder / "render_cond" / store.frame_name(number) / "mesh.ply" for number in range(count)]
    return Found("prepared", folder, tuple(frames))


def _inner(folder: Path) -> Found | None:
    """The motion of its only subfolder that has one."""
    places = [place for place in sorted(folder.iterdir(), key=natural) if place.is_dir()]
    found = {place.name: _flat(sorted(place.iterdir(), key=natural), place) for place in places}
    known = {name: motion for name, motion in found.items() if motion is not None}
    if len(known) > 1:
        first, *_ = known
        raise ValueError(f"{folder} holds several motions ({', '.join(known)}): choose one by pattern='{first}/*'")
    for name, motion in known.items():
        return replace(motion, notes=(*motion.notes, f"read from its subfolder {name}"))
    return None


def _flat(files: Sequence[Path], folder: Path, fps: float | None = None) -> Found | None:
    """The motion that some files of a folder are."""
    series, notes = mesh_series(files, folder)
    if len(series) == 1 and series[0].suffix.lower() in GLTF and is_animated(series[0]):
        return Found("animation", series[0], series, fps)
    if series:
        return Found("meshes", folder, series, fps, notes)
    pairs, notes = array_pairs(files, folder)
    return Found("arrays", folder, pairs, notes=notes) if pairs else None


def _recorded_fps(path: Path) -> float:
    """Frames per second that generate.py has written down."""
    try:
        fps = float(json.loads(path.read_text())["outputs"]["fps"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): generate the clip again") from error
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"{path} is damaged (its fps are {fps}): generate the clip again")
    return fps
