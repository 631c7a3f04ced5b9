"""Write animated GLB files: skins, moving nodes, morph targets, and sequences with one mesh per frame.

Also computes the vertex normals that are written with every mesh.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pygltflib as gltf
from jaxtyping import Float, Integer

from sculpt4d.files import write_bytes
from sculpt4d.gltf.keyframes import Track
from sculpt4d.gltf.materials import srgb_to_linear
from sculpt4d.gltf.primitives import face_crosses
from sculpt4d.types import Mesh

GREY = (0.62, 0.64, 0.68)
COMPONENT = {"f": gltf.FLOAT, "H": gltf.UNSIGNED_SHORT, "I": gltf.UNSIGNED_INT}
WIDTH = {(): gltf.SCALAR, (3,): gltf.VEC3, (4,): gltf.VEC4, (4, 4): gltf.MAT4}


class Primitive(NamedTuple):
    """Triangles of one colour (sRGB in [0, 1]), or with colours per vertex in `vertex_colors` (v, 3).

    joints (v, 4): indices into the node's `skin`. weights (v, 4): their weights. targets (m, v, 3): morph offsets.
    """

    mesh: Mesh
    color: tuple[float, float, float] = GREY
    joints: Integer[np.ndarray, "v 4"] | None = None
    weights: Float[np.ndarray, "v 4"] | None = None
    targets: Float[np.ndarray, "m v 3"] | None = None
    vertex_colors: Float[np.ndarray, "v 3"] | None = None


class Node(NamedTuple):
    """A coordinate frame below `parent` (-1: none), with the primitives drawn in it and the joints if skinned.

    inverse_binds: (j, 4, 4) transforms from the mesh to each joint's frame in the bind pose.
    """

    name: str
    parent: int = -1
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    primitives: tuple[Primitive, ...] = ()
    skin: tuple[int, ...] = ()
    inverse_binds: Float[np.ndarray, "j 4 4"] | None = None


class Scene(NamedTuple):
    """Nodes, parents before children, and the tracks of one animation."""

    nodes: tuple[Node, ...]
    tracks: tuple[Track, ...]
    name: str = "clip"


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """Return unit vertex normals, weighted by face area. A vertex without faces gets the up direction."""
    crosses = face_crosses(mesh.vertices[mesh.faces].astype(np.float64))
    normals = np.stack(
        [
            sum(np.bincount(mesh.faces[:, corner], crosses[:, axis], len(mesh.vertices)) for corner in range(3))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-20, normals / np.maximum(length, 1e-20), (0.0, 1.0, 0.0)).astype(np.float32)


def write_scene(path: Path, scene: Scene) -> None:
    """Write one binary glTF with one animation, atomically."""
    writer = _Writer()
    document = writer.document
    document.scenes = [gltf.Scene(nodes=[row for row, node in enumerate(scene.nodes) if node.parent < 0])]
    document.scene = 0
    for row, node in enumerate(scene.nodes):
        children = [child for child, other in enumerate(scene.nodes) if other.parent == row]
        document.nodes.append(
            gltf.Node(
                name=node.name,
                children=children,
                translation=[float(x) for x in node.translation],
                rotation=[float(x) for x in node.rotation],
                scale=[float(x) for x in node.scale],
                mesh=writer.mesh(node.name, node.primitives) if node.primitives else None,
                skin=writer.skin(node) if node.skin else None,
            )
        )
    writer.animation(scene)
    write_bytes(Path(path), writer.bytes())


def write_sequence(
    path: Path,
    meshes: Sequence[Mesh],
    fps: float | int,
    colors: Sequence[Float[np.ndarray, "_ 3"]] | None = None,
) -> None:
    """Write one mesh per frame; the topology may change.

    Frame k is visible from k / fps to (k + 1) / fps, then the clip loops. Each frame is a node whose scale steps
    between 0 and 1. Players without animation show the first frame. colors: sRGB per vertex. An empty mesh is a frame
    without a surface.
    """
    if not meshes or fps <= 0:
        raise ValueError(f"{path}: {len(meshes)} frames at {fps} fps cannot be played: give at least one, fps above 0")
    nodes, tracks = [], []
    count = len(meshes)
    for frame, mesh in enumerate(meshes):
        tint = None if colors is None else np.asarray(colors[frame])
        drawn = (Primitive(mesh, vertex_colors=tint),) if len(mesh.faces) else ()
        size = 1.0 if frame == 0 else 0.0
        nodes.append(Node(f"frame_{frame:04d}", scale=(size,) * 3, primitives=drawn))
        shown = {0.0: 0.0, frame / fps: 1.0, (frame + 1) / fps: 0.0}
        if frame == count - 1:
            shown[count / fps] = 1.0  # this key only extends the clip to its end; looping players wrap to 0
        values = np.repeat(np.array(list(shown.values()))[:, None], 3, axis=1)
        tracks.append(Track(frame, "scale", np.array(list(shown)), values, "STEP"))
    write_scene(path, Scene(tuple(nodes), tuple(tracks), "sequence"))


class _Writer:
    """A glTF document and its single buffer, filled step by step."""

    def __init__(self) -> None:
        self.document = gltf.GLTF2(asset=gltf.Asset(version="2.0", generator="sculpt4d"))
        self.blob = bytearray()

    def accessor(self, values: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """Add an accessor, aligned to 4 bytes as component types require. Return its index."""
        values = np.ascontiguousarray(values)
        self.blob.extend(b"\0" * (-len(self.blob) % 4))
        view = gltf.BufferView(buffer=0, byteOffset=len(self.blob), byteLength=values.nbytes, target=target)
        self.document.bufferViews.append(view)
        self.document.accessors.append(
            gltf.Accessor(
                bufferView=len(self.document.bufferViews) - 1,
                componentType=COMPONENT[values.dtype.char],
                count=len(values),
                type=WIDTH[values.shape[1:]],
                min=np.atleast_1d(values.min(0)).tolist() if bounds else None,
                max=np.atleast_1d(values.max(0)).tolist() if bounds else None,
            )
        )
        self.blob.extend(values.tobytes())
        return len(self.document.accessors) - 1

    def mesh(self, name: str, primitives: tuple[Primitive, ...]) -> int:
        targets = {0 if primitive.targets is None else len(primitive.targets) for primitive in primitives}
        if len(targets) > 1:
            raise ValueError(f"node {name} draws primitives of {sorted(targets)} morph targets: use a node for each")
        weights = [0.0] * targets.pop()
        self.document.meshes.append(
            gltf.Mesh(name=name, primitives=[self.primitive(one) for one in primitives], weights=weights)
        )
        return len(self.document.meshes) - 1

    def primitive(self, primitive: Primitive) -> gltf.Primitive:
        mesh = primitive.mesh
        attributes = gltf.Attributes(
            POSITION=self.accessor(mesh.vertices.astype(np.float32), gltf.ARRAY_BUFFER, bounds=True),
            NORMAL=self.accessor(vertex_normals(mesh), gltf.ARRAY_BUFFER),
        )
        if primitive.joints is not None and primitive.weights is not None:
            attributes.JOINTS_0 = self.accessor(primitive.joints.astype(np.uint16), gltf.ARRAY_BUFFER)
            attributes.WEIGHTS_0 = self.accessor(primitive.weights.astype(np.float32), gltf.ARRAY_BUFFER)
        if primitive.vertex_colors is not None:
            linear = srgb_to_linear(primitive.vertex_colors).astype(np.float32)
            attributes.COLOR_0 = self.accessor(linear, gltf.ARRAY_BUFFER)
        small = len(mesh.vertices) <= 65535  # 65535 itself is the restart value of strips
        indices = mesh.faces.astype(np.uint16 if small else np.uint32).ravel()
        result = gltf.Primitive(
            attributes=attributes,
            indices=self.accessor(indices, gltf.ELEMENT_ARRAY_BUFFER),
            material=self.material(primitive.color if primitive.vertex_colors is None else (1.0, 1.0, 1.0)),
        )
        if primitive.targets is not None:
            result.targets = [
                gltf.Attributes(POSITION=self.accessor(target.astype(np.float32), gltf.ARRAY_BUFFER, bounds=True))
                for target in primitive.targets
            ]
        return result

    def material(self, color: tuple[float, float, float]) -> int:
        factor = [*srgb_to_linear(np.array(color)).tolist(), 1.0]
        surface = gltf.PbrMetallicRoughness(baseColorFactor=factor, metallicFactor=0.0, roughnessFactor=0.7)
        self.document.materials.append(gltf.Material(pbrMetallicRoughness=surface, alphaCutoff=None))
        return len(self.document.materials) - 1

    def skin(self, node: Node) -> int:
        if node.inverse_binds is None:
            raise ValueError(f"node {node.name} is skinned: give inverse_binds, one 4x4 matrix per joint")
        # glTF stores matrices in column-major order
        matrices = node.inverse_binds.astype(np.float32).transpose(0, 2, 1)
        self.document.skins.append(
            gltf.Skin(joints=[int(joint) for joint in node.skin], inverseBindMatrices=self.accessor(matrices))
        )
        return len(self.document.skins) - 1

    def animation(self, scene: Scene) -> None:
        animation = gltf.Animation(name=scene.name)
        for track in scene.tracks:
            values = track.values.astype(np.float32)
            if track.path == "weights":
                values = values.ravel()
            elif track.interpolation == "CUBICSPLINE":
                values = values.reshape(-1, values.shape[-1])
            times = self.accessor(track.times.astype(np.float32), bounds=True)
            animation.samplers.append(
                gltf.AnimationSampler(input=times, output=self.accessor(values), interpolation=track.interpolation)
            )
            target = gltf.AnimationChannelTarget(node=track.node, path=track.path)
            animation.channels.append(gltf.AnimationChannel(sampler=len(animation.samplers) - 1, target=target))
        self.document.animations.append(animation)

    def bytes(self) -> bytes:
        self.blob.extend(b"\0" * (-len(self.blob) % 4))
        self.document.buffers = [gltf.Buffer(byteLength=len(self.blob))]
        self.document.set_binary_blob(bytes(self.blob))
        return b"".join(self.document.save_to_bytes())
