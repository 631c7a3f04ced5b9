"""Written GLB files: sequences of meshes, what other readers find in them, and nothing half-written."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from sculpt4d.gltf.accessors import array
from sculpt4d.gltf.keyframes import Track
from sculpt4d.gltf.materials import read_appearance
from sculpt4d.gltf.pose import pose, read_model
from sculpt4d.gltf.write import Node, Primitive, Scene, write_scene, write_sequence
from sculpt4d.preparation.synthetic.solids import block, ellipsoid
from sculpt4d.types import Mesh

CUBE = block((0.5, 0.5, 0.5))


def test_a_sequence_shows_each_mesh_in_its_own_interval(tmp_path: Path) -> None:
    meshes = [ellipsoid((1, 1, 1)), Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)), CUBE]
    colors = [np.tile([[0.1, 0.5, 0.9]], (len(mesh.vertices), 1)) for mesh in meshes]
    write_sequence(tmp_path / "a.glb", meshes, fps=8, colors=colors)
    model = read_model(tmp_path / "a.glb")
    file = model.file
    animation = file.items("animations")[0]
    inputs = [array(file, sampler["input"])[:, 0] for sampler in animation["samplers"]]
    assert {sampler["interpolation"] for sampler in animation["samplers"]} == {"STEP"}
    assert min(times[0] for times in inputs) == 0 and max(times[-1] for times in inputs) == pytest.approx(3 / 8)
    tracks = {
        (row, "scale"): Track(row, "scale", times, array(file, sampler["output"]).astype(np.float64), "STEP")
        for row, (times, sampler) in enumerate(zip(inputs, animation["samplers"], strict=True))
    }
    moments = np.array([0, 0.06, 0.124, 0.125, 0.19, 0.25, 0.3, 0.375])
    seen, _ = pose(model, tracks, moments)
    first = len(meshes[0].vertices)
    np.testing.assert_array_equal(np.ptp(seen[:, :first], axis=(1, 2)) > 0, [1, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(np.ptp(seen[:, first:], axis=(1, 2)) > 0, [0, 0, 0, 0, 0, 1, 1, 1])
    _, tints, _ = read_appearance(file, model.parts)
    np.testing.assert_allclose(
        tints[: len(meshes[0].faces)], np.tile([0.1, 0.5, 0.9], (len(meshes[0].faces), 1)), atol=1e-3
    )


def test_an_independent_reader_finds_the_same_mesh(tmp_path: Path) -> None:
    solid = block((1, 2, 3))
    write_sequence(tmp_path / "a.glb", [solid], fps=4)
    scene = trimesh.load(tmp_path / "a.glb", process=False)
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, solid.vertices)
    np.testing.assert_array_equal(mesh.faces, solid.faces)
    assert (np.einsum("vi,vi->v", mesh.vertex_normals, solid.vertices) > 0).all()


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path) -> None:
    bad = Track(0, "translation", np.array([0.0]), np.zeros((1, 7)))
    with pytest.raises(KeyError):
        write_scene(tmp_path / "a.glb", Scene((Node("cube", primitives=(Primitive(CUBE),)),), (bad,)))
    assert list(tmp_path.iterdir()) == []
