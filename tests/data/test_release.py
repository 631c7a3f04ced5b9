"""Finished renders of the official pipeline: read, prepared beside, and ours laid out as theirs."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

from sculpt4d.data import release, store
from sculpt4d.data.dataset import Choice, ClipSettings, Reader, read_clip, read_truth
from sculpt4d.geometry.projection import project
from sculpt4d.preparation import asset
from sculpt4d.preparation.asset import Job, PrepareSettings, is_prepared, prepare_object
from sculpt4d.preparation.synthetic import families as synthetic

SMALL = PrepareSettings(frames=3, points=200, sharp_points=64, views=2, image_size=32, grid_res=32)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object prepared from its file, `horse`, beside the file."""
    root = tmp_path_factory.mktemp("ours")
    synthetic.write_object("horse", "quadruped", 3, root / "horse.glb")
    return prepare_object(Job("horse", root / "horse.glb", root / "horse", SMALL))


@pytest.fixture
def rendered(ours: Path, tmp_path: Path) -> Path:
    """What step 1 of the official pipeline leaves of the same object."""
    shutil.copytree(ours / "render_cond", tmp_path / "horse/render_cond")
    return tmp_path / "horse"


def render_job(folder: Path, to: Path | None = None) -> Job:
    return Job("horse", folder, to or folder, SMALL, mode="render")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit_mesh(folder: Path, frame: int, change: Callable[[trimesh.Trimesh], None]) -> None:
    path = folder / "render_cond" / store.frame_name(frame) / "mesh.ply"
    mesh = trimesh.load_mesh(path, process=False)
    change(mesh)
    mesh.export(path)


def test_the_layout_is_the_one_the_release_documents(tmp_path: Path):
    """A folder a frame of 24 RGBA views with mesh and cameras; one npz of float16 (N, 6) arrays, two of each frame."""
    synthetic.write_object("ball", "quadruped", 1, tmp_path / "ball.glb")
    settings = PrepareSettings(frames=5, points=60, sharp_points=20, image_size=8, grid_res=16)
    assert asdict(PrepareSettings()).items() >= {"frames": 32, "views": 24, "image_size": 512}.items()
    folder = prepare_object(Job("ball", tmp_path / "ball.glb", tmp_path / "ball", settings))
    frames = [f"frame_{number:04d}" for number in range(5)]
    assert sorted(os.listdir(folder / "render_cond")) == frames
    pictures = [f"{number:03d}.png" for number in range(24)]
    for name in (frames[0], frames[4]):
        assert sorted(os.listdir(folder / "render_cond" / name)) == [*pictures, "mesh.ply", "transforms.json"]
    with Image.open(folder / "render_cond/frame_0004/023.png") as picture:
        assert picture.mode == "RGBA" and picture.size == (8, 8)
    with np.load(folder / "geo_data/4d_sample_new.npz", allow_pickle=False) as stored:
        assert set(stored.files) == {f"{frame}/{kind}_surface" for frame in frames for kind in ("random", "sharp")}
        assert {(stored[key].dtype, stored[key].shape[1], stored[key].ndim) for key in stored.files} == {
            (np.dtype(np.float16), 6, 2)
        }
        assert np.abs(stored["frame_0003/random_surface"][:, :3]).max() <= 0.5
    for number in (0, 4):
        mesh = trimesh.load_mesh(folder / "render_cond" / frames[number] / "mesh.ply", process=False)
        assert np.abs(mesh.vertices).max() <= 0.5


