"""Verification: clean on what we prepare, and every planted defect is found with its remedy."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from sculpt4d.data import store
from sculpt4d.geometry.bounds import Box
from sculpt4d.jobs.pool import local
from sculpt4d.preparation import run as prepare
from sculpt4d.preparation.asset import PrepareJob, PrepareSettings
from sculpt4d.preparation.synthetic import families as synthetic
from sculpt4d.preparation.verify import files as verify_files
from sculpt4d.preparation.verify import masks as verify_masks
from sculpt4d.preparation.verify import points as verify_points
from sculpt4d.preparation.verify import run as verify
from sculpt4d.preparation.verify.findings import Finding, merge, spell
from sculpt4d.preparation.verify.page import ObjectReport
from sculpt4d.render.cameras import sphere_cameras, write_transforms
from sculpt4d.render.embree import plain, render_views
from sculpt4d.types import Mesh

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
SMALL = PrepareSettings(
    frames=4, points=512, sharp_points=256, distance_points=128, views=5, image_size=64, grid_res=48, front=True
)
FRAME = "render_cond/frame_0002"
CLOSED = "geo_data/watertight/frame_0002.ply"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One object of every family."""
    root = tmp_path_factory.mktemp("data")
    jobs = [
        PrepareJob(family, root / "glb" / f"{family}.glb", root / family, SMALL, family, made=seed)
        for seed, family in enumerate(synthetic.FAMILIES)
    ]
    assert not prepare.prepare_all(jobs, root, local(1)).failed
    return root


@pytest.fixture
def bird(prepared: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(prepared / "bird", tmp_path / "bird"))


def found(folder: Path) -> dict[str, Finding]:
    """Findings by the rule that made them."""
    return {finding.check: finding for finding in verify.verify_object(folder).findings}


def test_everything_we_prepare_is_clean(prepared: Path, tmp_path: Path) -> None:
    reports = verify.verify(prepared, tmp_path)
    assert {report.name for report in reports} == set(synthetic.FAMILIES)
    assert [finding for report in reports for finding in report.findings] == []
    assert json.loads((tmp_path / "verify.json").read_text())["clean"] is True


# planted defects: what is done to the folder, the rule that must find it, words of the finding, frames named


