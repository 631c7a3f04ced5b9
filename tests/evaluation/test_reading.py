"""What files may legally look like is read; what cannot be read is told once, with the file and what is wrong."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh

from sculpt4d.evaluation.inputs.layouts import find_motion
from sculpt4d.evaluation.inputs.reading import read_frame, read_motion
from sculpt4d.evaluation.inputs.splats import VISIBLE
from sculpt4d.evaluation.metrics.motion import Cloud
from sculpt4d.types import Mesh

PLY = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
STL = trimesh.creation.box().export(file_type="stl")
TEXT_STL = trimesh.creation.box().export(file_type="stl_ascii").encode()


def splats(path: Path, rows: list[tuple[float, float, float, float]]) -> Path:
    names = ("x", "y", "z", "opacity")
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    text = "\n".join([*head, *(f"property float {name}" for name in names), "end_header", ""])
    path.write_bytes(text.encode() + np.array(rows, "<f4").tobytes())
    return path


def test_splats_that_no_picture_shows_are_dropped(tmp_path: Path) -> None:
    edge = float(np.log(VISIBLE / (1 - VISIBLE)))  # the logit of 1/255
    nan, inf = float("nan"), float("inf")
    kept = [(0.0, 0.0, 0.0, 3.0), (1.0, 0.0, 0.0, edge + 1e-3), (2.0, 0.0, 0.0, inf)]
    dropped = [(9.0, 0.0, 0.0, -12.0), (9.0, 0.0, 0.0, edge - 1e-3), (9.0, 0.0, 0.0, nan), (9.0, 0.0, 0.0, -inf)]
    cloud = read_frame(splats(tmp_path / "a.ply", [*kept, *dropped, (nan, 0.0, 0.0, 3.0), (0.0, inf, 0.0, 3.0)]))
    assert isinstance(cloud, Cloud)
    assert cloud.points[:, 0].tolist() == [0, 1, 2]
    assert cloud.weights == pytest.approx([0.952574, VISIBLE, 1], abs=1e-5)


def test_a_file_of_invisible_splats_is_an_empty_frame(tmp_path: Path) -> None:
    cloud = read_frame(splats(tmp_path / "a.ply", [(1.0, 2.0, 3.0, -12.0)] * 4))
    assert isinstance(cloud, Cloud) and len(cloud.points) == 0


@pytest.mark.parametrize("gap", ["\t", "  ", " \t"])
@pytest.mark.parametrize("indent", ["", "  ", "\t"])
def test_an_obj_may_have_tabs_and_indents(gap: str, indent: str, tmp_path: Path) -> None:
    lines = ["# text", "", "v 0 0 0", "v 1 0 0", "v 0 1 0", "vn 0 0 1", "f 1//1 2//1 3//1"]
    (tmp_path / "a.obj").write_text("\n".join(indent + line.replace(" ", gap) for line in lines))
    mesh = read_frame(tmp_path / "a.obj")
    assert isinstance(mesh, Mesh)
    assert mesh.faces.tolist() == [[0, 1, 2]] and mesh.vertices[1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("content", [STL, TEXT_STL])
def test_whole_stl_files_are_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_bytes(content)
    mesh = read_frame(tmp_path / "a.stl")
    assert isinstance(mesh, Mesh) and len(mesh.faces) == 12


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.ply", PLY.replace("vertex 2", "vertex"), "damaged PLY header: 'element vertex' is incomplete"),
        ("a.ply", PLY.replace("vertex 2", "vertex -2"), "damaged PLY header"),
        ("a.ply", PLY.replace("float x", "float"), "damaged PLY header: 'property float'"),
        ("a.ply", PLY.replace("element vertex 2\n", ""), "damaged PLY header: 'property float x'"),
        ("a.ply", PLY.replace("ascii 1.0", ""), "damaged PLY header: 'format'"),
        ("a.ply", PLY, "cut off: 0 lines for 2 vertices"),
        ("a.ply", PLY + "0 0 0\n", "cut off: 1 lines for 2 vertices"),
        ("a.ply", PLY + "0 0 0\n1 2\n", "not lines of 3 numbers"),
        ("a.ply", PLY + "0 0 0\n1 2 x\n", "not lines of 3 numbers"),
        ("a.ply", PLY.replace("float y", "float x"), "not x, y and z"),
        ("a.ply", PLY.replace("float z", "float z\nproperty float z"), "a property twice"),
        ("a.stl", "", "empty file of 0 bytes"),
        ("a.obj", "", "empty file of 0 bytes"),
        ("a.stl", STL[:300], "cut off or no STL"),
        ("a.stl", STL[:50], "cut off or no STL"),
        ("a.stl", TEXT_STL[:400], "cut off or no STL"),
        ("a.stl", "no STL at all", "cut off or no STL"),
        ("a.obj", "v 0 0 0\nf 1 2 3\n", "its faces name vertices up to 2, it has 1"),
        ("a.obj", "v 0 0 0\nf 1 2 99999999999999999999\n", "cannot be read as OBJ"),
        ("a.off", "OFF\n1", "cannot be read as a mesh"),
        ("a.gltf", '{"asset": {"version": "2.0"}, "extensionsUsed": null}', "cannot be read as a mesh"),
    ],
)
def test_a_reason_names_the_file_once_and_says_what_is_wrong(
    name: str, content: str | bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words) as caught:
        read_frame(path)
    assert str(caught.value).count(str(path)) == 1


def test_an_archive_or_text_in_place_of_an_array_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        np.savez(file, vertices=np.zeros((2, 3, 3)))
    whole = path.read_bytes()
    words = np.array([[["a", "b", "c"]]])
    for write, reason in (
        (lambda: None, "archive of arrays"),
        (lambda: path.write_bytes(whole[:60]), "cannot be read as an array"),
        (lambda: np.save(path, words), "expected numbers"),
    ):
        write()
        found = find_motion(path)
        assert found is not None
        with pytest.raises(ValueError, match=reason) as caught:
            read_motion(found, 1)
        assert str(path) in str(caught.value)


def test_splats_left_by_methods_have_no_invisible_one(written: ModuleType, tmp_path: Path) -> None:
    written.splats(tmp_path / "a", written.rising(1), "ascii")
    cloud = read_frame(tmp_path / "a" / "point_cloud_0.ply")
    assert np.abs(cloud.points).max() < 1


def test_a_damaged_prepared_object_is_named(tmp_path: Path) -> None:
    frame = tmp_path / "a" / "render_cond" / "frame_0000"
    frame.mkdir(parents=True)
    (frame / "mesh.ply").write_text("no PLY")
    found = find_motion(tmp_path / "a")
    assert found is not None
    with pytest.raises(ValueError, match="cannot be read as a mesh") as caught:
        read_motion(found, 1)
    assert str(frame / "mesh.ply") in str(caught.value)
