"""Read glTF accessors as arrays. Memory is allocated only after the size is checked against the available bytes."""

from typing import Any

import numpy as np
from jaxtyping import Shaped

from sculpt4d.gltf.document import GltfFile, natural

COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
MOST_ZEROS = 2**24  # maximum number of values in an accessor without its own bytes


def count_of(file: GltfFile, row: int) -> int:
    """Return the number of rows of an accessor without reading it."""
    with file.reading(f"accessor {row}"):
        return natural(file.item("accessors", row), "count")


def array(file: GltfFile, row: int, width: int = 0) -> Shaped[np.ndarray, "count width"]:
    """Return an accessor's values. Normalised integers become float64 in [-1, 1]; other types are kept.

    width: required number of columns; 0 accepts any.
    """
    with file.reading(f"accessor {row}"):
        accessor = file.item("accessors", row)
        columns, kind, count = WIDTHS[accessor["type"]], _kind(accessor), natural(accessor, "count")
        if width and columns != width:
            raise file.error(f"is damaged: accessor {row} has {columns} columns, not {width}", "export it again")
        if "bufferView" in accessor:
            values = _rows(file, accessor, count, columns, kind)
        elif count * columns > MOST_ZEROS:
            raise file.error(f"is damaged: accessor {row} claims {count} rows and has no bytes", "export it again")
        else:
            values = np.zeros((count, columns), kind)
        if "sparse" in accessor:
            rows, replaced = _sparse(file, accessor, columns, kind)
            values = values.copy()
            values[rows] = replaced
        return normalised(accessor, values)


def offsets(file: GltfFile, row: int) -> tuple[Shaped[np.ndarray, " r"] | None, Shaped[np.ndarray, "r 3"]]:
    """Return the row indices of a three-column accessor that may be non-zero (None: all), and their values.

    Sparse morph targets stay as small as in the file.
    """
    with file.reading(f"accessor {row}"):
        accessor = file.item("accessors", row)
        if "bufferView" in accessor or "sparse" not in accessor:
            return None, array(file, row, 3)
        rows, values = _sparse(file, accessor, 3, _kind(accessor))
        return rows.astype(np.int64), normalised(accessor, values)


def normalised(accessor: dict[str, Any], values: Shaped[np.ndarray, "n c"]) -> Shaped[np.ndarray, "n c"]:
    """Convert normalised integers to float64 in [-1, 1]."""
    if accessor.get("normalized") and values.dtype.kind in "iu":
        return np.maximum(values.astype(np.float64) / np.iinfo(values.dtype.name).max, -1.0)
    return values


def _kind(holder: dict[str, Any]) -> np.dtype:
    return np.dtype(COMPONENTS[holder["componentType"]]).newbyteorder("<")


def _rows(file: GltfFile, holder: dict[str, Any], count: int, width: int, kind: np.dtype) -> np.ndarray:
    """Return `count` rows of the buffer view named by `holder`, which may interleave them with other data."""
    content, offset = file.view_bytes(holder["bufferView"]), natural(holder, "byteOffset", 0)
    element = width * kind.itemsize
    stride = natural(file.item("bufferViews", holder["bufferView"]), "byteStride", 0) or element
    needed = offset + stride * (count - 1) + element if count else offset
    if needed > len(content) or stride < element:
        fault = f"is damaged: {count} rows of {stride} bytes from {offset} on, in a buffer view of {len(content)} bytes"
        raise file.error(fault, "export it again")
    return np.ndarray((count, width), kind, content, offset, (stride, kind.itemsize))


def _sparse(file: GltfFile, accessor: dict[str, Any], width: int, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the row indices of a sparse accessor and their values."""
    sparse = accessor["sparse"]
    count, where = natural(sparse, "count"), sparse["indices"]
    rows = _rows(file, where, count, 1, _kind(where))[:, 0]
    if rows.dtype.kind != "u" or (count and rows.max() >= accessor["count"]):
        raise file.error("is damaged: a sparse accessor lists rows that it does not have", "export it again")
    return rows, _rows(file, sparse["values"], count, width, kind)
