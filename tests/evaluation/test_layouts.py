"""One synthetic folder in each layout is read as the same motion; what cannot be read is named."""

import base64
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from sculpt4d.evaluation.inputs.layouts import files_of, find_motion, find_motions, natural
from sculpt4d.evaluation.inputs.reading import read_frame, read_motion
from sculpt4d.evaluation.metrics.motion import Cloud
from sculpt4d.types import Mesh

FRAMES = 11  # of written.rising: two digits, frame_10 comes after frame_2
MESH_LAYOUTS = ("obj", "ply", "glb", "pair", "pairs", "generated", "animation")


@pytest.mark.parametrize("layout", MESH_LAYOUTS)
def test_every_mesh_layout_reads_as_the_same_motion(layout: str, written: ModuleType, tmp_path: Path) -> None:
    frames = written.rising()
    written.LAYOUTS[layout](tmp_path / "a", frames)
    found = find_motions(tmp_path / "a")["a"] if layout != "animation" else find_motion(tmp_path / "a")
    assert found is not None
    motion = read_motion(found, FRAMES)
    assert len(motion.frames) == FRAMES
    assert motion.same_faces
    for frame, mesh in zip(motion.frames, frames, strict=True):
        assert isinstance(frame, Mesh)
        assert frame.vertices[frame.faces].mean(axis=(0, 1)) == pytest.approx(
            mesh.vertices[mesh.faces].mean(axis=(0, 1)), abs=1e-5
        )
        assert len(frame.faces) == 12
    assert motion.fps == {"generated": 12, "animation": pytest.approx(8)}.get(layout)


def test_tracked_points_are_a_cloud_whose_rows_are_followed(written: ModuleType, tmp_path: Path) -> None:
    written.surfaces(tmp_path / "a", written.rising())
    motion = read_motion(find_motions(tmp_path)["a"], 1)
    assert motion.tracked and len(motion.frames) == FRAMES
    assert isinstance(motion.frames[3], Cloud)
    assert np.array_equal(motion.frames[3].points, written.rising()[3].vertices)


@pytest.mark.parametrize("form", ["binary", "ascii"])
def test_splats_weigh_by_their_opacity(form: str, written: ModuleType, tmp_path: Path) -> None:
    written.splats(tmp_path / "a", written.rising(2), form)
    motion = read_motion(find_motions(tmp_path)["a"], 1)
    cloud = motion.frames[1]
    assert isinstance(cloud, Cloud)
    assert np.allclose(cloud.points, written.rising(2)[1].vertices)
    assert cloud.weights == pytest.approx(0.5)


def test_a_prepared_object_gives_its_closed_or_its_moving_meshes(nano_data: Path) -> None:
    root = nano_data / "synthetic"
    name = json.loads((root / "split.json").read_text())["holdout"][0]
    found = find_motions(root)[name]
    closed, moving = read_motion(found, 1), read_motion(found, 1, tracked=True)
    assert len(closed.frames) == len(moving.frames) == 4
    assert moving.same_faces and "moving" in moving.layout and "closed" in closed.layout
    points = np.concatenate([frame.vertices for frame in moving.frames if isinstance(frame, Mesh)])
    assert np.abs(points).max() == pytest.approx(0.98, abs=1e-3)  # a clip's box, not the store's


def test_many_objects_are_told_from_many_frames(written: ModuleType, tmp_path: Path) -> None:
    frames = written.rising(3)
    for name in ("a1", "a2"):
        written.series(".obj")(tmp_path / "folders" / name, frames)
        written.animation(tmp_path / "made" / name, frames)
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "made" / name / "out.glb").rename(tmp_path / "files" / f"{name}.glb")
    assert {name: len(found.files) for name, found in find_motions(tmp_path / "folders").items()} == {"a1": 3, "a2": 3}
    assert {name: found.kind for name, found in find_motions(tmp_path / "files").items()} == dict.fromkeys(
        ("a1", "a2"), "animation"
    )
    assert [found.kind for found in find_motions(tmp_path / "folders" / "a1").values()] == ["meshes"]


def test_frames_come_in_natural_order() -> None:
    names = ["frame_10.obj", "frame_9.obj", "frame_2b.obj", "frame_2.obj", "a.obj"]
    assert [path.name for path in sorted(map(Path, names), key=natural)] == [
        *("a.obj", "frame_2.obj", "frame_2b.obj", "frame_9.obj", "frame_10.obj")
    ]


