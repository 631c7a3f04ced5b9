"""Where the vertices of a glTF file are at given moments: node hierarchies, morph targets and skins together."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from sculpt4d.data.gltf_file import GltfFile
from sculpt4d.data.keyframes import Track, sample
from sculpt4d.data.materials import face_colors

Tracks = dict[tuple[int, str], Track]
REST = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}


class Skin(NamedTuple):
    """joints (j,) are nodes; inverse_binds (j, 4, 4) take the mesh to their frames; influences (v, j) sum to one."""

    joints: list[int]
    inverse_binds: Float[np.ndarray, "j 4 4"]
    influences: sparse.csr_array


class Part(NamedTuple):
    """One primitive drawn by one node, in its own frame; `defaults` are the weights of `targets` at rest."""

    node: int
    positions: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colors: Float[np.ndarray, "f 3"]
    targets: Float[np.ndarray, "m v 3"]
    defaults: Float[np.ndarray, " m"]
    skin: Skin | None

    def thinned(self, count: int) -> "Part":
        """About `count` of its vertices, without faces: enough to judge a motion."""
        step = max(len(self.positions) // count, 1)
        skin = self.skin and self.skin._replace(influences=self.skin.influences[::step])
        positions, targets = self.positions[::step], self.targets[:, ::step]
        return self._replace(positions=positions, targets=targets, skin=skin, faces=self.faces[:0])


def read_parts(file: GltfFile) -> tuple[list[Part], list[str]]:
    """Every surface that the file's scene draws, and notes on what it draws otherwise (points, lines)."""
    try:
        parts, skipped = [], 0
        for row in _drawn(file):
            node = file.items("nodes")[row]
            mesh = file.items("meshes")[node["mesh"]]
            for primitive in mesh["primitives"]:
                if "POSITION" in primitive["attributes"] and primitive.get("mode", 4) >= 4:
                    parts.append(_part(file, row, node, mesh, primitive))
                else:
                    skipped += 1
    except (KeyError, IndexError, TypeError) as error:
        raise file.error(f"is damaged: its meshes cannot be resolved ({error!r})", "export it again") from error
    if not parts:
        raise file.error("draws no triangles", "give a file with a mesh in its scene")
    return parts, [f"{skipped} primitives without triangles left out"] if skipped else []


def pose(
    file: GltfFile, parts: list[Part], tracks: Tracks, times: Float[np.ndarray, " t"]
) -> tuple[Float[np.ndarray, "t v 3"], Float[np.ndarray, "t p"]]:
    """World positions of all parts' vertices, one part after the other, and the sign of each part's handedness.

    No tracks: the rest pose, at every time. Negative signs are mirrored (their faces turn inside out), 0 is flat.
    In float64, so that equal vertices get positions equal to far below float32.
    """
    world = _worlds(file, tracks, times)
    positions, signs = [], []
    for part in parts:
        track = tracks.get((part.node, "weights"))
        amounts = np.tile(part.defaults, (len(times), 1)) if track is None else sample(track, times)
        if amounts.shape[1] != len(part.targets):
            fault = f"is damaged: {amounts.shape[1]} weights for {len(part.targets)} morph targets"
            raise file.error(fault, "export it again")
        local = part.positions + np.tensordot(amounts, part.targets, axes=1)
        if part.skin is None:
            matrices = world[part.node]
            moved = local @ matrices[:, :3, :3].transpose(0, 2, 1) + matrices[:, None, :3, 3]
        else:
            bones = world[part.skin.joints] @ part.skin.inverse_binds[:, None]
            moved = np.empty_like(local)
            for frame in range(len(times)):
                blended = (part.skin.influences @ bones[:, frame, :3].reshape(-1, 12)).reshape(-1, 3, 4)
                moved[frame] = np.einsum("vij,vj->vi", blended[:, :, :3], local[frame]) + blended[:, :, 3]
            matrices = bones[np.argmax(part.skin.influences.sum(axis=0))]
        positions.append(moved)
        signs.append(np.sign(np.linalg.det(matrices[:, :3, :3])))
    return np.concatenate(positions, axis=1), np.stack(signs, axis=1)


def _drawn(file: GltfFile) -> list[int]:
    """Nodes with a mesh, in the default scene; in all of the file when it has no scene."""
    nodes, scenes = file.items("nodes"), file.items("scenes")
    waiting = list(scenes[file.json.get("scene", 0)].get("nodes", [])) if scenes else list(range(len(nodes)))
    reached = set()
    while waiting:
        row = waiting.pop()
        if row not in reached:
            reached.add(row)
            waiting.extend(nodes[row].get("children", []))
    return sorted(row for row in reached if "mesh" in nodes[row])


