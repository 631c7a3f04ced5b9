"""Anyone's output as a motion: which of the known layouts a file or folder has, and which files belong to it."""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sculpt4d.data import store

MESHES = (".glb", ".gltf", ".obj", ".ply", ".off", ".stl")  # of equally long series, the first kind is taken
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


def find_motions(root: Path) -> dict[str, Found]:
    """Every object of `root` by name: its subfolders and files, or `root` itself when it is one object.

    What is damaged or can be read in two ways is there as `unreadable`. Raises FileNotFoundError when there is nothing.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} is missing: give a file or a folder of predictions or of ground truth")
    if root.is_dir() and not _marked(root):
        entries = [entry for entry in sorted(root.iterdir(), key=natural) if not entry.name.startswith(".")]
        folders = {entry.name: _told(find_motion, entry) for entry in entries if entry.is_dir()}
        files = {entry.stem: _told(_object, entry) for entry in entries if entry.is_file()}
        found = {name: motion for name, motion in (folders | files).items() if motion is not None}
        if len(found) > 1 or any(folders.values()):
            return found
    single = _told(find_motion, root)
    if single is None:
        raise FileNotFoundError(f"{root} holds no object of a known layout (docs/evaluation.md lists them)")
    return {root.stem if root.is_file() else root.resolve().name: single}


def find_motion(path: Path) -> Found | None:
    """The layout of one object's file or folder; None when it holds nothing that is known."""
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        return None
    if (path / SURFACES).is_file():
        return Found("surfaces", path, (path / SURFACES,))
    if (path / "render_cond").is_dir():
        return _prepared(path)
    fps = _recorded_fps(path / RECORD) if (path / RECORD).is_file() else None
    return _series(path, fps) or _arrays(path)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def is_animated(path: Path) -> bool:
    """Whether a .glb or .gltf file has an animation. Raises ValueError when it is neither."""
    try:
        if path.suffix.lower() == ".gltf":
            return bool(json.loads(path.read_text()).get("animations"))
        with open(path, "rb") as file:
            magic, _, _, length, _ = struct.unpack("<4s4I", file.read(20))
            if magic != b"glTF":
                raise ValueError(f"{path} is not a GLB file: it begins with {magic!r}")
            return bool(json.loads(file.read(length)).get("animations"))
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: its header cannot be read ({error})") from error


def _marked(folder: Path) -> bool:
    """Whether the folder says by itself that it is one object."""
    return any((folder / name).exists() for name in (SURFACES, "render_cond", RECORD))


def _told(find: Callable[[Path], Found | None], path: Path) -> Found | None:
    """What is found, or why it cannot be read: the run over the other objects goes on."""
    try:
        return find(path)
    except ValueError as error:
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


def _series(folder: Path, fps: float | None) -> Found | None:
    """The longest run of mesh files whose names differ in their numbers alone."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in sorted(folder.iterdir(), key=natural):
        if file.suffix.lower() in MESHES and file.is_file() and not file.name.startswith("."):
            groups.setdefault((re.sub(r"\d+", "#", file.stem), file.suffix.lower()), []).append(file)
    if not groups:
        return None

    def rank(key: tuple[str, str]) -> tuple[int, bool, int]:
        return len(groups[key]), "#" in key[0], -MESHES.index(key[1])

    chosen = max(groups, key=rank)
    rivals = ["".join(key) for key in groups if rank(key)[:2] == rank(chosen)[:2] and key[0] != chosen[0]]
    if rivals:
        names = ", ".join(["".join(chosen), *rivals])
        raise ValueError(f"{folder} holds several series of {len(groups[chosen])} meshes ({names}): leave one of them")
    files = tuple(groups[chosen])
    if len(files) == 1 and chosen[1] in GLTF and is_animated(files[0]):
        return Found("animation", files[0], files, fps)
    notes = (f"read {''.join(chosen)}, other meshes of the folder were left",) if len(groups) > 1 else ()
    return Found("meshes", folder, files, fps, notes)


def _arrays(folder: Path) -> Found | None:
    """vertices*.npy and faces*.npy: one pair for the whole motion, or one a frame (a single faces file serves all)."""
    files = sorted(folder.glob("*.npy"), key=natural)
    vertices, faces = ([file for file in files if word in file.stem] for word in ("vertices", "faces"))
    if not vertices:
        return None
    if len(faces) not in (1, len(vertices)):
        raise ValueError(f"{folder} holds {len(vertices)} vertices*.npy and {len(faces)} faces*.npy: give pairs")
    faces = faces * len(vertices) if len(faces) == 1 else faces
    return Found("arrays", folder, tuple(file for pair in zip(vertices, faces, strict=True) for file in pair))


def _recorded_fps(path: Path) -> float | None:
    """Frames per second that generate.py has written down."""
    try:
        fps = json.loads(path.read_text())["outputs"]["fps"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): generate the clip again") from error
    return float(fps)