def test_polygons_become_fans_and_vertices_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "v 0 0 0\nv 1 0 0 1 1 1\nv 1 1 0\nv 0 1 0\nvt 0 0\nf 1/1/1 2/1/1 3/1/1 4/1/1\nf -3 -2 -1\n"
    )
    mesh = read_frame(tmp_path / "a.obj")
    assert isinstance(mesh, Mesh)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 2, 3]]
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.obj", b"v 0 0\nf 1 2 3\n"),
        ("a.obj", b"v 0 0 0\nf 1 2 3\n"),
        ("a.ply", b"no ply"),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nproperty float y\n"
         b"property float z\nend_header\nshort"),
        ("a.glb", b"glTF\x02\x00\x00\x00\xff\xff\x00\x00"),
        ("a.npy", b"\x93NUMPY"),
    ],
)  # fmt: skip
def test_damaged_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        found = find_motion(tmp_path / name)
        assert found is not None
        read_motion(found, 4)


def test_two_series_of_one_length_are_refused_until_one_is_chosen(written: ModuleType, tmp_path: Path) -> None:
    for number, mesh in enumerate(written.rising()):
        written.save(tmp_path / f"{number:03d}_baseline_sample.glb", mesh)
        written.save(tmp_path / f"{number:03d}_texture_consistency_sample.glb", mesh)
    with pytest.raises(ValueError, match=r"several series.*#_baseline_sample.glb.*pattern='"):
        find_motion(tmp_path)
    found = find_motions(tmp_path, "*_texture_*.glb")[tmp_path.name]
    assert [file.name for file in found.files] == [f"{k:03d}_texture_consistency_sample.glb" for k in range(FRAMES)]
    with pytest.raises(FileNotFoundError, match="matches pattern"):
        find_motions(tmp_path, "*.obj")


def test_the_only_subfolder_with_a_motion_is_read(written: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a" / "images").mkdir(parents=True)
    (tmp_path / "a" / "images" / "0.png").touch()
    written.series(".obj")(tmp_path / "a" / "meshes", written.rising(3))
    found = find_motions(tmp_path)["a"]
    assert len(found.files) == 3 and "subfolder meshes" in found.notes[0]
    written.series(".obj")(tmp_path / "a" / "smooth", written.rising(3))
    assert "meshes, smooth" in find_motions(tmp_path)["a"].notes[0]
    assert len(find_motions(tmp_path, "smooth/*")["a"].files) == 3


def test_one_name_for_two_things_is_no_choice_of_ours(written: ModuleType, tmp_path: Path) -> None:
    written.series(".obj")(tmp_path / "a", written.rising(3))
    np.save(tmp_path / "a.npy", np.zeros((3, 5, 3)))
    found = find_motions(tmp_path)["a"]
    assert found.kind == "unreadable" and "holds a twice" in found.notes[0]


def test_a_prepared_set_is_its_prepared_objects(nano_data: Path) -> None:
    found = find_motions(nano_data / "synthetic")
    assert {motion.kind for motion in found.values()} == {"prepared"}


def test_files_beside_a_gltf_belong_to_it(written: ModuleType, shapes: SimpleNamespace, tmp_path: Path) -> None:
    written.save(tmp_path / "mesh_0.glb", shapes.cube())
    (tmp_path / "mesh_0.gltf").write_text(json.dumps({"asset": {"version": "2.0"}, "buffers": [{"uri": "a%20b.bin"}]}))
    (tmp_path / "mesh_0.glb").unlink()
    found = find_motion(tmp_path)
    assert found is not None
    assert [file.name for file in files_of(found)] == ["mesh_0.gltf", "a b.bin"]


def test_whole_numbers_of_a_quantised_mesh_are_put_back_to_scale(tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [32767, 0, 0], [0, -32767, 0]], "<i2")
    content = np.pad(corners, ((0, 0), (0, 1))).tobytes() + np.arange(4, dtype="<u2").tobytes()
    views = [{"buffer": 0, "byteLength": 24, "byteStride": 8}, {"buffer": 0, "byteOffset": 24, "byteLength": 8}]
    position = {"bufferView": 0, "componentType": 5122, "normalized": True, "count": 3, "type": "VEC3"}
    header = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "scale": [2, 2, 2]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {**position, "min": [0, -1, 0], "max": [1, 0, 0]},
            {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": 32, "uri": "data:;base64," + base64.b64encode(content).decode()}],
    }
    (tmp_path / "a.gltf").write_text(json.dumps(header))
    mesh = read_frame(tmp_path / "a.gltf")
    assert mesh.vertices.tolist() == [[0, 0, 0], [2, 0, 0], [0, -2, 0]]
