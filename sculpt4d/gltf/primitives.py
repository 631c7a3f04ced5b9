"""Surfaces drawn by a glTF file: triangles, morph targets and skins of every primitive on every node."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import sparse

from sculpt4d.gltf.accessors import array, count_of, normalised, offsets
from sculpt4d.gltf.compressed import DRACO, draco_mesh
from sculpt4d.gltf.document import GltfFile, natural
from sculpt4d.gltf.tree import Tree

MOST_FACES = 2_000_000  # maximum for all parts together; more do not fit in 2 GB with their colours
MOST_ROWS = 3 * 2**23  # maximum for all attributes and morph targets
INSTANCES = "EXT_mesh_gpu_instancing"
TRIANGLES, STRIP, FAN = 4, 5, 6
READ = ("POSITION", "JOINTS_", "WEIGHTS_", "COLOR_0", "TEXCOORD_")  # attributes that are read; others are ignored


class Skin(NamedTuple):
    """Skin of a part. joints: (j,) node indices. influences: (v, j) weights that sum to one.

    inverse_binds: (j, 4, 4) transforms from the mesh to the joints' frames.
    """

    joints: list[int]
    inverse_binds: Float[np.ndarray, "j 4 4"]
    influences: sparse.csr_array


class Target(NamedTuple):
    """One morph target: offsets (r, 3) of some vertices, or of all when `rows` is None."""

    rows: Int[np.ndarray, " r"] | None
    offsets: Shaped[np.ndarray, "r 3"]


class MeshPart(NamedTuple):
    """One primitive drawn by one node, in the primitive's own frame, with the vertices its faces use.

    defaults: (m,) weights of `targets` at rest. attributes: joints, vertex colours etc. by name.
    """

    node: int
    positions: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    targets: tuple[Target, ...]
    defaults: Float[np.ndarray, " m"]
    skin: Skin | None
    material: int | None
    attributes: dict[str, Shaped[np.ndarray, "v _"]]

    def thinned(self, step: int) -> "MeshPart":
        """Return every `step`-th vertex without faces, which suffices to measure motion."""
        skin = self.skin and self.skin._replace(influences=self.skin.influences[::step])
        targets = []
        for rows, moved in self.targets:
            kept = slice(None, None, step) if rows is None else rows % step == 0
            targets.append(Target(None if rows is None else rows[kept] // step, moved[kept]))
        return self._replace(
            positions=self.positions[::step], targets=tuple(targets), skin=skin, faces=self.faces[:0], attributes={}
        )


def read_parts(file: GltfFile, tree: Tree) -> tuple[list[MeshPart], list[str]]:
    """Read all surfaces in the file's scene, with notes on what is skipped (points, lines)."""
    parts, skipped, faces, rows = [], 0, 0, 0
    made: dict[tuple[int, int], MeshPart] = {}  # a mesh that several nodes draw is read once
    for row in tree.drawn:
        node = file.item("nodes", row)
        mesh = file.item("meshes", node["mesh"])
        with file.reading(f"mesh {node['mesh']}"):
            for number, primitive in enumerate(mesh["primitives"]):
                if "POSITION" not in primitive["attributes"] or primitive.get("mode", TRIANGLES) < TRIANGLES:
                    skipped += 1
                    continue
                place = (node["mesh"], number)
                faces += _face_count(file, primitive)
                rows += 0 if place in made else _row_count(file, primitive)
                if faces > MOST_FACES or rows > MOST_ROWS:
                    fault = f"has more than {MOST_FACES} triangles or {MOST_ROWS} rows of attributes"
                    raise file.error(fault, "simplify it, or draw its copies fewer times, to be read in 2 GB")
                if place not in made:
                    made[place] = _part(file, primitive)
                if len(made[place].faces):
                    parts.append(_placed(file, row, node, mesh, made[place]))
    if not parts:
        raise file.error("draws no triangles", "give a file with a mesh in its scene")
    notes = [f"{skipped} primitives without triangles left out"] if skipped else []
    copied = sum(INSTANCES in file.item("nodes", row).get("extensions", {}) for row in tree.drawn)
    if copied:
        notes.append(f"{copied} nodes drawn once instead of in the copies that {INSTANCES} lists")
    return parts, notes


def _face_count(file: GltfFile, primitive: dict[str, Any]) -> int:
    corners = count_of(file, primitive.get("indices", primitive["attributes"]["POSITION"]))
    return corners if primitive.get("mode", TRIANGLES) > TRIANGLES else corners // 3


def _row_count(file: GltfFile, primitive: dict[str, Any]) -> int:
    """Count the rows of all accessors of a primitive; a sparse accessor counts only its listed rows."""
    rows = sum(count_of(file, row) for row in _wanted(primitive).values())
    for target in primitive.get("targets", []):
        if "POSITION" in target:
            accessor = file.item("accessors", target["POSITION"])
            plain = "bufferView" in accessor or "sparse" not in accessor
            rows += count_of(file, target["POSITION"]) if plain else natural(accessor["sparse"], "count")
    return rows


def _part(file: GltfFile, primitive: dict[str, Any]) -> MeshPart:
    """Read a primitive without its node."""
    attributes, faces = _geometry(file, primitive)
    positions = attributes["POSITION"]
    if positions.shape[1] != 3 or any(len(values) != len(positions) for values in attributes.values()):
        shapes = {name: values.shape for name, values in attributes.items()}
        raise file.error(f"is damaged: a primitive has attributes of shapes {shapes}", "export it again")
    if len(faces) and faces.max() >= len(positions):
        raise file.error(f"is damaged: index {faces.max()} of {len(positions)} vertices", "export it again")
    used = np.zeros(len(positions), bool)
    used[faces] = True
    return MeshPart(
        node=-1,
        positions=positions[used].astype(np.float64),
        faces=(np.cumsum(used) - 1)[faces],
        targets=tuple(_target(file, target, used) for target in primitive.get("targets", [])),
        defaults=np.zeros(0),
        skin=None,
        material=primitive.get("material"),
        attributes={name: values[used] for name, values in attributes.items() if name != "POSITION"},
    )


