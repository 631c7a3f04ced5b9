"""Synthetic families with morph targets, or with rigid parts on separate nodes.

Each function takes a random generator and returns the scene of one object. y is up, and the object faces +z before it
turns. Parts are at least about an eighth of the object thick, so that a small network can learn them.
"""

import numpy as np

from sculpt4d.gltf.write import Scene
from sculpt4d.preparation.synthetic.puppet import Puppet
from sculpt4d.preparation.synthetic.solids import block, ellipsoid, gear, lathe, placed
from sculpt4d.types import Mesh


def squash(rng: np.random.Generator) -> Scene:
    """A hopping jelly: flat and wide when it lands, tall and slim in the air."""
    puppet = Puppet("squash", rng)
    wide, high, deep, hat = puppet.size(0.42, 0.46, 0.4, 0.2)
    body = (
        block((wide, high, deep), rng.uniform(0.5, 0.95), 5) if rng.uniform() < 0.5 else ellipsoid((wide, high, deep))
    )
    # stands on the floor, so that squashing lowers its top
    standing = placed(body, (0, high, 0))
    amount = rng.uniform(0.25, 0.4)
    flat = Mesh((standing.vertices * (1 + 0.7 * amount, 1 - amount, 1 + 0.7 * amount)).astype(np.float32), body.faces)
    slim = Mesh((standing.vertices * (1 - 0.4 * amount, 1 + amount, 1 - 0.4 * amount)).astype(np.float32), body.faces)
    beat = puppet.wave(1, 1, rng.uniform())
    jumper = puppet.joint("body", 0, (0, 0, 0))
    puppet.bob(jumper, 0.22 * np.maximum(beat, 0))
    weights = np.stack([np.maximum(-beat, 0), np.maximum(beat, 0)], axis=1)
    puppet.morph(jumper, [standing, flat, slim], weights)
    tall = 1 + amount * (weights[:, 1] - weights[:, 0])
    broad = 1 + amount * (0.7 * weights[:, 0] - 0.4 * weights[:, 1])
    top = puppet.joint("hat", jumper, (0, 2 * high, 0))
    puppet.bob(top, (tall - 1) * 2 * high)
    puppet.hang(top, lathe([0, 0.12, 0.24], [1.2 * hat, hat, 0.7 * hat], -0.06, 0.3), 1)
    holder = puppet.pack(jumper, (wide, 1, deep), high, reach=0.95)
    rest = np.array(puppet.nodes[holder].translation)
    puppet.move(holder, rest * np.stack([broad - 1, tall - 1, broad - 1], axis=1))
    return puppet.as_nodes()


def twist(rng: np.random.Generator) -> Scene:
    """A square column that twists; a ball on top turns with it."""
    puppet = Puppet("twist", rng)
    wide, high, deep, ball = puppet.size(0.34, 0.6, 0.27, 0.24)
    column = block((wide, high, deep), 0.4, 7)
    most = rng.uniform(0.5, 0.9)
    angles = np.linspace(-most, most, 5)
    shapes = [column, *(_wrung(column, angle / high) for angle in angles if angle != 0)]
    now = puppet.wave(most, rng.uniform(0.6, 1.1), rng.uniform())
    tents = np.clip(1 - np.abs(now[:, None] - angles) / (angles[1] - angles[0]), 0, 1)
    puppet.morph(0, shapes, tents[:, angles != 0])
    top = puppet.joint("ball", 0, (0, high, 0))
    puppet.turn(top, (0, 1, 0), now)
    puppet.hang(top, placed(ellipsoid((1.3 * ball, ball, 0.8 * ball)), (0.12, 0.35 * ball, 0)), 1)
    puppet.pack(0, (wide, 1, deep), rng.uniform(-0.2, 0.1), reach=0.9)
    return puppet.as_nodes()


