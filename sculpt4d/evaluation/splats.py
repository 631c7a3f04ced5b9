"""Gaussian splats as a cloud of points: their centres, which count as much as they are opaque."""

from pathlib import Path

import numpy as np

from sculpt4d.evaluation.motion import Cloud

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
HEADER = 1 << 16  # bytes within which a header must end


def is_cloud(path: Path) -> bool:
    """Whether a PLY file holds points and no face."""
    _, elements, counts, _ = _header(path)
    return "vertex" in elements and counts.get("face", 0) == 0


def read_cloud(path: Path) -> Cloud:
    """Points of a PLY file. Weights: the sigmoid of `opacity`, as splats store its logit; 1 where there is none.

    Raises ValueError for a damaged file.
    """
    form, elements, counts, start = _header(path)
    names = [name for name, _ in elements["vertex"]]
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"{path}: its vertices have {names}, but not x, y and z")
    if next(iter(elements)) != "vertex" or any(kind not in KINDS for _, kind in elements["vertex"]):
        raise ValueError(f"{path}: only files whose first element are vertices of plain numbers can be read")
    content = path.read_bytes()[start:]
    count = counts["vertex"]
    if form == "ascii":
        values = np.loadtxt(content.decode("ascii").splitlines()[:count], dtype=np.float64, ndmin=2)
        columns = dict(zip(names, values.T, strict=True)) if len(values) else {}
    else:
        row = np.dtype([(name, ORDER[form] + KINDS[kind]) for name, kind in elements["vertex"]])
        if len(content) < count * row.itemsize:
            raise ValueError(f"{path} is cut off: {len(content)} bytes for {count} vertices of {row.itemsize}")
        table = np.frombuffer(content, row, count)
        columns = {name: table[name] for name in names}
    if count == 0:
        return Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)
    weights = np.ones(len(points), np.float32)
    if "opacity" in columns:
        logit = np.clip(np.nan_to_num(columns["opacity"].astype(np.float64), nan=-np.inf), -80, 80)
        weights = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return Cloud(points, weights)


def _header(path: Path) -> tuple[str, dict[str, list[tuple[str, str]]], dict[str, int], int]:
    """Format, properties and count of every element, and where the data begin."""
    with open(path, "rb") as file:
        head = file.read(HEADER)
    end = head.find(b"end_header")
    if not head.startswith(b"ply") or end < 0:
        raise ValueError(f"{path} is not a PLY file: it has no header")
    form, elements, counts, name = "", dict[str, list[tuple[str, str]]](), dict[str, int](), ""
    for line in head[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            name = words[1]
            elements[name], counts[name] = [], int(words[2])
        elif words[:1] == ["property"]:
            elements[name].append((words[-1], words[1]))
    if form != "ascii" and form not in ORDER:
        raise ValueError(f"{path}: PLY format {form!r} is not known")
    return form, elements, counts, head.index(b"\n", end) + 1
