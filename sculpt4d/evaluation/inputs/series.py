"""Which files of a folder are the frames of one motion, judged by the numbers in their names."""

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

MESHES = (".glb", ".gltf", ".obj", ".ply", ".off", ".stl")  # of equally long series, the first kind is taken
GAP = 2  # times the smallest step is a frame that is missing; less is rounding, as in 0, 3, 7, 10
NUMBER = r"\d+(?:\.\d+)?"
BESIDE = re.compile("normal|colou?r|tangent|uv")  # arrays about vertices or faces that are neither


def mesh_series(files: Sequence[Path], folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The longest run of mesh files of the folder whose names differ in their numbers alone, and what to note of it.

    Raises ValueError when two are equally long, or when the numbers do not say which frame comes first.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in files:
        if file.suffix.lower() in MESHES and not file.name.startswith(".") and (file.is_file() or dangling(file)):
            groups.setdefault((form(file, folder), file.suffix.lower()), []).append(file)
    if not groups:
        return (), ()

    def rank(key: tuple[str, str]) -> tuple[int, bool, int]:
        return len(groups[key]), "#" in key[0], -MESHES.index(key[1])

    chosen = max(groups, key=rank)
    rivals = ["".join(key) for key in groups if rank(key)[:2] == rank(chosen)[:2] and key[0] != chosen[0]]
    if rivals:
        names = ", ".join(["".join(chosen), *rivals])
        raise ValueError(
            f"{folder} holds several series of {len(groups[chosen])} meshes ({names}): leave one of them, or choose "
            f"it by pattern='{chosen[0].replace('#', '*')}{chosen[1]}'"
        )
    notes = (f"read {''.join(chosen)}, other meshes of the folder were left",) if len(groups) > 1 else ()
    files = in_order(groups[chosen], folder)
    return files, (*notes, *gap(files, folder))


def array_pairs(files: Sequence[Path], folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """vertices*.npy and faces*.npy by turns: one pair for the whole motion, or one a frame (a single faces file serves
    all); and what to note of them. Raises ValueError when it is not clear which those are.
    """
    arrays = [file for file in files if file.suffix == ".npy" and not BESIDE.search(file.stem)]
    sides = []
    for word in ("vertices", "faces"):
        side = [file for file in arrays if word in file.stem]
        forms = sorted({form(file, folder) for file in side})
        if len(forms) > 1:
            raise ValueError(f"{folder} holds several kinds of {word} ({', '.join(forms)}, each .npy): leave one")
        sides.append(in_order(side, folder))
    vertices, faces = sides
    if vertices and len(faces) not in (1, len(vertices)):
        raise ValueError(f"{folder} holds {len(vertices)} vertices*.npy and {len(faces)} faces*.npy: give pairs")
    for one, other in zip(vertices, faces if len(faces) > 1 else (), strict=False):
        if numbers(one, folder) != numbers(other, folder):
            raise ValueError(f"{folder}: {one.name} and {other.name} would be a pair: number both sides alike")
    faces = faces * len(vertices) if len(faces) == 1 else faces
    return tuple(file for pair in zip(vertices, faces, strict=False) for file in pair), gap(vertices, folder)


def in_order(files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Files of one form by their numbers, which may be decimals.

    Raises ValueError unless one number counts and any others go along with it, for a dangling link, and for decimals of
    unequal length, as .10 may come after .9 or after .1.
    """
    files = sorted(files, key=lambda file: numbers(file, folder))
    for file in files:
        if dangling(file):
            raise ValueError(f"{file} is a link to a file that is not there: restore the file")
    places = [[len(part) for part in re.findall(r"\d\.(\d+)", _name(file, folder))] for file in files]
    if any(after != before for before, after in pairwise(places)):
        raise ValueError(
            f"{folder}: the numbers in {files[0].name} ... {files[-1].name} have unequally many digits after the "
            "point, so their order is not clear: write as many in all names, or whole numbers"
        )
    for file, after in pairwise(files):
        if numbers(file, folder) == numbers(after, folder):
            raise ValueError(f"{folder}: {file.name} and {after.name} have the same number: leave one of them")
    varying = _varying(files, folder)
    if len(varying) > 1 and not all(min(steps) > 0 or max(steps) < 0 for steps in map(_steps, varying)):
        raise ValueError(
            f"{folder}: {len(varying)} numbers vary in the names {form(files[0], folder)}{files[0].suffix}, so it is "
            f"not clear which counts the frames: choose one series by pattern, such as {_one_of(files, folder)}"
        )
    return tuple(files)


def gap(files: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """A note where no number of the files in order advances evenly: frames are paired by place, so if one is missing
    all that follow are compared with other moments.
    """
    columns = _varying(files, folder)
    if len(files) < 2 or any(0 < max(steps) < GAP * min(steps) for steps in map(_steps, columns)):
        return ()
    steps = [abs(step) for step in _steps(columns[0])]
    place = next(place for place, step in enumerate(steps) if step >= GAP * min(steps))
    return (
        f"after {files[place].name} comes {files[place + 1].name}, though the numbers elsewhere advance by "
        f"{min(steps)}: frames were paired in their order",
    )


def form(file: Path, folder: Path) -> str:
    """The name within the folder, its numbers replaced by #."""
    return masked(_name(file, folder))


def masked(name: str) -> str:
    """The name with # for each of its numbers."""
    return re.sub(NUMBER, "#", name)


def numbers(file: Path, folder: Path) -> tuple[Decimal, ...]:
    """All numbers of the name within the folder."""
    return tuple(map(Decimal, re.findall(NUMBER, _name(file, folder))))


def dangling(path: Path) -> bool:
    """Whether the path is a link to what is not there."""
    return path.is_symlink() and not path.exists()


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _varying(files: Sequence[Path], folder: Path) -> list[tuple[Decimal, ...]]:
    """The numbers of the names, one tuple for each place where they are not all the same."""
    columns = zip(*(numbers(file, folder) for file in files), strict=True)
    return [column for column in columns if len({*column}) > 1]


def _steps(column: Sequence[Decimal]) -> list[Decimal]:
    return [after - before for before, after in pairwise(column)]


def _one_of(files: Sequence[Path], folder: Path) -> str:
    """A pattern of one series: the number with the most values is free, the others are those of the first file."""
    values = [len({*column}) for column in zip(*(numbers(file, folder) for file in files), strict=True)]
    parts = re.split(f"({NUMBER})", _name(files[0], folder))
    parts[2 * values.index(max(values)) + 1] = "*"
    return f"pattern='{''.join(parts)}{files[0].suffix}'"