def breathing(rng: np.random.Generator) -> Scene:
    """Belly and chest that swell in turn, below a small head."""
    puppet = Puppet("breathing", rng)
    belly, chest, head = puppet.size(0.42, 0.32, 0.21)
    phase, swell, lag = rng.uniform(), rng.uniform(0.14, 0.26), rng.uniform(0.25, 0.5)
    lobes = [ellipsoid((belly, 0.85 * belly, 0.9 * belly)), ellipsoid((chest, chest, 0.85 * chest))]
    height = [0.8 * belly, 1.4 * belly + 0.55 * chest]
    for row, solid in enumerate(lobes):
        full = Mesh((solid.vertices * (1 + swell, 1 + 0.3 * swell, 1 + 1.4 * swell)).astype(np.float32), solid.faces)
        lobe = puppet.joint("lobe", 0, (0, height[row], 0))
        puppet.morph(lobe, [solid, full], (0.5 + puppet.wave(0.5, 1, phase + row * lag))[:, None], row)
    puppet.hang(0, placed(ellipsoid((head, head, 1.2 * head)), (0, height[1] + chest + 0.5 * head, 0.2 * head)), 2)
    puppet.hang(0, placed(block((0.85 * belly, 0.13, 0.8 * belly), 0.6), (0, 0.08, 0.1 * belly)), 2)
    puppet.pack(0, (belly, 1, belly), rng.uniform(0.9, 1.3) * belly, reach=0.95)
    return puppet.as_nodes()


def gears(rng: np.random.Generator) -> Scene:
    """Two meshing wheels with few, broad teeth on a stand."""
    puppet = Puppet("gears", rng)
    large, small, thick, stand = puppet.size(0.4, 0.27, 0.27, 0.16)
    travel = rng.choice([-1, 1]) * rng.uniform(0.5, 1.2) * puppet.part * 2 * np.pi / 4
    spread = large + small + 0.03
    puppet.hang(0, block((0.5 * spread + 0.2, 0.14, 1.4 * stand), 0.4), 2)
    for row, (radius, teeth, way) in enumerate([(large, 4, 1.0), (small, 3, -4 / 3)]):
        across = (-0.5 if row == 0 else 0.5) * spread
        axle = puppet.joint("axle", 0, (across, large + 0.32 - 0.25 * row * (large - small), 0.5 * thick))
        puppet.turn(axle, (0, 0, 1), way * travel + row * np.pi / 3)
        puppet.hang(axle, gear(teeth, 0.7 * radius, 1.12 * radius, thick), row)
    puppet.hang(0, placed(block((0.5 * spread, 0.13, stand), 0.4), (0, large + 0.2, -0.3 * thick)), 2)
    puppet.hang(0, placed(block((0.17, 0.5 * large + 0.12, stand), 0.4), (0, 0.5 * large + 0.1, -0.3 * thick)), 2)
    puppet.pack(0, (0.5 * spread, 1, 0.5 * thick + stand), large + 0.2 + rng.uniform(-0.15, 0.2), reach=0.95)
    return puppet.as_nodes()


def chest(rng: np.random.Generator) -> Scene:
    """A box whose lid opens and shows a rising ball."""
    puppet = Puppet("chest", rng)
    wide, high, deep, lid, ball = puppet.size(0.48, 0.26, 0.36, 0.12, 0.24)
    start, end = sorted(rng.uniform(0, 1, 2))
    if rng.uniform() < 0.5:
        start, end = end, start
    progress = 0.5 - 0.5 * np.cos(np.pi * np.clip(start + (end - start) * puppet.part, 0, 1))
    opened = np.interp(progress, [progress.min(), progress.max()], [0, 1])
    opened = opened if end > start else 1 - opened[::-1]
    puppet.hang(0, placed(block((wide, high, deep), 0.25), (0, high, 0)))
    hinge = puppet.joint("hinge", 0, (0, 2 * high, -deep + 0.05))
    puppet.turn(hinge, (1, 0, 0), -rng.uniform(0.9, 1.5) * opened)
    puppet.hang(hinge, placed(block((wide, lid, deep), 0.4), (0, 0.7 * lid, deep - 0.05)), 1)
    riser = puppet.joint("riser", 0, (0, 2 * high - ball, 0.1 * deep))
    puppet.bob(riser, ball * opened)
    puppet.hang(riser, ellipsoid((1.3 * ball, ball, ball)), 2)
    puppet.pack(0, (wide, 1, deep), high + rng.uniform(-0.05, 0.1), reach=0.95)
    return puppet.as_nodes()