def _part(file: GltfFile, row: int, node: dict[str, Any], mesh: dict[str, Any], primitive: dict[str, Any]) -> Part:
    attributes = primitive["attributes"]
    positions = file.array(attributes["POSITION"]).astype(np.float64)
    if "indices" in primitive:
        indices = file.array(primitive["indices"])[:, 0].astype(np.int64)
    else:
        indices = np.arange(len(positions))
    if len(indices) and indices.max() >= len(positions):
        raise file.error(f"is damaged: index {indices.max()} of {len(positions)} vertices", "export it again")
    faces = _triangles(indices, primitive.get("mode", 4))
    moved = [target.get("POSITION") for target in primitive.get("targets", [])]
    targets = [np.zeros_like(positions) if one is None else file.array(one).astype(np.float64) for one in moved]
    defaults = node.get("weights") or mesh.get("weights") or [0.0] * len(targets)
    return Part(
        node=row,
        positions=positions,
        faces=faces,
        colors=face_colors(file, primitive, faces),
        targets=np.reshape(targets, (len(targets), len(positions), 3)),
        defaults=np.asarray(defaults, np.float64),
        skin=_skin(file, file.items("skins")[node["skin"]], attributes) if "skin" in node else None,
    )


def _triangles(indices: Int[np.ndarray, " i"], mode: int) -> Int[np.ndarray, "f 3"]:
    """Triangles (4), strips (5, every second one turned), fans (6)."""
    if mode == 4:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    count = max(len(indices) - 2, 0)
    row = np.arange(count)
    if mode == 6:
        return np.stack([np.repeat(indices[:1], count), indices[1:][row], indices[2:][row]], axis=1)
    odd = row % 2
    return np.stack([indices[row], indices[row + 1 + odd], indices[row + 2 - odd]], axis=1)


def _skin(file: GltfFile, skin: dict[str, Any], attributes: dict[str, int]) -> Skin | None:
    """All sets of joints and weights as one sparse matrix; None when the primitive has none (it is then rigid)."""
    sets = [number for number in range(len(attributes)) if f"JOINTS_{number}" in attributes]
    if not sets:
        return None
    joints = np.concatenate([file.array(attributes[f"JOINTS_{number}"]) for number in sets], axis=1).astype(np.int64)
    shares = np.concatenate([file.array(attributes[f"WEIGHTS_{number}"]) for number in sets], axis=1).astype(np.float64)
    count = len(skin["joints"])
    if max(skin["joints"], default=0) >= len(file.items("nodes")):
        raise file.error("is damaged: a skin has joints that are no nodes", "export it again")
    if joints[shares > 0].size and joints[shares > 0].max() >= count:
        raise file.error(f"is damaged: joint {joints.max()} in a skin of {count}", "export it again")
    total = shares.sum(axis=1)
    shares[total <= 0, 0] = 1.0  # a vertex without weights follows its first joint
    shares /= np.where(total > 0, total, 1.0)[:, None]
    rows = np.repeat(np.arange(len(joints)), joints.shape[1])
    columns = np.where(shares > 0, joints, 0).ravel()
    influences = sparse.csr_array((shares.ravel(), (rows, columns)), shape=(len(joints), count))
    binds = np.tile(np.eye(4), (count, 1, 1))
    if "inverseBindMatrices" in skin:
        binds = file.array(skin["inverseBindMatrices"]).astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)[:count]
    return Skin(list(skin["joints"]), binds, influences)


def _worlds(file: GltfFile, tracks: Tracks, times: Float[np.ndarray, " t"]) -> Float[np.ndarray, "n t 4 4"]:
    """Every node's frame in the world: parents first, all times at once."""
    nodes = file.items("nodes")
    worlds = np.stack([_local(row, node, tracks, times) for row, node in enumerate(nodes)])
    children = {child for node in nodes for child in node.get("children", [])}
    order = [row for row in range(len(nodes)) if row not in children]
    for row in order:  # grows while it runs: breadth first
        for child in nodes[row].get("children", []):
            worlds[child] = worlds[row] @ worlds[child]
            order.append(child)
        if len(order) > len(nodes):
            break
    if len(order) != len(nodes):
        raise file.error("is damaged: its nodes do not form a tree", "export it again")
    return worlds


def _local(row: int, node: dict[str, Any], tracks: Tracks, times: Float[np.ndarray, " t"]) -> np.ndarray:
    """The node in its parent's frame (t, 4, 4)."""
    result = np.tile(np.eye(4), (len(times), 1, 1))
    if "matrix" in node and not any((row, path) in tracks for path in REST):
        result[:] = np.reshape(node["matrix"], (4, 4)).T
        return result
    now = {
        path: sample(tracks[row, path], times)
        if (row, path) in tracks
        else np.tile(np.asarray(node.get(path, default), np.float64), (len(times), 1))
        for path, default in REST.items()
    }
    result[:, :3, :3] = _rotations(now["rotation"]) * now["scale"][:, None, :]
    result[:, :3, 3] = now["translation"]
    return result


def _rotations(quaternion: Float[np.ndarray, "t 4"]) -> Float[np.ndarray, "t 3 3"]:
    """Rotation matrices of unit quaternions (x, y, z, w)."""
    x, y, z, w = quaternion.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)
