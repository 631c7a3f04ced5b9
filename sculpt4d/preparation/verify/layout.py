"""Layout of an object's folder: paths of its parts and the expected number of frames.

Three layouts are supported. `ours`: written by `store`; modes render and hybrid add our geo_data to an official
release. `release`: the official release with many frames. `static`: the base release's mini set with one frame
(render_cond/000.png, geo_data/<id>_surface.npz).
"""

import json
from pathlib import Path
from typing import Literal, NamedTuple

from sculpt4d.data import store
from sculpt4d.data.store import RECORD, UNRECORDED, Record
from sculpt4d.preparation.verify.findings import AGAIN, Finding

DEEP = 3  # levels searched for objects, including the named folder


class ObjectLayout(NamedTuple):
    """Paths of the parts of an object. kind: see the module. frames: image folders by frame number.

    own_pictures, own_points: made by this project, so that object.json describes them. In folders of finished renders
    they come from others.
    """

    folder: Path
    kind: Literal["ours", "release", "static"]
    frames: dict[int, Path]
    surface: Path
    record: Record
    own_pictures: bool
    own_points: bool


def find_objects(root: Path) -> tuple[Path, ...]:
    """Return the folder itself if it is an object, else the objects below it. Raises ValueError if there are none."""
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
    return any((folder / part).exists() for part in ("render_cond", "geo_data", RECORD))


def open_layout(folder: Path, findings: list[Finding]) -> ObjectLayout:
    """Determine the layout from the existing files and object.json; missing and surplus frames become findings."""
    record, kind = UNRECORDED | {"name": folder.name}, "release"
    if (folder / RECORD).is_file():
        kind = "ours"
        try:
            stored = json.loads((folder / RECORD).read_text())
            if not isinstance(stored, dict) or not isinstance(stored.get("settings", {}), dict):
                raise ValueError("it is not an object with settings")
            record = store.Record(**(UNRECORDED | stored))  # type: ignore[typeddict-item]
        except (ValueError, OSError) as error:
            findings.append(Finding("files", f"{RECORD} cannot be read ({error})", AGAIN))
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
    own = kind == "ours" and record["mode"] == "export"
    expected = (setting(record, "frames") if own else 0) or max(frames, default=-1) + 1
    missing = tuple(number for number in range(max(expected, 1)) if number not in frames)
    if missing:
        what = f"render_cond holds {len(frames)} of {max(expected, 1)} frames, those named here are missing"
        findings.append(Finding("frames", what, AGAIN, missing))
    extra = tuple(number for number in frames if number >= expected)
    if extra:
        findings.append(Finding("frames", f"object.json says {expected} frames, these are too many", AGAIN, extra))
    own_points = kind == "ours" and not record["found"]
    return ObjectLayout(folder, kind, frames, surface, record, own, own_points)  # type: ignore[arg-type]


def setting(record: Record, name: str) -> int:
    """Return a count from object.json; 0 when it has none."""
    value = record["settings"].get(name, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
