"""Skinned synthetic families: smooth or rigid solids that follow a skeleton.

Each function takes a random generator and returns the scene of one object. y is up, and the object faces +z before it
turns. Parts are at least about an eighth of the object thick, so that a small network can learn them.
"""

import numpy as np

from sculpt4d.gltf.write import Scene
from sculpt4d.preparation.synthetic.puppet import Puppet
from sculpt4d.preparation.synthetic.solids import block, capsule, ellipsoid, lathe, placed
from sculpt4d.types import Mesh


def quadruped(rng: np.random.Generator) -> Scene:
    """A four-legged walker with diagonal gait and a nodding head."""
    puppet = Puppet("quadruped", rng)
    wide, high, long, head, leg, thick = puppet.size(0.29, 0.29, 0.52, 0.25, 0.46, 0.145)
    phase, swing = rng.uniform(), rng.uniform(0.35, 0.6)
    body = puppet.joint("body", 0, (0, leg + 0.1, 0))
    puppet.bob(body, puppet.wave(0.03, 2, phase))
    puppet.hang(body, ellipsoid((wide, high, long)))
    neck = puppet.joint("neck", body, (0, 0.55 * high, 0.8 * long))
    puppet.turn(neck, (1, 0, 0), puppet.wave(0.25, 1, phase))
    puppet.hang(neck, placed(ellipsoid((0.9 * head, head, 1.15 * head)), (0, 0.6 * head, 0.4 * head)), 1)
    for row, (side, end) in enumerate([(-1, 1), (1, -1), (1, 1), (-1, -1)]):
        hip = puppet.joint(f"hip_{row}", body, (side * 0.62 * wide, -0.3 * high, end * 0.56 * long))
        puppet.turn(hip, (1, 0, 0), puppet.wave(swing, 1, phase + (row // 2) / 2))
        puppet.hang(hip, placed(capsule(leg - 0.1, thick, thick), up="-y"), 2)
    puppet.pack(body, (wide, high, long), 0.35 * high)
    return puppet.as_skin()


def bird(rng: np.random.Generator) -> Scene:
    """A bird that flaps two thick wings and rises and falls with them."""
    puppet = Puppet("bird", rng)
    wide, high, long, head, span, chord = puppet.size(0.26, 0.27, 0.46, 0.2, 0.3, 0.26)
    phase, flap = rng.uniform(), rng.uniform(0.45, 0.8)
    body = puppet.joint("body", 0, (0, 0, 0))
    puppet.bob(body, puppet.wave(-0.06, 1, phase))
    puppet.hang(body, ellipsoid((wide, high, long)))
    puppet.hang(body, placed(ellipsoid((head, head, 1.2 * head)), (0, 0.75 * high, 0.85 * long)), 1)
    puppet.hang(body, placed(block((0.2, 0.11, 0.22), 0.5), (0, 0.2 * high, -1.1 * long)), 2)
    for side in (-1, 1):
        shoulder = puppet.joint("wing", body, (side * 0.6 * wide, 0.35 * high, 0))
        puppet.turn(shoulder, (0, 0, 1), side * (0.1 + puppet.wave(flap, 1, phase)))
        puppet.hang(shoulder, placed(block((span, 0.105, chord), 0.6, 5), (side * span, 0, 0)), 2)
    puppet.pack(body, (wide, high, long), rng.uniform(-0.3, 0.3) * high)
    return puppet.as_skin()


def arm(rng: np.random.Generator) -> Scene:
    """An arm of two links and a fist on a base."""
    puppet = Puppet("arm", rng)
    base, lower, upper, thick, fist = puppet.size(0.4, 0.5, 0.42, 0.17, 0.22)
    bend, phase = rng.uniform(0.2, 0.45), rng.uniform()
    puppet.hang(0, block((base, 0.15, 0.9 * base), 0.4))
    shoulder = puppet.joint("shoulder", 0, (0, 0.12, 0))
    puppet.turn(shoulder, (0, 0, 1), rng.uniform(-0.3, 0.3) + puppet.wave(bend, 0.7, phase))
    puppet.hang(shoulder, capsule(lower, 1.15 * thick, thick), 1)
    elbow = puppet.joint("elbow", shoulder, (0, lower, 0))
    puppet.turn(
        elbow, (0, 0, 1), rng.choice([-1, 1]) * rng.uniform(0.6, 1.0) + puppet.wave(1.2 * bend, 0.8, phase + 0.3)
    )
    puppet.hang(elbow, capsule(upper, 0.95 * thick, 0.95 * thick), 2)
    hand = puppet.joint("hand", elbow, (0, upper, 0))
    puppet.hang(hand, ellipsoid((fist, 0.9 * fist, 1.2 * fist)), 1)
    puppet.pack(0, (base, 1, 0.9 * base), 0.2, reach=0.85)
    return puppet.as_skin()


def tentacle(rng: np.random.Generator) -> Scene:
    """A tapered trunk on a foot, with a wave travelling up."""
    puppet = Puppet("tentacle", rng)
    long, thick, foot = puppet.size(1.05, 0.24, 0.36)
    puppet.hang(0, lathe([0.0, 0.05, 0.16, 0.24], [foot, 1.05 * foot, foot, 0.6 * foot], -0.02, 0.26, 14), 1)
    links = 5
    chain = [puppet.joint("link_0", 0, (0, 0.12, 0))]
    for link in range(1, links):
        chain.append(puppet.joint(f"link_{link}", chain[-1], (0, long / links, 0)))
    axis = rng.uniform(0, 2 * np.pi)
    bend, phase, delay = rng.uniform(0.11, 0.18), rng.uniform(), rng.uniform(0.0, 0.1)
    for link, joint in enumerate(chain):
        puppet.turn(joint, (np.cos(axis), 0, np.sin(axis)), puppet.wave(bend, 0.8, phase - delay * link))
    along = np.linspace(0, 1, 13)
    radii = thick * (1 - 0.4 * along)
    tip = long + radii[-1] * np.array([0.5, 0.85])
    trunk = lathe([*(along * long), *tip], [*radii, *(radii[-1] * np.array([0.85, 0.5]))], -0.05, long + radii[-1])
    puppet.bend(chain, trunk, 1)
    puppet.pack(chain[1], (thick, 1, thick), 0.1, reach=0.95)
    return puppet.as_skin()


def fish(rng: np.random.Generator) -> Scene:
    """A swimming fish: a smooth body bends sideways from head to tail."""
    puppet = Puppet("fish", rng)
    wide, high, long, tail = puppet.size(0.23, 0.33, 1.2, 0.26)
    spine = [puppet.joint("head", 0, (0, 0, 0.5 * long))]
    for link in range(1, 5):
        spine.append(puppet.joint(f"spine_{link}", spine[-1], (0, 0, -long / 5)))
    phase, wag = rng.uniform(), rng.uniform(0.07, 0.13)
    for link, joint in enumerate(spine):
        puppet.turn(joint, (0, 1, 0), puppet.wave(wag * (0.4 + 0.2 * link), 1, phase - 0.1 * link))
    along = np.linspace(0, 1, 15)[1:-1]
    profile = np.sin(np.pi * along**0.8) ** 0.5 * (1 - 0.3 * along)
    body = lathe((along * long).tolist(), profile.tolist(), 0, long)
    x, y, z = body.vertices.T
    flat = placed(Mesh(np.stack([wide * x, y, -high * z], axis=1).astype(np.float32), body.faces[:, ::-1]), up="-z")
    puppet.bend(spine, flat, 2)
    puppet.hang(spine[-1], placed(block((0.11, 1.2 * tail, 0.75 * tail), 0.6), (0, 0, -long / 5 - 0.15 * tail)), 1)
    puppet.hang(spine[2], placed(block((0.11, 0.2, 0.2), 0.7), (0, 0.95 * high, 0.1)), 2)
    puppet.pack(spine[2], (wide, 1, 0.4 * long), rng.uniform(-0.12, 0.1), reach=0.9)
    return puppet.as_skin()


def biped(rng: np.random.Generator) -> Scene:
    """A two-legged walker that swings its arms. The held-out family: never trained on."""
    puppet = Puppet("biped", rng)
    wide, high, deep, head, leg, thick = puppet.size(0.28, 0.34, 0.23, 0.24, 0.48, 0.14)
    phase, swing = rng.uniform(), rng.uniform(0.35, 0.6)
    body = puppet.joint("body", 0, (0, leg + 0.6 * high, 0))
    puppet.bob(body, puppet.wave(0.03, 2, phase))
    puppet.hang(body, block((wide, high, deep), 0.7))
    puppet.hang(body, placed(ellipsoid((head, head, 1.1 * head)), (0, high + 0.7 * head, 0.05)), 1)
    for side in (-1, 1):
        stride = side * puppet.wave(swing, 1, phase)
        hip = puppet.joint("hip", body, (side * 0.55 * wide, -0.7 * high, 0))
        puppet.turn(hip, (1, 0, 0), stride)
        puppet.hang(hip, placed(capsule(leg - 0.1, 1.1 * thick, thick), up="-y"), 2)
        shoulder = puppet.joint("shoulder", body, (side * (wide + 0.35 * thick), 0.6 * high, 0))
        puppet.turn(shoulder, (1, 0, 0), -stride)
        puppet.hang(shoulder, placed(capsule(0.42, 0.95 * thick, 0.9 * thick), up="-y"), 1)
    puppet.pack(body, (wide + 0.1, 1, deep), rng.uniform(-0.1, 0.25), reach=0.95)
    return puppet.as_skin()
