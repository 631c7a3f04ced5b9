"""Node hierarchy of a glTF file, and the world transforms of its nodes at given timestamps."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sculpt4d.gltf.document import GltfFile

REST = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}


class Tree(NamedTuple):
    """Node hierarchy with parents (-1: none) and rest transforms of n nodes, relative to their parents.

    local: (n, 4, 4). translation, scale (n, 3) and rotation (n, 4) are its components, for nodes that a clip moves in
    part. levels: nodes by depth, roots first. drawn: nodes with a mesh in the scene.
    """

    parents: Int[np.ndarray, " n"]
    levels: tuple[Int[np.ndarray, " _"], ...]
    local: Float[np.ndarray, "n 4 4"]
    translation: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 4"]
    scale: Float[np.ndarray, "n 3"]
    drawn: tuple[int, ...]


def read_tree(file: GltfFile) -> Tree:
    """Read the hierarchy. Raises GltfError for shared nodes, cycles, or transforms of wrong shape."""
    nodes = file.items("nodes")
    parents, levels = _descent(file, nodes)
    parts = {path: np.tile(np.array(default), (len(nodes), 1)) for path, default in REST.items()}
    local = np.tile(np.eye(4), (len(nodes), 1, 1))
    for row, node in enumerate(nodes):
        with file.reading(f"node {row}"):
            if "matrix" in node:
                local[row] = np.asarray(node["matrix"], np.float64).reshape(4, 4).T
                for path, values in zip(REST, _decomposed(local[row]), strict=True):
                    parts[path][row] = values
                continue
            for path in REST.keys() & node.keys():
                parts[path][row] = np.asarray(node[path], np.float64).reshape(len(REST[path]))
            local[row] = composed(*(parts[path][row] for path in REST))
    drawn = _drawn(file, nodes)
    return Tree(parents, levels, local, parts["translation"], parts["rotation"], parts["scale"], drawn)


def worlds(
    tree: Tree, moved: Mapping[tuple[int, str], Float[np.ndarray, "t _"]], moments: int
) -> Float[np.ndarray, "t n 4 4"]:
    """Return every node's world transform. moved: animated values by node and path."""
    result = np.tile(tree.local, (moments, 1, 1, 1))
    rows = np.array(sorted({node for node, path in moved if path in REST}), dtype=np.int64)
    if len(rows):
        now = [np.tile(getattr(tree, path)[rows], (moments, 1, 1)) for path in REST]
        place = {row: column for column, row in enumerate(rows.tolist())}
        index = {path: number for number, path in enumerate(REST)}
        for (node, path), values in moved.items():
            if path in REST:
                now[index[path]][:, place[node]] = values
        result[:, rows] = composed(*now)
    for level in tree.levels[1:]:
        result[:, level] = result[:, tree.parents[level]] @ result[:, level]
    return result


def composed(
    translation: Float[np.ndarray, "*n 3"], rotation: Float[np.ndarray, "*n 4"], scale: Float[np.ndarray, "*n 3"]
) -> Float[np.ndarray, "*n 4 4"]:
    """Compose scale, then rotation (quaternion x, y, z, w of any non-zero length), then translation."""
    length = np.linalg.norm(rotation, axis=-1, keepdims=True)
    x, y, z, w = np.moveaxis(rotation / np.where(length > 0, length, 1.0), -1, 0)
    turned = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result = np.zeros((*translation.shape[:-1], 4, 4))
    for row in range(3):
        for column in range(3):
            result[..., row, column] = turned[row][column] * scale[..., column]
    result[..., :3, 3] = translation
    result[..., 3, 3] = 1.0
    return result


def _decomposed(
    matrix: Float[np.ndarray, "4 4"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "4"], Float[np.ndarray, "3"]]:
    """Split a node's matrix into translation, rotation and scale.

    glTF forbids shear. A reflection becomes a negative x scale.
    """
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    scale[0] *= -1 if np.linalg.det(matrix[:3, :3]) < 0 else 1
    turn = matrix[:3, :3] / np.where(scale == 0, 1.0, scale)
    # the largest eigenvector of this symmetric matrix is the quaternion: no case distinctions, exact for rotations
    (a, b, c), (d, e, f), (g, h, i) = turn
    form = [
        [a - e - i, b + d, c + g, h - f],
        [0, e - a - i, f + h, c - g],
        [0, 0, i - a - e, d - b],
        [0, 0, 0, a + e + i],
    ]
    if not np.isfinite(form).all():
        return matrix[:3, 3], np.array(REST["rotation"]), scale
    return matrix[:3, 3], np.linalg.eigh(np.array(form), UPLO="U")[1][:, 3], scale


def _descent(file: GltfFile, nodes: list[dict[str, Any]]) -> tuple[Int[np.ndarray, " n"], tuple[np.ndarray, ...]]:
    """Return the parents, and the nodes of each depth."""
    parents = np.full(len(nodes), -1)
    with file.reading("its tree of nodes"):
        for row, node in enumerate(nodes):
            for child in node.get("children", []):
                file.item("nodes", child)
                if parents[child] >= 0:
                    raise file.error("is damaged: its nodes do not form a tree", "export it again")
                parents[child] = row
        levels = [[row for row in range(len(nodes)) if parents[row] < 0]]
        while levels[-1]:
            levels.append([child for row in levels[-1] for child in nodes[row].get("children", [])])
    if sum(map(len, levels)) != len(nodes):
        raise file.error("is damaged: its nodes do not form a tree", "export it again")
    return parents, tuple(np.array(level, dtype=np.int64) for level in levels[:-1])


def _drawn(file: GltfFile, nodes: list[dict[str, Any]]) -> tuple[int, ...]:
    """Return the nodes with a mesh in the default scene, or in the whole file when it has no scene."""
    with file.reading("its scene"):
        scenes = file.items("scenes")
        if not scenes:
            return tuple(row for row, node in enumerate(nodes) if "mesh" in node)
        waiting = list(file.item("scenes", file.json.get("scene", 0)).get("nodes", []))
        reached: set[int] = set()
        while waiting:
            row = waiting.pop()
            node = file.item("nodes", row)
            if row not in reached:
                reached.add(row)
                waiting.extend(node.get("children", []))
    return tuple(sorted(row for row in reached if "mesh" in nodes[row]))
