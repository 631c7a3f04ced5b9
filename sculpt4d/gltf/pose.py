"""Vertex positions of a glTF file at given timestamps: node hierarchy, morph targets and skins."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sculpt4d.gltf.document import GltfFile
from sculpt4d.gltf.keyframes import Track, sample_all
from sculpt4d.gltf.primitives import MeshPart, read_parts
from sculpt4d.gltf.tree import Tree, read_tree, worlds

Tracks = Mapping[tuple[int, str], Track]
MOST_BYTES = 3 * 2**27  # limit for all positions, and for all node matrices; the whole reader stays below 2 GB


class Model(NamedTuple):
    """A file with its nodes and surfaces, ready to be posed. notes: what was left out."""

    file: GltfFile
    tree: Tree
    parts: list[MeshPart]
    notes: list[str]

    def thinned(self, count: int) -> "Model":
        """Return the model with about `count` vertices and no faces, which suffices to measure motion."""
        step = max(sum(len(part.positions) for part in self.parts) // count, 1)
        return self._replace(parts=[part.thinned(step) for part in self.parts])


def read_model(path: Path) -> Model:
    """Read a model. Raises GltfError, naming file and remedy, for damaged, empty, too large or unsupported files."""
    file = GltfFile(Path(path))
    with np.errstate(all="ignore"):  # non-finite values are detected when posed
        tree = read_tree(file)
        return Model(file, tree, *read_parts(file, tree))


def pose(
    model: Model, tracks: Tracks, times: Float[np.ndarray, " t"]
) -> tuple[Float[np.ndarray, "t v 3"], Float[np.ndarray, "t p"]]:
    """Return world positions of all parts' vertices, concatenated, and the sign of each part's handedness.

    Without tracks, the rest pose is returned at every time. A negative sign is a mirrored part, whose faces are inside
    out; 0 is a flat one. Positions are float64, so that equal vertices agree far beyond float32 precision. Raises
    GltfError for non-finite or too many positions.
    """
    starts = np.cumsum([0, *(len(part.positions) for part in model.parts)])
    needed = len(times) * max(24 * int(starts[-1]), 128 * len(model.tree.parents))
    if needed > MOST_BYTES:
        fault = f"has {starts[-1]} vertices and {len(model.tree.parents)} nodes, too many for {len(times)} moments"
        raise model.file.error(fault, "simplify it, or ask for fewer frames")
    with np.errstate(all="ignore"):  # overflow is detected below
        moved = sample_all(tracks, times)
        world = worlds(model.tree, moved, len(times))
        positions = np.empty((len(times), starts[-1], 3))
        signs = np.empty((len(times), len(model.parts)))
        for row, part in enumerate(model.parts):
            amounts = moved.get((part.node, "weights"), np.tile(part.defaults, (len(times), 1)))
            matrices = _place(part, amounts, world, positions[:, starts[row] : starts[row + 1]])
            signs[:, row] = np.nan_to_num(np.sign(np.linalg.det(matrices[:, :3, :3])))
    if not np.isfinite(positions).all():
        raise model.file.error("has vertices that are not finite", "clean the mesh and its animation, export it again")
    return positions, signs


def triangles(model: Model) -> Int[np.ndarray, "f 3"]:
    """Return the faces of all parts, as indices into the positions of `pose`."""
    starts = np.cumsum([0, *(len(part.positions) for part in model.parts)])
    return np.concatenate([part.faces + start for part, start in zip(model.parts, starts, strict=False)])


def _place(
    part: MeshPart,
    amounts: Float[np.ndarray, "t m"],
    world: Float[np.ndarray, "t n 4 4"],
    out: Float[np.ndarray, "t v 3"],
) -> Float[np.ndarray, "t 4 4"]:
    """Write a part's vertices to `out`.

    Returns the frame it follows: its node, or the joint with the largest influence.
    """
    active = [row for row in range(len(part.targets)) if amounts[:, row].any()]
    if part.skin is None:
        matrices = world[:, part.node]
        if not active:
            out[:] = part.positions @ matrices[:, :3, :3].transpose(0, 2, 1) + matrices[:, None, :3, 3]
            return matrices
    else:
        bones = world[:, part.skin.joints] @ part.skin.inverse_binds
        matrices = bones[:, np.argmax(part.skin.influences.sum(axis=0))]
    for frame in range(len(out)):
        local = part.positions.copy() if active else part.positions
        for row in active:
            rows, moved = part.targets[row]
            if rows is None:
                local += amounts[frame, row] * moved
            else:
                local[rows] += amounts[frame, row] * moved
        if part.skin is None:
            out[frame] = local @ matrices[frame, :3, :3].T + matrices[frame, :3, 3]
        else:
            blended = (part.skin.influences @ bones[frame, :, :3].reshape(-1, 12)).reshape(-1, 3, 4)
            out[frame] = np.einsum("vij,vj->vi", blended[:, :, :3], local) + blended[:, :, 3]
    return matrices