def test_the_cameras_are_those_of_a_z_up_world(ours: Path):
    """Each stored matrix, applied as OpenGL cameras are, sees the mesh turned to z up where the picture has it."""
    folder = ours / "render_cond/frame_0001"
    content = json.loads((folder / "transforms.json").read_text())
    assert set(content) == {"aabb", "scale", "offset", "frames"} and content["aabb"] == [[-0.5] * 3, [0.5] * 3]
    vertices = np.asarray(trimesh.load_mesh(folder / "mesh.ply", process=False).vertices)
    world = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], axis=1)
    for view in content["frames"]:
        assert set(view) == {
            "file_path", "camera_angle_x", "proj_type", "azimuth", "elevation", "cam_dis", "transform_matrix"
        }  # fmt: skip
        pose = np.linalg.inv(np.array(view["transform_matrix"]))
        seen = world @ pose[:3, :3].T + pose[:3, 3]
        half = np.tan(view["camera_angle_x"] / 2)
        columns, rows = (seen[:, 0] / -seen[:, 2] / half + 1) / 2, (1 - seen[:, 1] / -seen[:, 2] / half) / 2
        with Image.open(folder / view["file_path"]) as picture:
            alpha = np.asarray(picture)[..., 3] > 0
        covered = np.nonzero(alpha.any(axis=0))[0], np.nonzero(alpha.any(axis=1))[0]
        for places, pixels in zip((columns, rows), covered, strict=True):
            np.testing.assert_allclose(32 * places.min(), pixels.min(), atol=1.5)
            np.testing.assert_allclose(32 * places.max(), pixels.max() + 1, atol=1.5)


def test_finished_renders_are_taken_as_they_are(rendered: Path):
    before = contents(rendered)
    assert prepare_object(render_job(rendered)) == rendered
    after = contents(rendered)
    assert {name: after[name] for name in before} == before
    added = {name for name in after if name not in before}
    assert {"object.json", "geo_data/4d_sample_new.npz", "geo_data/watertight/frame_0002.ply"} <= added
    assert store.read_record(rendered)["mode"] == "render" and is_prepared(render_job(rendered))
    assert not [name for name in after if "/." in f"/{name}"]


def test_points_carried_from_the_first_frame_keep_their_place_on_every_frame(rendered: Path):
    prepare_object(render_job(rendered))
    random, sharp = store.read_surface(rendered, range(3))
    assert random.shape == (3, 200, 6) and sharp.shape == (3, 64, 6)
    for frame in range(3):
        rows = random[frame].astype(np.float32)
        closest, _ = project(rows[:, :3], store.read_watertight(rendered, frame))
        assert np.abs(closest - rows[:, :3]).max() < 5e-4  # float16
    places = random[..., :3].astype(np.float32)
    _, nearest = cKDTree(places[0]).query(places[0], k=2)
    apart = np.linalg.norm(places - places[:, nearest[:, 1]], axis=2)
    strangers = np.linalg.norm(places - places[:, ::-1], axis=2)
    assert np.median(apart[1:]) < 2 * np.median(apart[0]) < 0.5 * np.median(strangers)


def test_such_an_object_is_trained_on_and_evaluated_like_any_other(rendered: Path):
    prepare_object(render_job(rendered))
    settings = ClipSettings(frames=3, latents=16, points=100, sharp_points=32, image_size=16, views=2)
    clip = read_clip(Reader(rendered, False, False), settings, Choice(0, 1, 0))
    assert clip.surface.shape == (3, 132, 7) and clip.images.shape == (3, 3, 16, 16)
    assert len(read_truth(rendered, settings).frames) == 3


def test_elsewhere_a_copy_appears_whole_and_the_source_stays(rendered: Path, tmp_path: Path):
    before = contents(rendered)
    copy = prepare_object(render_job(rendered, tmp_path / "out/horse"))
    assert contents(rendered) == before
    assert store.complete(copy) and {name: contents(copy)[name] for name in before} == before
    assert os.listdir(tmp_path / "out") == ["horse"]


def test_surface_points_of_the_release_are_kept_and_the_rest_is_added(rendered: Path, ours: Path):
    (rendered / "geo_data").mkdir()
    shutil.copy(ours / store.SURFACE, rendered / store.SURFACE)
    theirs = (rendered / store.SURFACE).read_bytes()
    for job in (render_job(rendered), replace(render_job(rendered), settings=replace(SMALL, grid_res=24))):
        prepare_object(job)
        assert (rendered / store.SURFACE).read_bytes() == theirs
        assert store.read_record(rendered)["found"] and len(store.read_watertight(rendered, 2).faces)
    assert any("were kept" in note for note in store.read_record(rendered)["notes"])


