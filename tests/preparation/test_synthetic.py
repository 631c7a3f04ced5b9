"""Synthetic objects: closed chunky parts, a turn that tells, and a plan whose splits never mix."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from sculpt4d.gltf.read import read_animation
from sculpt4d.gltf.write import write_scene
from sculpt4d.preparation.synthetic import families as synthetic
from sculpt4d.preparation.synthetic.puppet import Puppet
from sculpt4d.preparation.synthetic.solids import block, capsule, ellipsoid, gear, lathe
from sculpt4d.types import AnimatedMesh, Mesh


@pytest.fixture(scope="module", params=list(synthetic.FAMILIES))
def animated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AnimatedMesh:
    path = tmp_path_factory.mktemp("synthetic") / f"{request.param}.glb"
    synthetic.write_object("object", request.param, 7, path)
    return read_animation(path, 8)


@pytest.mark.parametrize(
    "solid, volume",
    [
        (lathe([0, 1], [1, 1], 0, 1, 64), np.pi),
        (ellipsoid((1, 2, 0.5), 40, 60), 4 / 3 * np.pi),
        (capsule(2, 0.5, 0.5), 2 * np.pi * 0.25 + np.pi / 6),
        (block((1, 2, 3), 0.01), 48),
        (gear(6, 0.99, 1.0, 0.5), np.pi / 2),
    ],
)
def test_solids_are_closed_and_have_their_volume(solid: Mesh, volume: float) -> None:
    mesh = trimesh.Trimesh(solid.vertices, solid.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(volume, rel=0.08)


def test_every_part_is_closed_and_faces_outward_in_every_frame(animated: AnimatedMesh) -> None:
    whole = trimesh.Trimesh(animated.rest, animated.faces, process=False)
    parts = trimesh.graph.connected_components(whole.face_adjacency)
    assert 2 < len(parts) < 9 and len(animated.faces) <= 2000
    for frame in animated.vertices[[0, 3, 7]]:
        for part in parts:
            solid = trimesh.Trimesh(frame, animated.faces[part], process=False)
            assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0


def test_frames_differ_but_not_too_much(animated: AnimatedMesh) -> None:
    extent = np.ptp(animated.vertices, axis=(0, 1)).max()
    steps = np.linalg.norm(np.diff(animated.vertices, axis=0), axis=-1).max(axis=1) / extent
    assert (steps > 0.03).all() and (steps < 0.45).all()


def test_colours_are_neither_white_nor_dark(animated: AnimatedMesh) -> None:
    luminance = animated.colors @ np.array([0.2126, 0.7152, 0.0722])
    assert luminance.min() > 0.25 and luminance.max() < 0.75
    assert len(np.unique(animated.colors.round(3), axis=0)) >= 3


@pytest.mark.parametrize("seed", range(20))
def test_the_pack_is_behind_in_one_frame_and_in_front_in_another(seed: int) -> None:
    puppet = Puppet("test", np.random.default_rng(seed))
    holder = puppet.pack(0, (0.4, 0.4, 0.4))
    x, _, z = puppet.rest(holder)
    depth = z * np.cos(puppet.yaw) - x * np.sin(puppet.yaw)  # towards the camera on +z
    assert depth.min() < -0.1 and depth.max() > 0.1
    turned = np.degrees(np.abs(np.diff(puppet.yaw)).sum())
    assert 90 <= turned <= 7 * 25 and abs(np.degrees(puppet.yaw[0])) <= 60


def test_the_same_puppet_moves_alike_as_skin_and_as_nodes(tmp_path: Path) -> None:
    puppet = Puppet("test", np.random.default_rng(0))
    upper = puppet.joint("upper", 0, (0, 1, 0))
    lower = puppet.joint("lower", upper, (0.5, 1, 0))
    puppet.turn(upper, (1, 0, 0), puppet.wave(0.7))
    puppet.turn(lower, (0, 0, 1), puppet.wave(0.4, 0.5))
    puppet.hang(lower, capsule(1, 0.2, 0.3))
    write_scene(tmp_path / "skin.glb", puppet.as_skin())
    write_scene(tmp_path / "nodes.glb", puppet.as_nodes())
    skin, nodes = read_animation(tmp_path / "skin.glb", 6), read_animation(tmp_path / "nodes.glb", 6)
    np.testing.assert_allclose(skin.vertices, nodes.vertices, atol=1e-5)


def test_a_bent_chain_keeps_its_ends_with_their_joints(tmp_path: Path) -> None:
    puppet = Puppet("test", np.random.default_rng(0))
    chain = [puppet.joint("first", 0, (0, 0, 0))]
    for _ in range(3):
        chain.append(puppet.joint("next", chain[-1], (0, 1, 0)))
    puppet.bend(chain, capsule(4, 0.3, 0.3, rings=9), 1)
    weights = puppet.hung[0][3]
    assert weights is not None
    np.testing.assert_allclose(weights.sum(1), 1)
    heights = puppet.hung[0][1].vertices[:, 1]
    assert (weights[heights < 0.5][:, chain[0]] == 1).all() and (weights[heights > 3.5][:, chain[-1]] == 1).all()


def test_an_object_depends_on_its_seed_alone(tmp_path: Path) -> None:
    for name, seed in [("a", 3), ("b", 3), ("c", 4)]:
        synthetic.write_object("gears_0001", "gears", seed, tmp_path / name)
    first, same, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == same and first != other


def test_an_unknown_family_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'dragon' is unknown.*quadruped"):
        synthetic.write_object("dragon_0000", "dragon", 0, tmp_path / "a.glb")


def test_splits_share_no_object_and_the_unseen_family_is_only_held_out() -> None:
    planned = synthetic.plan(100, 24, seed=0)
    train = [one for one in planned if one.split == "train"]
    holdout = [one for one in planned if one.split == "holdout"]
    assert len(train) == 100 and len(holdout) == 24 + 4
    assert len({one.name for one in planned}) == len({one.seed for one in planned}) == len(planned)
    assert synthetic.HOLDOUT_FAMILY not in {one.family for one in train}
    assert sum(one.family == synthetic.HOLDOUT_FAMILY for one in holdout) == 4
    seen = [one.family for one in holdout if one.family != synthetic.HOLDOUT_FAMILY]
    assert {seen.count(family) for family in seen} == {2}
    assert len(synthetic.FAMILIES) >= 12


def test_a_larger_plan_contains_the_smaller() -> None:
    assert set(synthetic.plan(30, 5, seed=1)) < set(synthetic.plan(90, 12, seed=1))
    assert not set(synthetic.plan(30, 5, seed=1)) & set(synthetic.plan(30, 5, seed=2))
    assert synthetic.plan(3, 0, seed=1)[-1].split == "train"
