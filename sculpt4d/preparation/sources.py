"""Resolve `source` to assets: a file, folder, glob, or list of paths and ids; animated files or finished renders."""

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sculpt4d.data.release import is_rendered, rendered_folders
from sculpt4d.preparation.exclusions import UID, read_lines
from sculpt4d.preparation.objaverse import cached_paths

FORMATS = (".glb", ".gltf")


class Asset(NamedTuple):
    """One object to prepare.

    path: an animated file, or the folder of finished renders. licence: when known from elsewhere than the file; an
    empty string means that there is none.
    """

    name: str
    path: Path
    uid: str = ""
    licence: str | None = None


class SourceList(NamedTuple):
    """Assets of a source. skipped, failed: entries that cannot be tried, with reasons. named: a single named file."""

    assets: Sequence[Asset]
    skipped: Mapping[str, str]
    failed: Mapping[str, str]
    named: bool = False


def find(source: str, mode: str) -> SourceList:
    """Return the assets of a source: finished renders in mode `render`, animated files in the others.

    Raises FileNotFoundError when there are none.
    """
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() not in FORMATS:
        return _listed(path, mode)
    if mode == "render":
        return SourceList(named_assets(_renders(source, path)), {}, {}, named=path.is_dir() and is_rendered(path))
    return SourceList(named_assets(find_files(source)), {}, {}, named=path.is_file())


def find_files(pattern: str) -> list[Path]:
    """Return the sorted GLB and glTF files of a path, a folder (searched recursively) or a glob.

    Raises FileNotFoundError when there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_file() and path.suffix.lower() in FORMATS:
        return [path]
    found = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    files = sorted(file for file in found if file.suffix.lower() in FORMATS and file.is_file())
    if not files:
        remedy = "give a file, a folder or a quoted glob"
        if path.is_dir() and rendered_folders(path):
            remedy = "it holds finished renders, which mode=render takes"
        raise FileNotFoundError(f"source={pattern} names no .glb or .gltf file: {remedy}")
    return files


def named_assets(paths: Sequence[Path]) -> list[Asset]:
    """Name each path by its stem; equal stems get their folder as a prefix.

    Raises ValueError if names still collide.
    """
    stems = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    counts = Counter(stems)
    names = [
        stem if counts[stem] == 1 else f"{path.resolve().parent.name}_{stem}"
        for stem, path in zip(stems, paths, strict=True)
    ]
    alike = sorted(name for name, count in Counter(names).items() if count > 1)
    if alike:
        more = f" and {len(alike) - 5} more" if len(alike) > 5 else ""
        raise ValueError(f"several input files would be named alike ({', '.join(alike[:5])}{more}): rename them")
    uids = [stem.lower() if UID.fullmatch(stem.lower()) else "" for stem in stems]
    return [Asset(name, path, uid) for name, path, uid in zip(names, paths, uids, strict=True)]


def _renders(source: str, path: Path) -> list[Path]:
    folders = rendered_folders(path) if path.is_dir() else []
    if not folders:
        raise FileNotFoundError(
            f"source={source} names no finished renders: mode=render takes a folder of objects, each with "
            "render_cond/frame_0000"
        )
    return folders


def _listed(path: Path, mode: str) -> SourceList:
    """Read a list of paths (relative to the list's folder) or of ids of objects that were downloaded before."""
    listed = read_lines(path)
    if not listed.lines:
        raise FileNotFoundError(f"source={path} is an empty list: one path or id a line was expected")
    here = cached_paths() if any(UID.fullmatch(line.lower()) for line in listed.lines) else {}
    paths: list[Path] = []
    failed: dict[str, str] = {}
    for line in listed.lines:
        place = path.parent / Path(line).expanduser()
        if place.exists():
            usable = is_rendered(place) if mode == "render" else place.suffix.lower() in FORMATS
            expected = "the folder of finished renders" if mode == "render" else "a .glb or .gltf file"
            if usable:
                paths.append(place)
            else:
                failed[line] = f"damaged line: {place} is not {expected}, which mode={mode} needs"
        elif line.lower() in here:
            paths.append(here[line.lower()])
        elif UID.fullmatch(line.lower()):
            failed[line] = f"unknown id: not among the downloaded objects, source=objaverse uids={path} gets it"
        else:
            failed[line] = f"missing file: {place} does not exist"
    doubles = [place for place, count in Counter(paths).items() if count > 1]
    skipped = dict(listed.faults) | {
        f"{path.name}: {place}": "repeated line: another line names it" for place in doubles
    }
    return SourceList(named_assets(list(dict.fromkeys(paths))), skipped, failed)
