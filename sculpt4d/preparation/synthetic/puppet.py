"""Builder of animated objects: joints, attached solids, and a slow turn that makes time informative.

Every puppet turns about the vertical axis during its clip. It carries a pack that the front camera (on +z) sees in some
frames only. A single frame is therefore ambiguous, while its neighbours resolve the ambiguity.
"""

import colorsys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sculpt4d.gltf.keyframes import Track
from sculpt4d.gltf.write import Node, Primitive, Scene
from sculpt4d.preparation.synthetic.solids import Number, block, ellipsoid, lathe
from sculpt4d.types import Mesh

KEYS = 17
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
Color = tuple[float, float, float]


class Puppet:
    """Builder of one object. Joints are indices into `nodes`; joint 0 turns.

    All rest rotations are the identity, so rest positions are sums of translations.
    """

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        self.rng = rng
        self.part = np.linspace(0, 1, KEYS)
        self.seconds = float(rng.uniform(1.0, 2.0))
        self.colors = [_muted(rng) for _ in range(4)]
        start = np.radians(rng.uniform(-60, 60))
        turn = np.radians(rng.uniform(90, 172)) * rng.choice([-1, 1])
        self.yaw = start + turn * self.part
        self.nodes = [Node(name)]
        self.tracks: list[Track] = []
        self.hung: list[tuple[int, Mesh, Color, np.ndarray | None, np.ndarray | None]] = []
        self.turn(0, (0, 1, 0), self.yaw)

    def size(self, *values: Number) -> tuple[float, ...]:
        """Return the values, each scaled by a random factor between 0.84 and 1.16."""
        return tuple((np.array(values) * self.rng.uniform(0.84, 1.16, len(values))).tolist())

    def wave(self, amplitude: Number, cycles: Number = 1.0, phase: Number = 0.0) -> Float[np.ndarray, " k"]:
        """Return a sine over the clip."""
        return amplitude * np.sin(2 * np.pi * (cycles * self.part + phase))

    def joint(self, name: str, parent: int, position: Sequence[Number]) -> int:
        """Add a joint and return its index. `position` is relative to the parent."""
        x, y, z = (float(value) for value in position)
        self.nodes.append(Node(name, parent, (x, y, z)))
        return len(self.nodes) - 1

    def turn(self, joint: int, axis: Sequence[Number], angles: Float[np.ndarray, " k"]) -> None:
        """Rotate about a fixed axis; angles in radians at every key."""
        half = np.asarray(angles)[:, None] / 2
        values = np.concatenate([np.asarray(axis) * np.sin(half), np.cos(half)], axis=1)
        self._track(joint, "rotation", values)

    def move(self, joint: int, offsets: Float[np.ndarray, "k 3"]) -> None:
        """Translate relative to the joint's rest position."""
        self._track(joint, "translation", np.asarray(self.nodes[joint].translation) + offsets)

    def bob(self, joint: int, heights: Float[np.ndarray, " k"]) -> None:
        """Translate vertically."""
        self.move(joint, np.stack([0 * heights, heights, 0 * heights], axis=1))

    def hang(self, joint: int, mesh: Mesh, color: int = 0) -> None:
        """Attach a solid that moves rigidly with the joint; vertices are in the joint's frame."""
        self.hung.append((joint, mesh, self.colors[color], None, None))

    def bend(self, chain: Sequence[int], mesh: Mesh, along: int, color: int = 0) -> None:
        """Attach a solid skinned smoothly to a chain of joints along one axis.

        Vertices are in the first joint's frame. Each is weighted linearly between its two nearest joints.
        """
        origins = np.array([self.rest(joint) for joint in chain])
        stations = (origins - origins[0])[:, along]
        if stations[-1] < 0:
            stations, place = -stations, -mesh.vertices[:, along]
        else:
            place = mesh.vertices[:, along]
        # a vertex at the middle of the bone above a joint belongs to that joint alone
        middles = stations + 0.5 * np.diff(stations, append=2 * stations[-1] - stations[-2])
        position = np.interp(place, middles, np.arange(len(chain)))
        weights = np.clip(1 - np.abs(position[:, None] - np.arange(len(chain))), 0, 1)
        full = np.zeros((len(position), max(chain) + 1))
        full[:, list(chain)] = weights
        self.hung.append((chain[0], mesh, self.colors[color], full, None))

    def morph(self, joint: int, shapes: Sequence[Mesh], amounts: Float[np.ndarray, "k m"], color: int = 0) -> None:
        """Attach a solid with morph targets.

        shapes[0] is the base and shapes[1:] are the targets. amounts: weight of each target at every key.
        """
        targets = np.stack([shape.vertices - shapes[0].vertices for shape in shapes[1:]])
        self.hung.append((joint, shapes[0], self.colors[color], None, targets))
        self._track(joint, "weights", amounts)

    def pack(
        self, joint: int, radii: Sequence[Number], height: Number = 0.0, color: int = 3, reach: Number = 1.0
    ) -> int:
        """Attach a thick box, ball or horn to the side of a body of half-sizes `radii`. Return its joint.

        Its direction makes it cross the silhouette in the middle third of the turn: hidden before and visible after, or
        the reverse.
        """
        crossing = np.interp(self.rng.uniform(0.35, 0.65), self.part, self.yaw)
        azimuth = self.rng.choice([-1, 1]) * np.pi / 2 - crossing
        direction = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
        distance = reach / np.linalg.norm(direction / np.asarray(radii))
        small, middle, large = np.sort(self.rng.uniform(0.15, 0.23, 3))
        holder = self.joint("pack", joint, (distance * direction + (0, height, 0)).tolist())
        kind = self.rng.integers(3)
        if kind == 0:
            mesh = block((middle, large, small), 0.35)
        elif kind == 1:
            mesh = ellipsoid((middle, 1.1 * small, 1.1 * large))
        else:  # a blunt horn that points outwards and starts inside the body
            long = 1.5 * large
            horn = lathe([-0.1, 0.0, 0.5 * long, long], [0.18, 0.2, 0.18, 0.12], -0.15, long + 0.06)
            x, y, z = horn.vertices.T
            mesh = Mesh(np.stack([x, -z, y], axis=1), horn.faces)
        sine, cosine = np.sin(azimuth), np.cos(azimuth)
        facing = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        self.hang(holder, Mesh((mesh.vertices @ facing.T).astype(np.float32), mesh.faces), color)
        return holder

    def rest(self, joint: int) -> Float[np.ndarray, " 3"]:
        """Return the joint's rest position in the object's frame."""
        position = np.zeros(3)
        while joint >= 0:
            position += self.nodes[joint].translation
            joint = self.nodes[joint].parent
        return position

    def as_nodes(self) -> Scene:
        """Return a scene in which every joint draws its own solids: rigid parts and morphs."""
        nodes = list(self.nodes)
        for joint in range(len(nodes)):
            primitives = tuple(
                Primitive(mesh, color, targets=targets)
                for owner, mesh, color, _, targets in self.hung
                if owner == joint
            )
            nodes[joint] = nodes[joint]._replace(primitives=primitives)
        return Scene(tuple(nodes), tuple(self.tracks))

    def as_skin(self) -> Scene:
        """Return a scene with all solids in one skinned mesh. The mesh has its own node, whose transform is ignored."""
        joints = len(self.nodes)
        primitives = []
        for owner, mesh, color, soft, _ in self.hung:
            weights = np.zeros((len(mesh.vertices), joints))
            if soft is None:
                weights[:, owner] = 1
            else:
                weights[:, : soft.shape[1]] = soft
            strongest = np.argsort(-weights, axis=1, kind="stable")[:, :4]
            share = np.take_along_axis(weights, strongest, axis=1)
            world = Mesh((mesh.vertices + self.rest(owner)).astype(np.float32), mesh.faces)
            primitives.append(Primitive(world, color, np.where(share > 0, strongest, 0), share))
        inverse = np.tile(np.eye(4), (joints, 1, 1))
        inverse[:, :3, 3] = [-self.rest(joint) for joint in range(joints)]
        skin = Node("skin", primitives=tuple(primitives), skin=tuple(range(joints)), inverse_binds=inverse)
        return Scene((*self.nodes, skin), tuple(self.tracks))

    def _track(self, joint: int, path: str, values: np.ndarray) -> None:
        self.tracks.append(Track(joint, path, self.part * self.seconds, np.asarray(values)))


def _muted(rng: np.random.Generator) -> Color:
    """Return a random sRGB colour, neither white nor black: luminance 0.4 to 0.72, low saturation."""
    color = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.25, 0.6), 1.0))
    red, green, blue = (color * min(rng.uniform(0.4, 0.72) / (LUMINANCE @ color), 1.0)).tolist()
    return red, green, blue