@pytest.mark.parametrize("moment", range(3))
def test_a_writer_killed_at_any_moment_leaves_an_object_that_is_redone(
    moment: int, rendered: Path, monkeypatch: pytest.MonkeyPatch
):
    """Kills the second preparation, with other settings, between any two of its moves."""
    prepare_object(render_job(rendered))
    job = replace(render_job(rendered), settings=replace(SMALL, points=150))
    moves = 0
    replace_file = os.replace

    def cut(source: Path, target: Path) -> None:
        nonlocal moves
        if moves == moment:
            raise KeyboardInterrupt
        moves += 1
        replace_file(source, target)

    monkeypatch.setattr(release.os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        prepare_object(job)
    assert not is_prepared(job) or store.read_surface(rendered, (0,))[0].shape[1] == 150
    monkeypatch.undo()
    prepare_object(job)
    assert store.read_surface(rendered, (0,))[0].shape[1] == 150 and not store.read_record(rendered)["found"]


def test_hybrid_takes_the_rest_pose_of_the_file(rendered: Path, ours: Path):
    job = Job("horse", ours.parent / "horse.glb", rendered, SMALL, mode="hybrid")
    prepare_object(job)
    record = store.read_record(rendered)
    assert record["mode"] == "hybrid" and record["times"] == store.read_record(ours)["times"] and is_prepared(job)
    # the same rest pose, frames and seed as the object made from the file: the same points
    theirs, mine = (store.read_surface(folder, range(3))[0][..., :3].astype(np.float32) for folder in (ours, rendered))
    np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_hybrid_without_renders_says_what_to_do(ours: Path, tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"holds no render_cond/frame_0000: render the object first, or.*export"
    ):
        prepare_object(Job("horse", ours.parent / "horse.glb", tmp_path / "horse", SMALL, mode="hybrid"))


def shuffle(mesh: trimesh.Trimesh) -> None:
    mesh.faces = mesh.faces[::-1]


def drop(mesh: trimesh.Trimesh) -> None:
    mesh.faces = mesh.faces[1:]


@pytest.mark.parametrize("change", [shuffle, drop])
def test_frames_without_correspondence_are_refused(
    change: Callable[[trimesh.Trimesh], None], rendered: Path, ours: Path
):
    for frame in range(3):
        edit_mesh(rendered, frame, change)
    with pytest.raises(
        ValueError, match=r"horse.glb has .* its rest pose does not belong to these frames; use mode=render"
    ):
        prepare_object(Job("horse", ours.parent / "horse.glb", rendered, SMALL, mode="hybrid"))
    edit_mesh(rendered, 1, change)
    with pytest.raises(ValueError, match=r"frame_0001/mesh.ply has another topology .* mode=export"):
        prepare_object(render_job(rendered))
    assert sorted(os.listdir(rendered)) == ["render_cond"]


def test_torn_meshes_and_missing_frames_are_named(rendered: Path):
    path = rendered / "render_cond/frame_0002/mesh.ply"
    whole = path.read_bytes()
    for content in (whole[:-5], whole[:60], b"", b"ply"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"frame_0002/mesh.ply"):
            prepare_object(render_job(rendered))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"frame_0002/mesh.ply is missing, 3 frames were expected"):
        prepare_object(render_job(rendered))
    assert sorted(os.listdir(rendered)) == ["render_cond"]


def test_meshes_outside_the_box_are_brought_there(rendered: Path):
    for frame in range(3):
        edit_mesh(rendered, frame, lambda mesh: mesh.apply_scale(30))
    prepare_object(render_job(rendered))
    assert np.abs(store.read_surface(rendered, range(3))[0][..., :3]).max() <= 0.5


def test_pictures_that_are_not_ours_are_never_replaced(rendered: Path, ours: Path):
    export = Job("horse", ours.parent / "horse.glb", rendered, SMALL)
    for _ in range(2):
        before = contents(rendered)
        with pytest.raises(ValueError, match="is finished renders"):
            prepare_object(export)
        assert contents(rendered) == before
        prepare_object(render_job(rendered))
    assert asset.is_prepared(render_job(ours))  # made here from its file: nothing to add