def _placed(file: GltfFile, row: int, node: dict[str, Any], mesh: dict[str, Any], part: MeshPart) -> MeshPart:
    """Assign a part to a node, with the node's skin and rest weights."""
    defaults = node.get("weights") or mesh.get("weights") or [0.0] * len(part.targets)
    if part.targets and len(defaults) != len(part.targets):
        fault = f"is damaged: {len(defaults)} weights for {len(part.targets)} morph targets"
        raise file.error(fault, "export it again")
    return part._replace(
        node=row,
        defaults=np.asarray(defaults, np.float64)[: len(part.targets)],
        skin=_skin(file, file.item("skins", node["skin"]), part.attributes) if "skin" in node else None,
    )


def _wanted(primitive: dict[str, Any]) -> dict[str, int]:
    return {name: row for name, row in primitive["attributes"].items() if name.startswith(READ)}


def _geometry(
    file: GltfFile, primitive: dict[str, Any]
) -> tuple[dict[str, Shaped[np.ndarray, "v _"]], Int[np.ndarray, "f 3"]]:
    """Return attributes by name and triangles, decoded by Draco where the file has no uncompressed data."""
    rows, mode = primitive["attributes"], primitive.get("mode", TRIANGLES)
    wanted = _wanted(primitive)
    packed = primitive.get("extensions", {}).get(DRACO)
    if packed is not None and "bufferView" not in file.item("accessors", rows["POSITION"]):
        content = bytes(file.view_bytes(packed["bufferView"]))
        found, faces = draco_mesh(content, packed["attributes"], file.error)
        plain = {name: array(file, row) for name, row in wanted.items() if name not in found}
        for name in wanted.keys() & found.keys():
            plain[name] = normalised(file.item("accessors", rows[name]), found[name])
        return plain, faces.astype(np.int64).reshape(-1, 3)
    attributes = {name: array(file, row) for name, row in wanted.items()}
    if "indices" in primitive:
        indices = array(file, primitive["indices"], 1)[:, 0]
        if indices.dtype.kind != "u":
            raise file.error(f"is damaged: its indices are of type {indices.dtype}", "export it again")
    else:
        indices = np.arange(len(attributes["POSITION"]))
    return attributes, _triangles(indices.astype(np.int64), mode)


def _triangles(indices: Int[np.ndarray, " i"], mode: int) -> Int[np.ndarray, "f 3"]:
    """Convert triangles, strips (every second triangle reversed) and fans to triangles."""
    if mode == TRIANGLES:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    count = max(len(indices) - 2, 0)
    row = np.arange(count)
    if mode == FAN:
        return np.stack([np.repeat(indices[:1], count), indices[1:][row], indices[2:][row]], axis=1)
    odd = row % 2
    return np.stack([indices[row], indices[row + 1 + odd], indices[row + 2 - odd]], axis=1)


def face_crosses(corners: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, "f 3"]:
    """Return face normals with twice the face area as length, from corners (face, corner, coordinate)."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _target(file: GltfFile, target: dict[str, int], used: Shaped[np.ndarray, " v"]) -> Target:
    """Read a morph target, restricted to the used vertices."""
    if "POSITION" not in target:
        return Target(np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    if count_of(file, target["POSITION"]) != len(used):
        raise file.error(f"is damaged: a morph target does not have its mesh's {len(used)} vertices", "export it again")
    rows, moved = offsets(file, target["POSITION"])
    if rows is None:
        return Target(None, moved if used.all() else moved[used])
    return Target((np.cumsum(used) - 1)[rows[used[rows]]], moved[used[rows]])


def _skin(file: GltfFile, skin: dict[str, Any], attributes: dict[str, np.ndarray]) -> Skin | None:
    """Combine all sets of joints and weights into one sparse matrix; None for a primitive without any (rigid)."""
    sets = sorted(name.removeprefix("JOINTS_") for name in attributes if name.startswith("JOINTS_"))
    if not sets:
        return None
    joints = np.concatenate([attributes[f"JOINTS_{number}"] for number in sets], axis=1).astype(np.int64)
    shares = np.concatenate([attributes[f"WEIGHTS_{number}"] for number in sets], axis=1).astype(np.float64)
    count = len(skin["joints"])
    for joint in skin["joints"]:
        file.item("nodes", joint)
    total = shares.sum(axis=1)
    shares[total <= 0] = np.eye(1, shares.shape[1])  # a vertex without weights follows its first joint
    shares /= np.where(total > 0, total, 1.0)[:, None]
    joints = np.where(shares != 0, joints, 0)  # entries of zero weight may name any joint
    if joints.size and not 0 <= joints.min() <= joints.max() < count:
        raise file.error(f"is damaged: joint {joints.max()} in a skin of {count}", "export it again")
    rows = np.repeat(np.arange(len(joints)), joints.shape[1])
    influences = sparse.csr_array((shares.ravel(), (rows, joints.ravel())), shape=(len(joints), count))
    binds = np.tile(np.eye(4), (count, 1, 1))
    if "inverseBindMatrices" in skin:
        stored = array(file, skin["inverseBindMatrices"], 16)
        if len(stored) < count:
            raise file.error(f"is damaged: {len(stored)} inverse binds for {count} joints", "export it again")
        binds = stored[:count].astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
    return Skin(list(skin["joints"]), binds, influences)