def surface(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    path = folder / store.SURFACE
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    change(arrays)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def rows_of(arrays: dict[str, np.ndarray], frame: int | None = None) -> list[str]:
    return [key for key in arrays if frame is None or key.startswith(f"frame_{frame:04d}")]


def shift(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        for key in rows_of(arrays):
            arrays[key][:, :3] += np.float16(0.1)

    surface(folder, change)


def scale(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        for key in rows_of(arrays):
            arrays[key][:, :3] *= np.float16(2)

    surface(folder, change)


def flip_normals(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["frame_0002/random_surface"][:, 3:] *= -1

    surface(folder, change)


def stretch_normals(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["frame_0002/random_surface"][::7, 3:] *= np.float16(0.5)

    surface(folder, change)


def shuffle_rows(folder: Path, frame: int = 2) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        for key in rows_of(arrays, frame):
            arrays[key] = np.random.default_rng(0).permutation(arrays[key])

    surface(folder, change)


def shuffle_first(folder: Path) -> None:
    shuffle_rows(folder, 0)


def shuffle_a_sixth(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        for key in rows_of(arrays, 2):
            arrays[key][::6] = np.random.default_rng(0).permutation(arrays[key][::6])

    surface(folder, change)


def lift_a_few(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        rows = arrays["frame_0002/random_surface"]
        rows[:5, :3] += np.float16(0.01) * rows[:5, 3:]

    surface(folder, change)


def swap_frames(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        for name in ("random_surface", "sharp_surface"):
            one, other = f"frame_0000/{name}", f"frame_0002/{name}"
            arrays[one], arrays[other] = arrays[other], arrays[one]

    surface(folder, change)


def put_nan(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["frame_0002/sharp_surface"][3, 1] = np.nan

    surface(folder, change)


def drop_rows(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["frame_0002/random_surface"] = arrays["frame_0002/random_surface"][:-1]

    surface(folder, change)


def widen_dtype(folder: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["frame_0002/random_surface"] = arrays["frame_0002/random_surface"].astype(np.float64)

    surface(folder, change)


def drop_array(folder: Path) -> None:
    surface(folder, lambda arrays: arrays.__delitem__("frame_0002/random_surface"))


def truncate(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def damage_npz(folder: Path) -> None:
    """The directory at the end is whole, the data are not: such files open."""
    path = folder / store.SURFACE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def open_a_hole(folder: Path) -> None:
    mesh = store.read_watertight(folder, 2)
    trimesh.Trimesh(mesh.vertices, mesh.faces[:-1], process=False).export(folder / CLOSED)


def turn_inside_out(folder: Path) -> None:
    mesh = store.read_watertight(folder, 2)
    trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False).export(folder / CLOSED)


def edit_transforms(folder: Path, change: Callable[[dict], None], frames: range) -> None:
    for frame in frames:
        path = folder / f"render_cond/frame_{frame:04d}/transforms.json"
        content = json.loads(path.read_text())
        change(content["frames"][1])
        path.write_text(json.dumps(content))


def turn_camera(folder: Path) -> None:
    """Angles and matrix agree with each other and in all frames, and not with the pictures."""
    camera = sphere_cameras(1, np.random.default_rng(7))[0]
    wrong = write_transforms((camera,), Box(np.zeros(3, np.float32), 1.0))["frames"]
    assert isinstance(wrong, list)
    edit_transforms(folder, lambda view: view.update(wrong[0] | {"file_path": "001.png"}), range(4))


def turn_one_camera(folder: Path) -> None:
    edit_transforms(folder, lambda view: view.update(azimuth=view["azimuth"] + 0.3), range(2, 3))


def remove_frame(folder: Path) -> None:
    shutil.rmtree(folder / FRAME)


def swap_pictures(folder: Path) -> None:
    one, other = folder / FRAME / "000.png", folder / FRAME / "003.png"
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def empty_picture(folder: Path) -> None:
    Image.new("RGBA", (64, 64)).save(folder / FRAME / "001.png")


def resize_picture(folder: Path) -> None:
    path = folder / FRAME / "001.png"
    Image.open(path).resize((32, 32)).save(path)


def opaque_picture(folder: Path) -> None:
    path = folder / FRAME / "001.png"
    Image.open(path).convert("RGB").save(path)


def erase_half(folder: Path) -> None:
    path = folder / FRAME / "001.png"
    pixels = np.array(Image.open(path))
    columns = np.flatnonzero(pixels[..., 3].any(axis=0))
    pixels[:, : int(columns.mean())] = 0
    Image.fromarray(pixels).save(path)


def negate_distances(folder: Path) -> None:
    path = folder / store.DISTANCE
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    arrays["frame_0002/distance"] *= -1
    np.savez(path, **arrays)  # type: ignore[arg-type]


def move_meshes(folder: Path) -> None:
    for frame in range(4):
        mesh = store.read_mesh(folder, frame)
        moved = trimesh.Trimesh(mesh.vertices + 0.004, mesh.faces, process=False)
        moved.export(folder / f"render_cond/frame_{frame:04d}/mesh.ply")


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


DEFECTS = [
    (shift, "box", r"fit as 1.0\d\d \* stored \+ \(-0.\d", (0, 1, 2, 3)),
    (scale, "box", r"fit as 0.\d\d\d \* stored", (0, 1, 2, 3)),
    (lift_a_few, "surface", "points looked at lie off the surface, up to 0.0", (2,)),
    (swap_frames, "surface", "lie off the surface", (0, 2)),
    (flip_normals, "normals", "normals of uniform points look into the object.*turn them round", (2,)),
    (stretch_normals, "normals", "of 512 normals of uniform points measure 0.500 to", (2,)),
    (shuffle_rows, "correspondence", "rows looked at have left their neighbours", (2,)),
    (shuffle_a_sixth, "correspondence", "rows looked at have left their neighbours", (2,)),
    (shuffle_first, "correspondence", "rows looked at have left their neighbours", (0,)),
    (put_nan, "finite", "1 of 256 rows with NaN", (2,)),
    (drop_rows, "arrays", "has 511 rows, other frames 512", (2,)),
    (widen_dtype, "arrays", "stored as float64, expected float16", (2,)),
    (drop_array, "arrays", "random_surface is missing", (2,)),
    (truncate(str(store.SURFACE)), "files", "4d_sample_new.npz cannot be read", ()),
    (damage_npz, "arrays", "cannot be read", None),
    (open_a_hole, "watertight", "3 edges have a face on one side only", (2,)),
    (turn_inside_out, "watertight", "inside out", (2,)),
    (turn_camera, "silhouette", "view 1: ", None),
    (turn_one_camera, "files", r"transform_matrix of view \[1\] disagrees with its angles", (2,)),
    (turn_one_camera, "cameras", "not those of the first frame", (2,)),
    (swap_pictures, "silhouette", "view 0: ", (2,)),
    (erase_half, "silhouette", "view 1: ", (2,)),
    (empty_picture, "files", "001.png is fully transparent", (2,)),
    (resize_picture, "files", r"pictures measure .*32.*expected all 64 x 64", (2,)),
    (opaque_picture, "files", "001.png has no alpha channel", (2,)),
    (truncate(f"{FRAME}/001.png"), "files", "001.png is damaged", (2,)),
    (truncate(f"{FRAME}/mesh.ply"), "files", "mesh.ply is damaged", (2,)),
    (truncate(f"{FRAME}/transforms.json"), "files", "transforms.json cannot be read", (2,)),
    (truncate(store.RECORD), "files", "object.json cannot be read", ()),
    (remove(f"{FRAME}/003.png"), "files", r"1 of 5 pictures are missing \(003.png\)", (2,)),
    (remove(CLOSED), "files", "watertight/frame_0002.ply is missing", (2,)),
    (remove(str(store.DISTANCE)), "files", "4d_distance.npz is missing", ()),
    (remove_frame, "frames", "render_cond holds 3 of 4 frames", (2,)),
    (negate_distances, "labels", "signed distances looked at are not those of the closed mesh", (2,)),
    (move_meshes, "box", "the box of all frames is 0.004 off the origin", ()),
]


@pytest.mark.parametrize(
    "spoil, check, words, frames", DEFECTS, ids=[f"{row}_{defect[1]}" for row, defect in enumerate(DEFECTS)]
)
def test_a_planted_defect_is_found(
    bird: Path, spoil: Callable[[Path], None], check: str, words: str, frames: tuple[int, ...] | None
) -> None:
    spoil(bird)
    findings = found(bird)
    assert check in findings, findings
    assert re.search(words, findings[check].line()), findings[check].line()
    assert findings[check].remedy
    if frames is not None:
        assert findings[check].frames == frames


KINDS = [
    store.RECORD,
    str(store.SURFACE),
    str(store.DISTANCE),
    str(store.SWALLOWED),
    CLOSED,
    *(f"{FRAME}/{name}" for name in ("000.png", "mesh.ply", "transforms.json")),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_no_damage_to_a_file_ends_verification_or_goes_unseen(bird: Path, name: str) -> None:
    content = (bird / name).read_bytes()
    rng = np.random.default_rng(0)
    scrambled = bytearray(content)
    for place in rng.integers(0, len(content), max(20, len(content) // 50)):
        scrambled[place] = rng.integers(256)
    damaged = {"empty": b"", "text": b"[1, 2]", "half": content[: len(content) // 2], "scrambled": bytes(scrambled)}
    for kind, spoiled in damaged.items():
        (bird / name).write_bytes(spoiled)
        assert verify.verify_object(bird).findings, kind


# the base release's mini set


def write_mini(folder: Path, offset: np.ndarray | None) -> Path:
    """One frame of a box in that layout; `offset` is added to the stored points (None: they are right)."""
    shape = trimesh.creation.box((0.6, 0.3, 1.0))
    mesh = Mesh(np.asarray(shape.vertices, np.float32) + np.float32([0, 0.1, 0]), np.asarray(shape.faces))
    pictures, points = folder / "render_cond", folder / "geo_data"
    for path in (pictures, points):
        path.mkdir(parents=True)
    cameras = sphere_cameras(3, np.random.default_rng(0))
    content = write_transforms(cameras, Box(np.zeros(3, np.float32), 1.0))
    (pictures / "transforms.json").write_text(json.dumps(content))
    for number, camera in enumerate(cameras):
        Image.fromarray(render_views(plain(mesh), (camera,), 64)[0]).save(pictures / f"{number:03d}.png")
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(pictures / "mesh.ply")
    places, faces = trimesh.sample.sample_surface(shape, 800, seed=1)
    rows = np.concatenate([places + np.array([0, 0.1, 0]), shape.face_normals[faces]], axis=1)
    rows[:, :3] += 0.005 * rows[:, 3:] + (0 if offset is None else offset)  # on a shell around the mesh
    np.savez(
        points / f"{folder.name}_surface.npz",
        random_surface=rows[:500].astype(np.float16),
        sharp_surface=rows[500:].astype(np.float16),
    )
    return folder


def test_points_in_the_unit_cube_beside_a_centred_mesh_are_flagged_with_the_fix(tmp_path: Path) -> None:
    findings = found(write_mini(tmp_path / "0a1b", np.array([0.3, 0.05, 0.5])))
    assert set(findings) == {"box"}
    assert "normalised to [0, 1] from the minimum corner" in findings["box"].what
    assert findings["box"].remedy.startswith("add (-0.300, -0.050, -0.500), the minimum corner of mesh.ply")
    assert found(write_mini(tmp_path / "0a1c", None)) == {}


@pytest.mark.parametrize("thickness", [1e-4, 0.3])
def test_normals_at_a_ridge_thinner_than_rounding_are_right_and_turned_ones_of_a_body_wrong(thickness: float) -> None:
    slab = trimesh.creation.box(extents=(0.5, 0.5, thickness))
    points, face = trimesh.sample.sample_surface(slab, 500, seed=0)
    rng = np.random.default_rng(0)
    rows = np.concatenate([points + rng.normal(0, 2e-4, points.shape), slab.face_normals[face]], axis=1).astype(
        np.float32
    )
    closed = Mesh(slab.vertices.astype(np.float32), slab.faces.astype(np.int64))
    assert verify_points._inward_closed(rows, closed) < 0.01
    if thickness > 0.1:
        assert verify_points._inward_closed(rows * np.float32([1, 1, 1, -1, -1, -1]), closed) > 0.95


def test_normals_are_judged_without_a_closed_mesh_too(tmp_path: Path) -> None:
    folder = write_mini(tmp_path / "0a1b", None)
    path = folder / "geo_data/0a1b_surface.npz"
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    arrays["random_surface"][:, 3:] *= -1
    np.savez(path, **arrays)
    assert "look into the object" in found(folder)["normals"].what


def test_the_released_mini_set_has_the_defect() -> None:
    root = SHARED / "data/mini_trainset"
    if not root.is_dir():
        pytest.skip("the mini set is not at hand")
    for folder in verify.find_objects(root):
        finding = found(folder)["box"]
        assert "normalised to [0, 1]" in finding.what and finding.remedy.startswith("add (-0.")


def test_a_folder_of_the_official_release_is_judged_without_our_additions(bird: Path) -> None:
    (bird / store.RECORD).unlink()
    shutil.rmtree(bird / "geo_data/watertight")
    (bird / store.DISTANCE).unlink()
    assert found(bird) == {}
    shuffle_rows(bird)
    assert found(bird)["correspondence"].frames == (2,)


@pytest.mark.parametrize(
    "settings", [{"consistent": False}, {"sharp_points": 0}, {"projection": "none"}, {"projection": "nearest_center"}]
)
def test_ablations_are_judged_by_what_they_are(settings: dict, tmp_path: Path) -> None:
    job = PrepareJob("bird", tmp_path / "bird.glb", tmp_path / "bird", replace(SMALL, **settings), "bird", made=3)
    assert not prepare.prepare_all([job], tmp_path, local(1)).failed
    assert found(job.folder) == {}


def test_finished_renders_with_our_points_are_clean_and_their_pictures_are_not_ours_to_count(
    bird: Path, tmp_path: Path
) -> None:
    """Mode render: object.json speaks of the points alone."""
    (bird / store.RECORD).unlink()
    shutil.rmtree(bird / "geo_data")
    job = PrepareJob("bird", bird, tmp_path / "out" / "bird", replace(SMALL, views=2, image_size=8), mode="render")
    assert not prepare.prepare_all([job], tmp_path / "out", local(1)).failed
    assert found(job.folder) == {}
    shuffle_rows(job.folder)
    assert found(job.folder)["correspondence"].frames == (2,)


# report and command


def test_the_report_is_one_file_that_needs_no_other(bird: Path) -> None:
    shift(bird)
    report = verify.verify(bird)[0]
    page = (bird / "verify.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page and "<script" not in page
    assert report.findings[0].remedy.split(":")[0] in page.replace("&#x27;", "'")
    content = json.loads((bird / "verify.json").read_text())
    assert content["clean"] is False and content["objects"][0]["findings"][0]["check"] == "box"
    assert len(report.snapshots) >= 4


def test_snapshots_show_points_off_the_mask_in_red(bird: Path) -> None:
    def red(report: ObjectReport) -> int:
        return sum(int((shot.image == (255, 30, 30)).all(axis=2).sum()) for shot in report.snapshots)

    before = red(verify.verify_object(bird))
    shift(bird)
    assert before < 5 < red(verify.verify_object(bird))


def test_a_set_reports_each_object_and_those_it_lost(bird: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(bird, bird.parent / "other")
    put_nan(bird)
    (bird.parent / "split.json").write_text(json.dumps({"train": ["bird", "other", "gone"], "holdout": []}))
    with caplog.at_level(logging.WARNING):
        reports = {report.name: report for report in verify.verify(bird.parent)}
    assert not reports["other"].findings
    assert [finding.check for finding in reports["bird"].findings] == ["finite"]
    assert "no folder holds it" in reports["gone"].findings[0].what
    assert [record.message.split(":")[0] for record in caplog.records] == ["bird"]  # one line per finding


def test_a_part_scaled_to_nothing_need_not_be_seen_and_points_elsewhere_must() -> None:
    cube = trimesh.creation.box(extents=(0.2, 0.2, 0.2))
    whole, speck = cube.vertices.astype(np.float32), (1e-5 * cube.vertices + [0.3, 0.1, 0]).astype(np.float32)
    mesh = Mesh(np.concatenate([whole, speck]), np.concatenate([cube.faces, cube.faces + 8]).astype(np.int64))
    camera = sphere_cameras(1, np.random.default_rng(0))[0]
    picture = render_views(plain(Mesh(whole, cube.faces.astype(np.int64))), (camera,), 64)[
        0
    ]  # as when all rays miss the speck
    files = verify_files.FrameFiles(None, None, mesh, mesh, (camera,), {0: picture}, None, None)
    drawn = cube.sample(200).astype(np.float32)
    for place, faults in [([0.3, 0.1, 0], 0), ([0.3, -0.2, 0], 1)]:
        points = np.concatenate([drawn, np.tile(np.float32(place), (50, 1))])
        found = [finding.what for finding in verify_masks.check_masks(files, points, 0.001, 0)]
        assert len([what for what in found if "fall outside the mask" in what]) == faults, found


def test_every_view_is_looked_at_in_some_frame() -> None:
    assert {view for frame in range(8) for view in verify_masks.views_of(frame, 24)} == set(range(24))
    assert verify_masks.views_of(3, 1) == (0,) and verify_masks.views_of(0, 0) == ()


def test_findings_alike_become_one_that_names_all_frames() -> None:
    one = Finding("box", "points are off by 1", "move them", (4,))
    merged = merge([one, Finding("files", "gone", "again"), one._replace(frames=(5,)), one._replace(frames=(9,))])
    assert [finding.frames for finding in merged] == [(4, 5, 9), ()]
    assert merged[0].what == "points are off by 1, and 2 more like it"
    assert spell((4, 5, 6, 9)) == "frames 4-6, 9" and spell((3,)) == "frame 3"


def test_a_folder_without_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no object there"):
        verify.verify(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        verify.verify(tmp_path / "nothing")


@pytest.mark.slow
def test_the_command_ends_with_status_1_when_something_is_wrong(bird: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "prepare.py"), f"verify={bird}", f"hydra.run.dir={tmp_path / 'run'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    clean = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert clean.returncode == 0, clean.stderr
    open_a_hole(bird)
    wrong = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert wrong.returncode == 1 and "verify.html" in wrong.stderr and "Traceback" not in wrong.stderr
    assert "bird: watertight (frame 2)" in wrong.stdout + wrong.stderr
