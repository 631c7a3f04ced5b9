"""Frames are paired by place: names that leave their order open are refused with a remedy, a gap in them is noted."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from sculpt4d.evaluation.inputs.layouts import Found, find_motion, find_motions
from sculpt4d.evaluation.inputs.reading import read_motion

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


def clip(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TRIANGLE)
    return folder


def files(folder: Path, pattern: str | None = None) -> list[str]:
    found = find_motion(folder, pattern)
    assert found is not None
    return [file.relative_to(folder).as_posix() for file in found.files]


@pytest.mark.parametrize("counted", [(0, 1, 2), (0, 5, 10), (7, 8), (9, 10, 11), (0, 3, 7, 10)])
def test_even_steps_are_a_series(counted: tuple[int, ...], tmp_path: Path) -> None:
    names = [f"frame_{number}.obj" for number in counted]
    assert files(clip(tmp_path, names)) == names


@pytest.mark.parametrize(
    "counted, words",
    [
        (
            (0, 2, 3, 4),
            "after frame_0.obj comes frame_2.obj, though the numbers elsewhere advance by 1: frames were paired",
        ),
        ((0, 5, 10, 20), "after frame_10.obj comes frame_20.obj, though the numbers elsewhere advance by 5"),
        ((1, 2, 10), "after frame_2.obj comes frame_10.obj"),
    ],
)
def test_a_gap_is_noted_and_the_order_is_that_of_the_numbers(
    counted: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    names = [f"frame_{number}.obj" for number in counted]
    clip(tmp_path / "a", names)
    clip(tmp_path / "b", ("frame_0.obj", "frame_1.obj"))
    found = find_motions(tmp_path)
    assert [file.name for file in found["a"].files] == names
    (note,) = read_motion(found["a"], 4).notes
    assert words in note and not found["b"].notes


def test_one_number_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same number"):
        find_motion(clip(tmp_path, ("frame_1.obj", "frame_01.obj")))


def test_a_dangling_link_is_a_frame_that_cannot_be_read(tmp_path: Path) -> None:
    clip(tmp_path / "a", ("frame_0.obj", "frame_1.obj"))
    for name in ("a/frame_2.obj", "b", "c.glb"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    found = find_motions(tmp_path)
    assert [motion.kind for motion in found.values()] == ["unreadable"] * 3
    assert "frame_2.obj is a link to a file that is not there" in found["a"].notes[0]
    assert str(tmp_path / "b") in found["b"].notes[0] and "c.glb" in found["c"].notes[0]


def test_two_numbers_that_vary_apart_need_a_pattern(tmp_path: Path) -> None:
    clip(tmp_path, (f"step{step}_seed{seed}.obj" for step in range(3) for seed in range(2)))
    with pytest.raises(ValueError, match=r"2 numbers vary in the names step#_seed#.obj.*pattern='step\*_seed0.obj'"):
        find_motion(tmp_path)
    assert files(tmp_path, "step*_seed1.obj") == [f"step{step}_seed1.obj" for step in range(3)]


@pytest.mark.parametrize("name", ["clip3_frame{0:04d}.obj", "{0}_of_{0:03d}.obj", "frame{0}_ms{1}.obj", "{0}/mesh.obj"])
def test_numbers_that_go_along_are_one_series(name: str, tmp_path: Path) -> None:
    names = [name.format(number, round(number * 100 / 3)) for number in range(12)]
    assert files(clip(tmp_path, names), "*/*.obj" if "/" in name else None) == names


def test_arrays_about_vertices_are_no_frames(tmp_path: Path) -> None:
    for name in ("vertices", "vertices_normals", "faces", "face_normals"):
        np.save(tmp_path / f"{name}.npy", np.zeros((3, 3), int))
    assert files(tmp_path) == ["vertices.npy", "faces.npy"]
    np.save(tmp_path / "vertices_rest.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"several kinds of vertices \(vertices, vertices_rest, each .npy\)"):
        find_motion(tmp_path)


def test_a_gap_in_arrays_is_noted(tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", np.zeros((1, 3), int))
    for number in (0, 1, 3):
        np.save(tmp_path / f"vertices_{number}.npy", np.zeros((3, 3)))
    found = find_motion(tmp_path)
    assert found is not None and "after vertices_1.npy comes vertices_3.npy" in read_motion(found, 3).notes[0]


def test_arrays_are_paired_by_their_numbers(tmp_path: Path) -> None:
    for name in ("vertices_0", "vertices_1", "vertices_2", "faces_0", "faces_1", "faces_3"):
        np.save(tmp_path / f"{name}.npy", np.zeros((3, 3), int))
    with pytest.raises(ValueError, match=r"vertices_2.npy and faces_3.npy would be a pair: number both sides alike"):
        find_motion(tmp_path)


@pytest.mark.parametrize("times", [("0.00", "0.25", "0.50"), ("0.5", "1.0", "1.5", "2.0"), ("9.75", "10.00", "10.25")])
def test_times_are_numbers(times: tuple[str, ...], tmp_path: Path) -> None:
    names = [f"clip2_t{time}.obj" for time in times]
    found = find_motion(clip(tmp_path, names))
    assert found is not None and [file.name for file in found.files] == names and not found.notes


def test_decimals_of_unequal_length_have_no_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unequally many digits after the point.*whole numbers"):
        find_motion(clip(tmp_path, ("t_0.0.obj", "t_0.125.obj", "t_0.25.obj")))


@pytest.mark.parametrize("pattern", ["/abs/*", "", ".", "a**/*.obj"])
def test_a_pattern_that_cannot_be_one_is_an_error_about_the_option(pattern: str, tmp_path: Path) -> None:
    clip(tmp_path / "a", ("0.obj", "1.obj"))
    with pytest.raises(ValueError, match=r"pattern='.*give a glob within an object's folder"):
        find_motions(tmp_path, pattern)


@pytest.mark.parametrize("fps", ["null", '"fast"', "1e999", "NaN", "0", "[", "1" + 400 * "0"])
def test_a_damaged_record_fails_its_object_alone(fps: str, tmp_path: Path) -> None:
    for name in "ab":
        clip(tmp_path / name, ("0.obj", "1.obj"))
    (tmp_path / "a" / "generation.json").write_text(f'{{"outputs": {{"fps": {fps}}}}}')
    found = find_motions(tmp_path)
    assert (found["a"].kind, found["b"].kind) == ("unreadable", "meshes")
    assert str(tmp_path / "a" / "generation.json") in found["a"].notes[0]


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"", b"[]"])
def test_a_damaged_gltf_fails_its_object_alone(content: bytes, tmp_path: Path) -> None:
    clip(tmp_path / "b", ("0.obj", "1.obj"))
    (tmp_path / "a.gltf").write_bytes(content)
    found = find_motions(tmp_path)
    assert (found["a"].kind, found["b"].kind) == ("unreadable", "meshes")
    assert str(tmp_path / "a.gltf") in found["a"].notes[0]


def test_a_static_file_among_objects_is_told(tmp_path: Path) -> None:
    clip(tmp_path / "b", ("0.obj", "1.obj"))
    (tmp_path / "arm_0000.gltf").write_text('{"asset": {"version": "2.0"}}')
    found: dict[str, Found] = find_motions(tmp_path)
    assert found["b"].kind == "meshes"
    assert "arm_0000.gltf has no animation" in found["arm_0000"].notes[0]


def test_static_files_alone_are_told_each(tmp_path: Path) -> None:
    for name in ("arm_0000", "leg_0000"):
        (tmp_path / f"{name}.gltf").write_text('{"asset": {"version": "2.0"}}')
    found = find_motions(tmp_path)
    assert "no animation" in found["arm_0000"].notes[0] and "no animation" in found["leg_0000"].notes[0]
