"""The folder of one object."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sculpt4d import files
from sculpt4d.data import store
from sculpt4d.data.store import UNRECORDED
from sculpt4d.geometry.bounds import Box
from sculpt4d.render.cameras import choose_cameras
from sculpt4d.types import Mesh

CAMERAS = choose_cameras(2, True, np.random.default_rng(0))
BOX = Box(np.array([1.0, 2.0, 3.0], np.float32), 0.5)
RECORD = UNRECORDED | {"name": "ball", "family": "balls"}


def frame(seed: int, points: int = 7) -> store.FrameData:
    rng = np.random.default_rng(seed)
    shape = trimesh.creation.icosphere(subdivisions=1, radius=0.3 + 0.01 * seed)
    mesh = Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces))
    views = [rng.integers(0, 256, (8, 8, 4), dtype=np.uint8) for _ in CAMERAS]
    rows = [rng.uniform(-0.5, 0.5, (count, 6)).astype(np.float32) for count in (11, 5)]
    return store.FrameData(
        views, mesh, mesh, rows[0], rows[1], rng.uniform(-0.5, 0.5, (points, 3)), rng.uniform(-0.1, 0.1, points)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with store.writing(tmp_path / "ball", CAMERAS, BOX) as writer:
        for seed in range(3):
            writer.add(frame(seed))
        writer.finish(RECORD)
    return tmp_path / "ball"


def test_what_is_written_is_read_back(folder: Path) -> None:
    assert store.complete(folder) and store.frame_count(folder) == 3
    assert store.object_names(folder.parent) == ("ball",)
    assert store.read_record(folder)["family"] == "balls"
    chosen = (2, 0)
    random, sharp = store.read_surface(folder, chosen)
    points, distance = store.read_distances(folder, chosen)
    views = store.read_views(folder, chosen, view=1)
    for row, number in enumerate(chosen):
        expected = frame(number)
        np.testing.assert_array_equal(random[row], expected.random.astype(np.float16))
        np.testing.assert_array_equal(sharp[row], expected.sharp.astype(np.float16))
        np.testing.assert_array_equal(points[row], expected.points.astype(np.float16))
        np.testing.assert_array_equal(distance[row], expected.distance.astype(np.float16))
        np.testing.assert_array_equal(views[row], expected.views[1])
        for mesh in (store.read_mesh(folder, number), store.read_watertight(folder, number)):
            np.testing.assert_array_equal(mesh.vertices, expected.mesh.vertices)
            np.testing.assert_array_equal(mesh.faces, expected.mesh.faces)
    assert store.read_cameras(folder) == CAMERAS


def test_the_layout_is_that_of_the_official_release(folder: Path) -> None:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for name in ("000.png", "001.png", "mesh.ply", "transforms.json"):
        assert f"render_cond/frame_0002/{name}" in files
    with np.load(folder / "geo_data/4d_sample_new.npz", allow_pickle=False) as stored:
        assert stored["frame_0000/random_surface"].dtype == np.float16
        assert stored["frame_0000/random_surface"].shape == (11, 6)
        assert stored["frame_0002/sharp_surface"].shape == (5, 6)


def test_scale_and_offset_bring_the_z_up_scene_into_the_box(folder: Path) -> None:
    camera_file = json.loads((folder / "render_cond/frame_0000/transforms.json").read_text())
    x, y, z = BOX.center.tolist()
    center = np.array([x, -z, y])  # the box's centre in the z up world
    np.testing.assert_allclose(camera_file["scale"] * center + camera_file["offset"], 0, atol=1e-6)


def test_a_write_that_fails_leaves_nothing_and_keeps_what_was_there(folder: Path) -> None:
    before = store.read_surface(folder, (0,))[0]
    for target in (folder, folder.with_name("new")):
        with pytest.raises(RuntimeError), store.writing(target, CAMERAS, BOX) as writer:
            writer.add(frame(9))
            raise RuntimeError("power cut")
    assert [path.name for path in folder.parent.iterdir()] == ["ball"]
    np.testing.assert_array_equal(store.read_surface(folder, (0,))[0], before)


def test_writing_again_replaces_the_object(folder: Path) -> None:
    with store.writing(folder, CAMERAS, BOX) as writer:
        writer.add(frame(5))
        writer.finish(RECORD)
    assert store.frame_count(folder) == 1


def test_of_two_processes_that_prepare_one_object_the_first_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "ball"
    with store.writing(target, CAMERAS, BOX) as late:
        late.add(frame(1))
        late.finish(RECORD)
        with store.writing(target, CAMERAS, BOX) as early:
            early.add(frame(2))
            early.finish(RECORD)
        # as if the early one had come after the late one moved away what was there
        move = files.os.replace

        def without_moving_away(source: Path, destination: Path) -> None:
            if source == target:
                raise FileNotFoundError(source)
            move(source, destination)

        monkeypatch.setattr(files.os, "replace", without_moving_away)
    np.testing.assert_array_equal(store.read_surface(target, (0,))[0][0], frame(2).random.astype(np.float16))


def test_a_folder_of_another_origin_is_not_overwritten(folder: Path) -> None:
    (folder / "object.json").unlink()
    with pytest.raises(ValueError, match="was not written by prepare"), store.writing(folder, CAMERAS, BOX):
        pass
    assert store.complete(folder)  # it reads like an object of the official release
    assert store.read_record(folder)["name"] == "ball"


def test_arrays_named_with_underscores_are_read_too(folder: Path) -> None:
    path = folder / "geo_data/4d_sample_new.npz"
    with np.load(path) as stored:
        renamed = {key.replace("/", "_"): stored[key] for key in stored.files}
    np.savez(path, **renamed)
    assert store.read_surface(folder, (1,))[0].shape == (1, 11, 6)


def test_a_missing_array_is_named_with_its_file(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"4d_sample_new.npz: holds no random_surface of frame_0007.*prepare ball"):
        store.read_surface(folder, (7,))


@pytest.mark.parametrize("content", ["pickle", "truncated", "text"])
def test_an_npz_that_cannot_be_trusted_or_read_gives_one_error(folder: Path, content: str) -> None:
    path = folder / "geo_data/4d_sample_new.npz"
    if content == "pickle":
        np.savez(path, **{"frame_0000/random_surface": np.array([{"a": 1}], dtype=object)}, allow_pickle=True)
    elif content == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.write_text("not an archive")
    with pytest.raises(ValueError, match=r"4d_sample_new.npz.*prepare ball again"):
        store.read_surface(folder, (0,))


def test_missing_labels_pictures_and_meshes_are_said(folder: Path) -> None:
    (folder / "geo_data/4d_distance.npz").unlink()
    with pytest.raises(FileNotFoundError, match="distance_points"):
        store.read_distances(folder, (0,))
    with pytest.raises(FileNotFoundError, match=r"009.png is missing"):
        store.read_views(folder, (0,), view=9)
    with pytest.raises(FileNotFoundError, match=r"frame_0009.ply is missing"):
        store.read_watertight(folder, 9)
    (folder / "render_cond/frame_0000/000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"000.png is not a readable picture"):
        store.read_views(folder, (0,))
