"""Reading and writing animated glTF: what goes in comes out, and broken files are refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from sculpt4d.gltf.keyframes import Track
from sculpt4d.gltf.read import read_animation
from sculpt4d.gltf.write import Node, Primitive, Scene, write_scene, write_sequence
from sculpt4d.types import Mesh

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated_glb"
HALF = np.sqrt(0.5)
CUBE = Mesh(np.array(trimesh.creation.box().vertices, np.float32), np.array(trimesh.creation.box().faces, np.int64))
SLIDE = Track(0, "translation", np.array([0.0, 1.0]), np.array([[0.0, 0, 0], [2, 0, 0]]))


def test_a_child_of_a_turning_node_goes_round(tmp_path: Path) -> None:
    turn = Track(0, "rotation", np.array([0.0, 1.0]), np.array([[0, 0, 0, 1], [0, HALF, 0, HALF]]))
    nodes = (Node("turn"), Node("arm", 0, (3, 0, 0), scale=(2, 1, 1), primitives=(Primitive(CUBE, (0.2, 0.4, 0.6)),)))
    write_scene(tmp_path / "a.glb", Scene(nodes, (turn,)))
    read = read_animation(tmp_path / "a.glb", 3)
    np.testing.assert_allclose(read.times, [0, 0.5, 1])
    centers = read.vertices.mean(1)
    np.testing.assert_allclose(centers, [[3, 0, 0], [3 * HALF, 0, -3 * HALF], [0, 0, -3]], atol=1e-5)
    np.testing.assert_allclose(np.ptp(read.vertices[2], axis=0), [1, 1, 2], atol=1e-5)
    np.testing.assert_allclose(read.rest, read.vertices[0], atol=1e-6)
    np.testing.assert_allclose(read.colors, np.tile([0.2, 0.4, 0.6], (12, 1)), atol=1e-3)
    assert read.vertices.dtype == read.rest.dtype == np.float32


def test_a_skin_with_inverse_binds_moves_like_the_rigid_parts_it_is_made_of(tmp_path: Path) -> None:
    turn = Track(1, "rotation", np.array([0.0, 1.0]), np.array([[0, 0, 0, 1], [HALF, 0, 0, HALF]]))
    grow = Track(0, "scale", np.array([0.0, 1.0]), np.array([[1.0, 1, 1], [2, 2, 2]]))
    bones = (Node("root", translation=(1, 0, 0), rotation=(0, 0, HALF, HALF)), Node("tip", 0, (0, 2, 0)))
    rigid = (bones[0], bones[1]._replace(primitives=(Primitive(CUBE),)))
    write_scene(tmp_path / "rigid.glb", Scene(rigid, (turn, grow)))

    world = np.array([[0.0, -1, 0, -1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # of the tip at rest
    root = np.array([[0.0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    modelled = Mesh((CUBE.vertices @ world[:3, :3].T + world[:3, 3]).astype(np.float32), CUBE.faces)
    joints = np.tile([1, 0, 0, 0], (8, 1))
    skin = Primitive(modelled, joints=joints, weights=np.tile([2.0, 0, 0, 0], (8, 1)))  # weights that sum to 2
    inverse = np.linalg.inv(np.stack([root, world]))
    ignored = Node("skin", translation=(9, 9, 9), primitives=(skin,), skin=(0, 1), inverse_binds=inverse)
    write_scene(tmp_path / "skin.glb", Scene((*bones, ignored), (turn, grow)))
    first, second = read_animation(tmp_path / "rigid.glb", 5), read_animation(tmp_path / "skin.glb", 5)
    np.testing.assert_allclose(first.vertices, second.vertices, atol=1e-5)
    np.testing.assert_allclose(first.rest, second.rest, atol=1e-5)
    np.testing.assert_array_equal(first.faces, second.faces)


def test_a_second_set_of_joints_counts(tmp_path: Path, document: Any) -> None:
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    weights = np.tile(np.array([0, 0, 0, 255], np.uint8), (3, 1))
    attributes = {
        "POSITION": document.accessor(positions),
        "JOINTS_0": document.accessor(np.zeros((3, 4), np.uint8)),
        "WEIGHTS_0": document.accessor(weights, normalized=True),
        "JOINTS_1": document.accessor(np.tile(np.array([1, 0, 0, 0], np.uint16), (3, 1))),
        "WEIGHTS_1": document.accessor(np.tile(np.array([1, 0, 0, 0], np.float32), (3, 1))),
    }
    document.slide({"attributes": attributes})
    document.json |= {"nodes": [{}, {"mesh": 0, "skin": 0}], "skins": [{"joints": [1, 0]}]}
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    np.testing.assert_allclose(read.vertices[1] - read.vertices[0], np.tile([1, 0, 0], (3, 1)), atol=1e-6)


def test_morph_targets_add_up_and_move_with_their_node(tmp_path: Path) -> None:
    up, wide = np.zeros_like(CUBE.vertices), CUBE.vertices * (1, 0, 0)
    up[:, 1] = 1
    cube = Primitive(CUBE, targets=np.stack([up, wide]))
    amounts = Track(0, "weights", np.array([0.0, 1.0]), np.array([[0.0, 0], [1, 2]]))
    write_scene(tmp_path / "a.glb", Scene((Node("cube", primitives=(cube,)),), (amounts, SLIDE)))
    read = read_animation(tmp_path / "a.glb", 3)
    expected = [CUBE.vertices + part * (up + 2 * wide + np.array([2, 0, 0])) for part in (0, 0.5, 1)]
    np.testing.assert_allclose(np.sort(read.vertices, axis=1), np.sort(expected, axis=1), atol=1e-6)


def test_a_sparse_target_moves_only_the_vertices_it_lists(tmp_path: Path, document: Any) -> None:
    positions = document.accessor(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32))
    indices = {"bufferView": document.view(np.array([2], np.uint16).tobytes()), "componentType": 5123}
    values = {"bufferView": document.view(np.array([0, 0, 5], np.float32).tobytes())}
    sparse = {"count": 1, "indices": indices, "values": values}
    document.json["accessors"].append({"componentType": 5126, "count": 3, "type": "VEC3", "sparse": sparse})
    document.slide({"attributes": {"POSITION": positions}, "targets": [{"POSITION": 1}]})
    document.json["meshes"][0]["weights"] = [1.0]
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    np.testing.assert_allclose(read.vertices[0], [[0, 0, 0], [1, 0, 0], [0, 1, 5]])


def test_interleaved_and_quantised_positions_are_read(tmp_path: Path, document: Any) -> None:
    rows = np.zeros(3, [("position", "<i2", 3), ("pad", "<i2"), ("normal", "<f4", 3)])
    rows["position"] = [[0, 0, 0], [32767, 0, 0], [0, -32767, 0]]
    view = document.view(rows.tobytes(), byteStride=20)
    accessor = {"bufferView": view, "componentType": 5122, "count": 3, "type": "VEC3", "normalized": True}
    document.json["accessors"].append(accessor)
    document.slide({"attributes": {"POSITION": 0}})
    document.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    np.testing.assert_allclose(read.vertices[0], [[0, 0, 0], [1, 0, 0], [0, -1, 0]])


@pytest.mark.parametrize("mode, order", [(5, [0, 1, 3, 2]), (6, [0, 1, 2, 3]), (4, [0, 1, 2, 0, 2, 3])])
def test_strips_and_fans_make_the_same_square_as_triangles(
    tmp_path: Path, document: Any, mode: int, order: list[int]
) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    faces = document.accessor(np.array(order, np.uint8))
    document.slide({"attributes": {"POSITION": document.accessor(corners)}, "indices": faces, "mode": mode})
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    square = trimesh.Trimesh(read.rest, read.faces, process=False)
    np.testing.assert_allclose(square.area, 1)
    np.testing.assert_allclose(square.face_normals, [[0, 0, 1]] * 2)


def test_loose_triangles_become_one_closed_surface(tmp_path: Path, document: Any) -> None:
    loose = CUBE.vertices[CUBE.faces].reshape(-1, 3)
    document.slide({"attributes": {"POSITION": document.accessor(loose)}})
    read = read_animation(document.write(tmp_path / "a.gltf"), 2)
    assert read.rest.shape == (8, 3)
    assert trimesh.Trimesh(read.rest, read.faces, process=False).is_watertight


def test_vertices_that_part_later_stay_two(tmp_path: Path) -> None:
    nodes = (Node("still", primitives=(Primitive(CUBE),)), Node("goes", primitives=(Primitive(CUBE),)))
    write_scene(tmp_path / "a.glb", Scene(nodes, (SLIDE._replace(node=1),)))
    assert read_animation(tmp_path / "a.glb", 2).rest.shape == (16, 3)


def test_a_mirrored_node_keeps_its_faces_outward(tmp_path: Path) -> None:
    node = Node("mirror", scale=(-1, 1, 1), primitives=(Primitive(CUBE),))
    write_scene(tmp_path / "a.glb", Scene((node,), (SLIDE,)))
    read = read_animation(tmp_path / "a.glb", 2)
    assert trimesh.Trimesh(read.vertices[1], read.faces, process=False).volume == pytest.approx(1, abs=1e-5)


def test_the_default_clip_moves_most_and_others_are_had_by_name_or_number(
    tmp_path: Path, document: Any, sliding_square: Any
) -> None:
    path = sliding_square(tmp_path / "a.gltf")
    content = json.loads(path.read_text())
    near, far = document, content["animations"][0]
    near.json = content
    samplers = [{"input": 2, "output": near.accessor(np.array([[0, 0, 0], [0.5, 0, 0]], np.float32))}]
    content["animations"] = [{**far, "samplers": samplers, "name": "near"}, {**far, "name": "far"}]
    near.write(path)
    moved = [np.ptp(read_animation(path, 2, clip).vertices[:, 0, 0]) for clip in (None, "near", 1, "0")]
    np.testing.assert_allclose(moved, [2, 0.5, 2, 0.5])
    with pytest.raises(ValueError, match=r"a\.gltf has no clip 'walk'.*'near', 'far'"):
        read_animation(path, 2, "walk")


def test_a_loop_is_read_without_its_repeated_end(tmp_path: Path) -> None:
    there_and_back = Track(0, "translation", np.array([1.0, 2, 3]), np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 0]]))
    write_scene(tmp_path / "a.glb", Scene((Node("cube", primitives=(Primitive(CUBE),)),), (there_and_back,)))
    np.testing.assert_allclose(read_animation(tmp_path / "a.glb", 4).times, [1, 1.5, 2, 2.5])
    assert "loops" in read_animation(tmp_path / "a.glb", 4).notes[0]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole.glb"
    write_sequence(path, [CUBE, CUBE], 8)
    for count in (4, 15, 300, path.stat().st_size - 1):
        (tmp_path / "cut.glb").write_bytes(path.read_bytes()[:count])
        with pytest.raises(ValueError, match=r"cut\.glb is truncated"):
            read_animation(tmp_path / "cut.glb", 4)
    (tmp_path / "cut.glb").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cut\.glb is not glTF"):
        read_animation(tmp_path / "cut.glb", 4)


@pytest.mark.parametrize(
    "changes, fault",
    [
        ({"animations": []}, "has no animation"),
        ({"extensionsRequired": ["KHR_draco_mesh_compression"]}, "KHR_draco_mesh_compression.*decode it first"),
        ({"extensionsRequired": ["EXT_meshopt_compression"]}, "EXT_meshopt_compression.*decode it first"),
        ({"meshes": [{"primitives": [{"attributes": {"POSITION": 9}}]}]}, "is damaged"),
        ({"buffers": [{"uri": "away.bin", "byteLength": 8}] * 9}, "needs away.bin"),
        ({"nodes": [{"mesh": 0, "children": [1]}, {"children": [0]}]}, "do not form a tree"),
        ({"nodes": [{}]}, "draws no triangles"),
        ({"asset": {"version": "1.0"}}, "is glTF 1.0"),
    ],
)
def test_a_broken_file_is_refused_by_name(
    tmp_path: Path, sliding_square: Any, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=rf"broken\.gltf.*{fault}"):
        read_animation(sliding_square(tmp_path / "broken.gltf", **changes), 4)


@pytest.mark.parametrize(
    "corner, distance, end, fault",
    [
        ([np.nan, 0, 0], 2, 1, "not finite"),
        ([0, 0, 0], np.inf, 1, "not finite"),
        ([0, 0, 0], 2, 0, "zero duration"),
        ([0, 0, 0], 0, 1, "moves no vertex"),
        ([2, 0, 0], 2, 1, "only degenerate faces"),
    ],
)
def test_a_useless_animation_is_refused(
    tmp_path: Path, document: Any, corner: list[float], distance: float, end: float, fault: str
) -> None:
    positions = np.array([corner, [1, 0, 0], [3 * (fault[:4] == "only"), fault[:4] != "only", 0]], np.float32)
    document.slide({"attributes": {"POSITION": document.accessor(positions)}}, distance, end)
    with pytest.raises(ValueError, match=rf"bad\.gltf.*{fault}"):
        read_animation(document.write(tmp_path / "bad.gltf"), 4)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared files beside the checkout")
@pytest.mark.parametrize(
    "name, clip, faces",
    [
        ("Fox.glb", "Run", 576),
        ("CesiumMilkTruck.glb", None, 3624),
        ("AnimatedMorphCube/AnimatedMorphCube.gltf", "Square", 12),
        ("leftHand_cubicspline.glb", "Fist", 220),
        ("MorphStressTest.glb", "TheWave", None),
        ("SimpleSkin.gltf", None, 8),
        ("InterpolationTest/InterpolationTest.gltf", "CubicSpline Rotation", None),
    ],
)
def test_files_of_other_makers_are_read(name: str, clip: str | None, faces: int | None) -> None:
    read = read_animation(SHARED / name, 8, clip)
    assert read.vertices.shape == (8, len(read.rest), 3)
    assert faces is None or len(read.faces) == faces
    assert np.abs(np.diff(read.vertices, axis=0)).max() > 0
    assert read.colors.min() >= 0 and read.colors.max() <= 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared files beside the checkout")
def test_a_static_file_of_another_maker_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Duck_static\.glb has no animation"):
        read_animation(SHARED / "Duck_static.glb", 8)
