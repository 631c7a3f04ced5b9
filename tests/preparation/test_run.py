"""From animated files to training folders."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sculpt4d.data import store
from sculpt4d.geometry.distance import signed_distance
from sculpt4d.geometry.projection import project
from sculpt4d.jobs.executor import Serial
from sculpt4d.preparation import asset
from sculpt4d.preparation import run as prepare
from sculpt4d.preparation.run import PrepareJob, PrepareSettings

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
SMALL = PrepareSettings(
    frames=3, points=200, sharp_points=64, distance_points=256, views=2, image_size=32, grid_res=32, front=True
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    report = prepare.prepare_synthetic(root, clips=4, holdout=1, settings=SMALL, workers=1)
    assert not report.failed
    return root


def first_object(root: Path) -> Path:
    return root / json.loads((root / "split.json").read_text())["train"][0]


def test_the_split_lists_every_object_once_and_a_family_never_trained_on(prepared: Path) -> None:
    split = json.loads((prepared / "split.json").read_text())
    assert len(split["train"]) == 4
    names = split["train"] + split["holdout"]
    assert len(set(names)) == len(names) and set(names) == set(split["families"]) == set(store.object_names(prepared))
    families = {part: {split["families"][name] for name in split[part]} for part in ("train", "holdout")}
    assert families["holdout"] - families["train"]


def test_counts_are_those_of_the_settings(prepared: Path) -> None:
    for name in store.object_names(prepared):
        folder = prepared / name
        assert store.frame_count(folder) == 3
        random, sharp = store.read_surface(folder, range(3))
        points, distance = store.read_distances(folder, range(3))
        assert random.shape == (3, 200, 6) and sharp.shape[1] in (0, 64)
        assert points.shape == (3, 256, 3) and distance.shape == (3, 256)
        assert {view.shape for view in store.read_views(folder, range(3), view=1)} == {(32, 32, 4)}


def test_points_lie_on_the_closed_surface_with_its_normals(prepared: Path) -> None:
    folder = first_object(prepared)
    for frame in range(3):
        random, sharp = (part[0].astype(np.float32) for part in store.read_surface(folder, (frame,)))
        rows = np.concatenate([random, sharp])
        closest, normals = project(rows[:, :3], store.read_watertight(folder, frame))
        assert np.abs(closest - rows[:, :3]).max() < 5e-4  # float16
        np.testing.assert_allclose(np.linalg.norm(rows[:, 3:], axis=1), 1, atol=2e-3)
        assert ((normals * rows[:, 3:]).sum(axis=1)[: len(random)] > 0.9).mean() > 0.85  # rounding crosses edges


def test_a_row_is_one_material_point_in_all_frames(prepared: Path) -> None:
    """On rigid or skinned shapes near points stay near; other rows of the same frame are farther on average."""
    random, _ = store.read_surface(first_object(prepared), range(3))
    places = random[..., :3].astype(np.float32)
    moved = np.linalg.norm(places[1] - places[0], axis=1).mean()
    shuffled = np.linalg.norm(places[1][::-1] - places[0], axis=1).mean()
    assert moved < 0.6 * shuffled


def test_the_whole_clip_fills_one_box(prepared: Path) -> None:
    for name in store.object_names(prepared):
        vertices = np.stack([store.read_mesh(prepared / name, frame).vertices for frame in range(3)])
        low, high = vertices.min(axis=(0, 1)), vertices.max(axis=(0, 1))
        assert (high - low).max() == pytest.approx(0.98, abs=1e-4)
        np.testing.assert_allclose(low + high, 0, atol=1e-4)


def test_distances_belong_to_the_stored_places_and_are_positive_inside(prepared: Path) -> None:
    folder = first_object(prepared)
    points, distance = (part[0].astype(np.float32) for part in store.read_distances(folder, (1,)))
    np.testing.assert_allclose(distance, signed_distance(points, store.read_watertight(folder, 1)), atol=2e-4)
    assert 0.05 < (distance > 0).mean() < 0.7
    assert np.median(np.abs(distance[:128])) < 0.02 < np.median(np.abs(distance[192:]))
    assert np.abs(points[192:]).max() <= 0.5105


def test_a_second_call_keeps_what_is_complete_and_other_settings_do_not(prepared: Path) -> None:
    record = first_object(prepared) / store.RECORD
    before = record.stat().st_mtime_ns
    again = prepare.prepare_synthetic(prepared, clips=4, holdout=1, settings=SMALL, workers=1)
    assert not again.prepared and len(again.present) == len(store.object_names(prepared))
    assert record.stat().st_mtime_ns == before
    job = PrepareJob(first_object(prepared).name, Path(), first_object(prepared), replace(SMALL, grid_res=48))
    assert not asset.is_prepared(job)


@pytest.mark.slow
def test_the_same_settings_give_the_same_bytes_in_a_pool(prepared: Path, tmp_path: Path) -> None:
    report = prepare.prepare_synthetic(tmp_path, clips=2, holdout=0, settings=SMALL, workers=2)
    assert len(report.prepared) == 2
    for name in report.prepared:
        for file in (store.SURFACE, Path("render_cond/frame_0001/000.png"), Path("geo_data/watertight/frame_0002.ply")):
            assert (tmp_path / name / file).read_bytes() == (prepared / name / file).read_bytes()


def test_a_broken_file_is_reported_and_the_others_are_prepared(prepared: Path, tmp_path: Path) -> None:
    good = next((prepared / "glb").glob("*.glb"))
    broken = tmp_path / "broken.glb"
    broken.write_bytes(good.read_bytes()[:300])
    report = prepare.prepare_files([broken, good], tmp_path / "out", SMALL, Serial())
    assert report.prepared == [good.stem]
    assert "broken.glb" in report.failed["broken"]
    assert json.loads((tmp_path / "out/report.json").read_text())["failed"] == report.failed
    assert store.object_names(tmp_path / "out") == (good.stem,)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_full_disk_ends_the_run(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(job: PrepareJob) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prepare, "prepare_object", full)
    with pytest.raises(OSError, match="No space left"):
        prepare.prepare_files([next((prepared / "glb").glob("*.glb"))], tmp_path, SMALL, Serial())


def test_input_is_a_file_a_folder_or_a_glob(prepared: Path) -> None:
    folder = prepared / "glb"
    files = sorted(folder.glob("*.glb"))
    assert prepare.find_files(str(folder)) == files == prepare.find_files(str(folder / "*.glb"))
    assert prepare.find_files(str(files[0])) == files[:1]
    with pytest.raises(FileNotFoundError, match=r"names no \.glb or \.gltf file"):
        prepare.find_files(str(prepared / "nothing" / "*.glb"))


def test_files_of_one_name_are_told_apart_by_their_folders(prepared: Path, tmp_path: Path) -> None:
    source = next((prepared / "glb").glob("*.glb")).read_bytes()
    paths = [tmp_path / part / "a.glb" for part in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(source)
    report = prepare.prepare_files(paths, tmp_path / "out", SMALL, Serial())
    assert report.prepared == ["one_a", "two_a"]


@pytest.mark.parametrize("name, value", [("frames", 0), ("views", 0), ("sharp_points", -1), ("grid_res", 0)])
def test_settings_that_make_no_sense_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}"):
        PrepareSettings(**{name: value})


def test_the_script_prepares_a_file_and_says_in_one_line_what_is_wrong(prepared: Path, tmp_path: Path) -> None:
    small = [f"{name}={value}" for name, value in SMALL.__dict__.items() if not isinstance(value, bool)]
    command = [
        sys.executable,
        str(ROOT / "prepare.py"),
        f"output={tmp_path / 'out'}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    file = next((prepared / "glb").glob("*.glb"))
    done = subprocess.run([*command, f"source={file}", *small], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert store.object_names(tmp_path / "out") == (file.stem,)
    failed = subprocess.run([*command, "source=nothing.glb"], capture_output=True, text=True, cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: source=nothing.glb") and "Traceback" not in failed.stderr


@pytest.mark.parametrize("name", ["Fox.glb", "CesiumMilkTruck.glb", "AnimatedMorphCube/AnimatedMorphCube.gltf"])
def test_real_assets_go_through_whole(name: str, tmp_path: Path) -> None:
    path = SHARED / "data/animated_glb" / name
    if not path.is_file():
        pytest.skip(f"{name} is not at hand")
    report = prepare.prepare_files([path], tmp_path, SMALL, Serial())
    assert report.prepared == [path.stem], report.failed
    assert all(view[..., 3].any() for view in store.read_views(tmp_path / path.stem, range(3)))
