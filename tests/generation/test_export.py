"""The folder of one generation: what is in it, and that it is whole or not there."""

import errno
import json
from pathlib import Path

import av
import numpy as np
import pygltflib
import pytest
import trimesh

from sculpt4d import files
from sculpt4d.generation import export
from sculpt4d.generation.export import check_folder, summary, write_obj, write_outputs
from sculpt4d.types import Mesh, MeshSequence

NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))


def moving(count: int = 4, empty: tuple[int, ...] = ()) -> MeshSequence:
    """A ball that becomes an egg, with another topology in every frame; nothing in the frames of `empty`."""
    frames = []
    for index in range(count):
        sphere = trimesh.creation.icosphere(subdivisions=1 + index % 2, radius=0.5)
        stretched = sphere.vertices * [1, 1 + 0.2 * index, 1]
        frames.append(NOTHING if index in empty else Mesh(stretched.astype(np.float32), sphere.faces))
    return MeshSequence(tuple(frames), fps=6.0)


def inputs(count: int = 4) -> list[np.ndarray]:
    picture = np.zeros((30, 40, 4), np.uint8)
    picture[5:25, 10:30] = (180, 90, 40, 255)
    return [picture] * count


def test_a_complete_folder_is_written(tmp_path):
    sequence = moving(empty=(2,))
    write_outputs(sequence, inputs(), tmp_path / "deep" / "out", {"seed": 7, "input": Path("a/clip.mp4")}, size=64)
    folder = tmp_path / "deep" / "out"
    names = sorted(file.name for file in folder.iterdir())
    objs = [f"frame_{index:04d}.obj" for index in range(4)]
    assert names == sorted([*objs, "animated.glb", "contact_sheet.png", "preview.mp4", "index.html", "generation.json"])
    assert [file.name for file in folder.parent.iterdir()] == ["out"]
    record = json.loads((folder / "generation.json").read_text())
    assert (record["seed"], record["outputs"]["empty_frames"], record["outputs"]["files"]) == (7, [2], names)
    assert record["outputs"]["faces"] == [len(mesh.faces) for mesh in sequence.frames]
    with av.open(str(folder / "preview.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 48
    document = pygltflib.GLTF2().load(folder / "animated.glb")
    assert len(document.animations) == 1
    assert {sampler.interpolation for sampler in document.animations[0].samplers} == {"STEP"}
    assert "clip.mp4" in (folder / "index.html").read_text()


def test_an_obj_comes_back_as_it_was(tmp_path):
    mesh = moving().frames[1]
    write_obj(tmp_path / "mesh.obj", mesh, "a\nb é")
    text = (tmp_path / "mesh.obj").read_text()
    assert text.startswith("# a b ?\n# 162 vertices, 320 faces")
    back = trimesh.load(tmp_path / "mesh.obj", process=False)
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    outward = (back.vertex_normals * mesh.vertices).sum(axis=1) / np.linalg.norm(mesh.vertices, axis=1)
    assert outward.min() > 0.9


def test_a_frame_without_a_mesh_is_an_obj_without_faces(tmp_path):
    write_obj(tmp_path / "mesh.obj", NOTHING, "nothing")
    assert all(line.startswith("#") for line in (tmp_path / "mesh.obj").read_text().splitlines())


def test_meshes_everywhere_missing_still_make_a_folder(tmp_path):
    write_outputs(moving(2, empty=(0, 1)), inputs(2), tmp_path / "out", {}, size=32)
    assert json.loads((tmp_path / "out" / "generation.json").read_text())["outputs"]["empty_frames"] == [0, 1]


def test_another_frame_rate_reaches_every_file(tmp_path):
    write_outputs(moving(), inputs(), tmp_path / "out", {}, fps=12.0, size=32)
    assert json.loads((tmp_path / "out" / "generation.json").read_text())["outputs"]["fps"] == 12
    assert '"fps": 12.0' in (tmp_path / "out" / "index.html").read_text()
    with av.open(str(tmp_path / "out" / "preview.mp4")) as container:
        assert container.streams.video[0].average_rate == 12


@pytest.mark.parametrize("step", ["write_sequence", "write_video", "write_page", "move_into_place"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("broken"), KeyboardInterrupt()]
)
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, step, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(files if step == "move_into_place" else export, step, fail)
    with pytest.raises(type(error)) as caught:
        write_outputs(moving(2), inputs(2), tmp_path / "out", {}, size=32)
    assert not any(tmp_path.iterdir())
    if isinstance(error, OSError):
        assert "no space left" in str(caught.value)
        assert str(tmp_path / "out") in str(caught.value)


def test_a_failed_overwrite_keeps_the_earlier_result(tmp_path, monkeypatch):
    write_outputs(moving(2), inputs(2), tmp_path / "out", {"seed": 1}, size=32)
    monkeypatch.setattr(export, "write_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_outputs(moving(2), inputs(2), tmp_path / "out", {"seed": 2}, overwrite=True, size=32)
    assert json.loads((tmp_path / "out" / "generation.json").read_text())["seed"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_an_earlier_result_is_replaced_only_when_asked(tmp_path):
    write_outputs(moving(4), inputs(4), tmp_path / "out", {"seed": 1}, size=32)
    with pytest.raises(FileExistsError, match="overwrite=true"):
        write_outputs(moving(2), inputs(2), tmp_path / "out", {"seed": 2}, size=32)
    write_outputs(moving(2), inputs(2), tmp_path / "out", {"seed": 2}, overwrite=True, size=32)
    assert json.loads((tmp_path / "out" / "generation.json").read_text())["seed"] == 2
    assert not (tmp_path / "out" / "frame_0003.obj").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="not an earlier result"):
        check_folder(tmp_path, overwrite=True)
    with pytest.raises(FileExistsError, match="is a file"):
        check_folder(tmp_path / "thesis.tex", overwrite=True)
    check_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")


def test_each_mesh_needs_its_input(tmp_path):
    with pytest.raises(ValueError, match="3 input frames for 4 meshes"):
        write_outputs(moving(4), inputs(3), tmp_path / "out", {})


def test_the_summary_names_what_the_record_knows():
    config = {"sampler": {"steps": 20, "guidance": 2.5}, "model": {"name": "tiny"}}
    record = {"input": "a/b/clip.mp4", "background": "plain ground, colour (1, 2, 3)", "seed": 3, "config": config}
    shown = summary(record, moving())
    assert shown["Input"] == "clip.mp4"
    assert shown["Mask"] == "plain ground"
    assert (shown["Steps"], shown["Guidance"], shown["Model"], shown["Seed"]) == ("20", "2.5", "tiny", "3")
    assert shown["Frames"] == "4 at 6 fps"
    assert "Resolution" not in shown
