"""Gaussian splats as a cloud of points: their centres, which count as much as they are opaque."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from sculpt4d.evaluation.metrics.motion import Cloud

KINDS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDER = {"binary_little_endian": "<", "binary_big_endian": ">"}
VISIBLE = 1 / 255  # opacity below which the common rasteriser skips a splat
HEADER = 1 << 16  # bytes within which a header must end


def is_cloud(path: Path) -> bool:
    """Whether a PLY file holds points and no face."""
    _, elements, counts, _ = _header(path)
    return "vertex" in elements and counts.get("face", 0) == 0


def read_cloud(path: Path) -> Cloud:
    """Points of a PLY file. Weights: the sigmoid of `opacity`, as splats store its logit; 1 where there is none.

    Splats that no picture shows are left out, as they would count in boxes and alignments: those of an opacity below
    `VISIBLE` and those whose opacity or position is not finite. Raises ValueError for a damaged file.
    """
    form, elements, counts, start = _header(path)
    names = [name for name, _ in elements["vertex"]]
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"{path}: its vertices have {names}, but not x, y and z")
    if next(iter(elements)) != "vertex" or any(kind not in KINDS for _, kind in elements["vertex"]):
        raise ValueError(f"{path}: only files whose first element are vertices of plain numbers can be read")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: its vertices have a property twice: {names}")
    content = path.read_bytes()[start:]
    count = counts["vertex"]
    if form == "ascii":
        columns = dict(zip(names, _ascii(content, count, len(names), path).T, strict=True))
    else:
        row = np.dtype([(name, ORDER[form] + KINDS[kind]) for name, kind in elements["vertex"]])
        if len(content) < count * row.itemsize:
            raise ValueError(f"{path} is cut off: {len(content)} bytes for {count} vertices of {row.itemsize}")
        table = np.frombuffer(content, row, count)
        columns = {name: table[name] for name in names}
    points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)
    weights = np.ones(len(points))
    if "opacity" in columns:
        weights = 1 / (1 + np.exp(-np.clip(columns["opacity"].astype(np.float64), -80, 80)))
    shown = np.isfinite(points).all(axis=1) & (weights >= VISIBLE)  # false for NaN
    return Cloud(points[shown], weights[shown].astype(np.float32))


def _ascii(content: bytes, count: int, width: int, path: Path) -> Float64[np.ndarray, "n w"]:
    """The first `count` rows of a text."""
    lines = [line for line in content.decode("ascii", "replace").splitlines() if line.strip()][:count]
    if len(lines) < count:
        raise ValueError(f"{path} is cut off: {len(lines)} lines for {count} vertices")
    try:
        return np.array([line.split() for line in lines], np.float64).reshape(count, width)
    except ValueError as error:
        raise ValueError(f"{path}: its vertices are not lines of {width} numbers ({error})") from error


def _header(path: Path) -> tuple[str, dict[str, list[tuple[str, str]]], dict[str, int], int]:
    """Format, properties and count of every element, and where the data begin."""
    with open(path, "rb") as file:
        head = file.read(HEADER)
    end = head.find(b"end_header")
    if not head.startswith(b"ply") or end < 0:
        raise ValueError(f"{path} is not a PLY file: it has no header")
    form, elements, counts, name = "", dict[str, list[tuple[str, str]]](), dict[str, int](), ""
    for line in head[:end].decode("ascii", "replace").splitlines():
        match line.split():
            case ["format", form, *_]:
                pass
            case ["element", name, count] if count.isdecimal():
                elements[name], counts[name] = [], int(count)
            case ["property", kind, *_, label] if name:
                elements[name].append((label, kind))
            case ["format" | "element" | "property", *_]:
                raise ValueError(f"{path} has a damaged PLY header: {line.strip()!r} is incomplete or out of place")
    if form != "ascii" and form not in ORDER:
        raise ValueError(f"{path}: PLY format {form!r} is not known")
    return form, elements, counts, (head.find(b"\n", end) + 1) or len(head)