def merge(rng: np.random.Generator) -> Scene:
    """Two lumps that separate and merge; a third joins from above. The number of visible components changes."""
    puppet = Puppet("merge", rng)
    left, right, third = puppet.size(0.33, 0.27, 0.22)
    apart = 0.5 + puppet.wave(0.5, rng.uniform(0.5, 1.0), rng.uniform())
    gap = np.interp(apart, [0, 1], [0.5 * (left + right), 1.35 * (left + right)])
    one = puppet.joint("left", 0, (0, 0, 0))
    two = puppet.joint("right", 0, (0, 0, 0))
    puppet.move(one, np.stack([-0.5 * gap, 0 * gap, 0 * gap], axis=1))
    puppet.move(two, np.stack([0.5 * gap, 0 * gap, 0.1 * apart], axis=1))
    puppet.hang(one, ellipsoid((left, 1.1 * left, left)))
    puppet.hang(two, block((right, right, right), 0.8), 1)
    above = puppet.joint("third", 0, (0.1, 0, 0))
    together = np.interp(puppet.wave(1, 0.8, rng.uniform()), [-1, 1], [0.7, 1.35])
    puppet.bob(above, together * (left + third))
    puppet.hang(above, ellipsoid((1.1 * third, third, 1.2 * third)), 2)
    puppet.pack(one, (left, 1, left), rng.uniform(-0.1, 0.1), reach=0.95)
    return puppet.as_nodes()


def ring(rng: np.random.Generator) -> Scene:
    """A standing ring that opens to a horseshoe or closes: its hole appears and disappears."""
    puppet = Puppet("ring", rng)
    radius, thick, foot = puppet.size(0.44, 0.165, 0.34)
    along = np.linspace(-1, 1, 25)
    round_end = thick * np.array([0.45, 0.8])
    reach = np.pi * radius
    heights = [*(-reach - round_end[::-1]), *(along * reach), *(reach + round_end)]
    radii = [*(thick * np.array([0.5, 0.85])), *np.full(25, thick), *(thick * np.array([0.85, 0.5]))]
    tube = lathe(heights, radii, -reach - thick, reach + thick, 10)
    openness = np.linspace(0, 1, 6)
    widest = rng.uniform(0.55, 0.7)
    shapes = [_bent(tube, (1 - (1 - widest) * part) / radius, thick) for part in openness]
    now = 0.5 + puppet.wave(0.5, rng.uniform(0.5, 0.9), rng.uniform())
    tents = np.clip(1 - np.abs(now[:, None] - openness) * 5, 0, 1)
    puppet.morph(puppet.joint("tube", 0, (0, 0, 0)), shapes, tents[:, 1:])
    puppet.hang(0, block((foot, 0.14, 0.8 * foot), 0.4), 1)
    puppet.pack(0, (0.8 * thick, 1, thick), 2 * thick, reach=1.0)
    return puppet.as_nodes()


def _wrung(mesh: Mesh, twist_per_height: float) -> Mesh:
    """Rotate every vertex about y in proportion to its height."""
    x, y, z = mesh.vertices.T.astype(np.float64)
    angle = twist_per_height * y
    turned = np.stack([np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x], axis=1)
    return Mesh(turned.astype(np.float32), mesh.faces)


def _bent(mesh: Mesh, curvature: float, lift: float) -> Mesh:
    """Bend a tube along y onto a circle in the xy plane that touches the floor at the tube's middle."""
    x, y, z = mesh.vertices.T.astype(np.float64)
    angle = curvature * y
    radius = 1 / curvature + x
    bent = np.stack([radius * np.sin(angle), 1 / curvature - radius * np.cos(angle) + lift, z], axis=1)
    return Mesh(bent.astype(np.float32), mesh.faces)
