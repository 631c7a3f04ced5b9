"""Where the vertices of a glTF file are at given moments: node hierarchies, morph targets and skins together."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sculpt4d.gltf.document import GltfFile
from sculpt4d.gltf.keyframes import Track, sample_all
from sculpt4d.gltf.primitives import Part, read_parts
from sculpt4d.gltf.tree import Tree, read_tree, worlds

Tracks = Mapping[tuple[int, str], Track]
MOST_BYTES = 3 * 2**27  # of all positions, and of all nodes' matrices; the whole reader stays below 2 GB


class Model(NamedTuple):
    """A file with its nodes and surfaces, ready to be posed; notes: what was left out."""

    file: GltfFile
    tree: Tree
    parts: list[Part]
    notes: list[str]

    def thinned(self, count: int) -> "Model":
        """With about `count` vertices, and no faces: enough to judge a motion."""
        step = max(sum(len(part.positions) for part in self.parts) // count, 1)
        return self._replace(parts=[part.thinned(step) for part in self.parts])


def read_model(path: Path) -> Model:
    """Raises GltfError, naming file and remedy, for what is damaged, empty, too large or unsupported."""
    file = GltfFile(Path(path))
    with np.errstate(all="ignore"):  # what is not finite is found when it is posed
        tree = read_tree(file)
        return Model(file, tree, *read_parts(file, tree))


def pose(
    model: Model, tracks: Tracks, times: Float[np.ndarray, " t"]
) -> tuple[Float[np.ndarray, "t v 3"], Float[np.ndarray, "t p"]]:
    """World positions of all parts' vertices, one part after the other, and the sign of each part's handedness.

    No tracks: the rest pose, at every time. Negative signs are mirrored (their faces turn inside out), 0 is flat.
    In float64, so that equal vertices get positions equal to far below float32. Raises GltfError for positions that
    are not finite, or too many.
    """
    starts = np.cumsum([0, *(len(part.positions) for part in model.parts)])
    needed = len(times) * max(24 * int(starts[-1]), 128 * len(model.tree.parents))
    if needed > MOST_BYTES:
        fault = f"has {starts[-1]} vertices and {len(model.tree.parents)} nodes, too many for {len(times)} moments"
        raise model.file.error(fault, "simplify it, or ask for fewer frames")
    with np.errstate(all="ignore"):  # what overflows is found below
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
    """The faces of all parts, as rows of the positions that `pose` gives."""
    starts = np.cumsum([0, *(len(part.positions) for part in model.parts)])
    return np.concatenate([part.faces + start for part, start in zip(model.parts, starts, strict=False)])


def _place(
    part: Part,
    amounts: Float[np.ndarray, "t m"],
    world: Float[np.ndarray, "t n 4 4"],
    out: Float[np.ndarray, "t v 3"],
) -> Float[np.ndarray, "t 4 4"]:
    """Writes a part's vertices into `out`; gives the frame that it follows (the joint that moves most of it)."""
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
