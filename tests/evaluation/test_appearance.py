"""evaluate.py metrics=appearance: meshes and pictures of every layout, what is refused, and what the result says."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from PIL import Image

from sculpt4d.evaluation import appearance_objects
from sculpt4d.evaluation.appearance.compare import Appearance
from sculpt4d.evaluation.appearance.draw import OUTSIDE, draw_motion, place
from sculpt4d.evaluation.appearance.images import cropped, find_pictures, on_white, read_view
from sculpt4d.evaluation.inputs.layouts import find_motions
from sculpt4d.evaluation.inputs.reading import read_motion
from sculpt4d.evaluation.metrics.motion import Motion
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.report import read_row, report, table
from sculpt4d.evaluation.run import evaluate
from sculpt4d.generation.export import write_obj
from sculpt4d.generation.preview import write_video
from sculpt4d.geometry.bounds import Box
from sculpt4d.render.cameras import front_camera, ring_cameras, write_transforms
from sculpt4d.types import Mesh

from . import judges

Run = Callable[..., dict]
SIZE = 32


def write_clip(folder: Path, meshes: list[Mesh]) -> None:
    folder.mkdir(parents=True)
    for number, mesh in enumerate(meshes):
        write_obj(folder / f"frame_{number:04d}.obj", mesh, "test")


def write_stills(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")


def stills(seed: int, count: int = 10, size: int = SIZE, channels: int = 3) -> np.ndarray:
    """Pictures of a disc of its own colour that moves over white."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    frames = np.full((count, size, size, channels), 255, np.uint8)
    for number, frame in enumerate(frames):
        inside = (rows - 0.5) ** 2 + (columns - 0.35 - 0.02 * number) ** 2 < 0.06
        frame[inside, :3] = rng.integers(0, 200, 3)
        if channels == 4:
            frame[~inside, 3] = 0
    return frames


@pytest.fixture
def weights(tmp_path: Path) -> list[str]:
    """Overrides that name a small network for every measure."""
    writers = {
        "lpips": judges.write_lpips,
        "clip": judges.write_clip,
        "fvd": judges.write_i3d,
        "dreamsim": judges.write_dreamsim,
    }
    given = {name: write(tmp_path) for name, write in writers.items()}
    return [f"metrics.networks.{name}.{key}={path}" for name, keys in given.items() for key, path in keys.items()]


@pytest.fixture
def clips(shapes: SimpleNamespace, tmp_path: Path) -> Path:
    """truth/{a,b} and method/{a,b}: boxes that grow, and the same half as large and elsewhere, ten frames each."""
    for name, width in (("a", 0.5), ("b", 0.75)):
        cube = shapes.cube(1.0)
        truth = [
            Mesh((cube.vertices * (1.0, width, 0.3 + 0.05 * step)).astype(np.float32), cube.faces) for step in range(10)
        ]
        write_clip(tmp_path / "truth" / name, truth)
        write_clip(tmp_path / "method" / name, [Mesh(0.5 * m.vertices + np.float32(3), m.faces) for m in truth])
    return tmp_path


@pytest.fixture
def run(tmp_path: Path, weights: list[str], configure: Callable[..., DictConfig]) -> Run:
    """Evaluates with small networks; metrics.json as a dict."""

    def evaluated(*overrides: str, output: str = "out") -> dict:
        sides = [f"predictions={tmp_path}/method", f"ground_truth={tmp_path}/truth", f"output={tmp_path}/{output}"]
        small = [f"metrics.size={SIZE}", "metrics.azimuths=[0,90]", "executor=serial", "device=cpu"]
        evaluate(configure("evaluate", "metrics=appearance", *sides, *small, *weights, *overrides))
        return json.loads((tmp_path / output / "metrics.json").read_text())

    return evaluated


def test_a_clip_looks_like_itself(run: Run, clips: Path) -> None:
    record = run(f"predictions={clips}/truth", "method=itself")
    assert record["mean"] == pytest.approx(record["floor"], abs=1e-4)
    assert record["floor"] == {"lpips": 0, "clip": 1, "dreamsim": 0, "fvd": 0}
    assert (record["objects"], record["frames"], record["failures"]) == (2, 20, 0)


def test_another_pose_looks_different_until_it_is_aligned(run: Run, clips: Path) -> None:
    """The prediction is the truth, half as large and moved away: outside of every picture before the alignment."""
    first = run()
    apart = first["mean"]
    small = ["protocol.alignment.points=500", "protocol.alignment.coarse_points=200", "protocol.points=500"]
    second = run("protocol=sculpt4d", *small, output="aligned")
    together = second["mean"]
    said = [[OUTSIDE in entry["notes"] for entry in record["per_object"]] for record in (first, second)]
    assert said == [[True, True], [False, False]]
    assert apart["lpips"] > 3 * together["lpips"] and apart["dreamsim"] > 3 * together["dreamsim"]
    assert apart["clip"] < together["clip"] and apart["fvd"] > 3 * together["fvd"]


def test_the_result_names_networks_with_their_hashes_cameras_and_placement(run: Run, clips: Path) -> None:
    record = run()
    protocol = record["protocol"]
    file = clips / "vgg16.pth"
    assert protocol["networks"]["lpips"]["vgg16.pth"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(protocol["networks"]) == {"lpips", "clip", "fvd", "dreamsim"}
    assert len(protocol["networks"]["dreamsim"]) == 5
    assert record["networks"]["lpips"]["weights"] == str(file)
    assert [camera["azimuth"] for camera in protocol["cameras"]] == pytest.approx([-np.pi / 2, 0])
    assert (protocol["name"], protocol["size"], protocol["placement"]["name"]) == ("appearance", SIZE, "holdout")
    assert "Fréchet" in protocol["definitions"]["fvd"] and record["versions"]["torch"]


def test_missing_networks_are_all_named_before_anything_is_drawn(
    clips: Path, configure: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(clips / "cache"))
    sides = [f"predictions={clips}/method", f"ground_truth={clips}/truth", f"output={clips}/out"]
    with pytest.raises(ValueError, match="networks are missing") as refusal:
        evaluate(configure("evaluate", "metrics=appearance", *sides))
    told = str(refusal.value)
    assert "hf download timm/vgg16.tv_in1k" in told and "hf download openai/clip-vit-base-patch32" in told
    assert told.count("metrics.download=true fetches it") == 2
    assert "i3d_pretrained_400.pt" in told and "dreamsim_ensemble_checkpoint.zip" in told
    assert not (clips / "out").exists()


def test_networks_can_be_left_out(run: Run, clips: Path) -> None:
    record = run(
        "metrics.measures=[lpips]", "metrics.networks.clip.weights=nowhere", "metrics.networks.fvd.weights=null"
    )
    assert set(record["mean"]) == {"lpips"} == set(record["protocol"]["networks"])
    with pytest.raises(ValueError, match=r"nowhere(.|\n)*measures=\[lpips\]|measures=\[lpips\](.|\n)*nowhere"):
        run("metrics.measures=[lpips,clip]", "metrics.networks.clip.weights=nowhere")
    with pytest.raises(InstantiationException, match="choose among lpips, clip, fvd, dreamsim"):
        run("metrics.measures=[ssim]")


def test_a_second_run_draws_and_compares_only_what_changed(
    run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, asked = run(), []
    real = appearance_objects.pair_views
    monkeypatch.setattr(
        appearance_objects, "pair_views", lambda *sides: asked.append(sides[0].path.parent.name) or real(*sides)
    )
    assert run()["mean"] == first["mean"] and asked == []
    path = clips / "method" / "b" / "frame_0000.obj"
    path.write_text(path.read_text().replace("3.25", "3.3"))
    run()
    assert asked == ["b"]
    run("metrics.azimuths=[0,45]")
    assert asked == ["b", "a", "b"]


def test_what_cannot_be_compared_is_named_and_the_run_goes_on(run: Run, clips: Path, shapes: SimpleNamespace) -> None:
    cube = shapes.cube()
    method, truth = clips / "method", clips / "truth"
    write_clip(method / "short", [cube] * 2)
    write_clip(method / "long", [cube] * 12)
    broken = Mesh(np.full_like(cube.vertices, np.nan), cube.faces)
    write_clip(method / "not_finite", [cube, broken, *[cube] * 8])
    write_clip(method / "no_truth", [cube])
    (method / "cloud").mkdir()
    np.save(method / "cloud" / "surfaces.npy", np.stack([shapes.sphere(1.0).vertices] * 10))
    for name in ("short", "long", "not_finite", "cloud", "missing"):
        write_clip(truth / name, [cube] * 10)
    record = run("metrics.measures=[lpips]")
    failed = record["failed_objects"]
    assert sorted(failed) == ["cloud", "missing", "short"] and record["without_ground_truth"] == ["no_truth"]
    assert "2 frames were predicted, the ground truth has 10" in failed["short"]
    assert "give the pictures" in failed["cloud"]
    assert (record["objects"], record["failures"], record["success_rate"]) == (4, 1, 4 / 7)
    entries = {entry["name"]: entry for entry in record["per_object"]}
    assert entries["long"]["notes"] == ["first 10 of 12 frames used"]
    assert entries["not_finite"]["failed_frames"] == 1 and entries["not_finite"]["values"]["lpips"] > 0


def test_pictures_of_others_are_compared_as_they_are(run: Run, tmp_path: Path) -> None:
    for view in ("eval_0", "eval_1"):
        write_stills(tmp_path / "truth" / "a" / view, stills(0))
        write_stills(tmp_path / "method" / "a" / view, stills(3, count=11))
    write_stills(tmp_path / "truth" / "b" / "eval_0", stills(1))
    write_stills(tmp_path / "method" / "b" / "other", stills(2))
    write_stills(tmp_path / "truth" / "c" / "eval_0", stills(1))
    write_stills(tmp_path / "method" / "c" / "eval_0", stills(1))
    write_stills(tmp_path / "method" / "c" / "eval_1", stills(1))
    record = run()
    entries = {entry["name"]: entry for entry in record["per_object"]}
    assert list(entries) == ["a", "b"] and "2 views of the prediction" in record["failed_objects"]["c"]
    assert entries["a"]["values"]["lpips"] > 0
    assert any("first 10 of 11 pictures" in note for note in entries["a"]["notes"])
    assert entries["b"]["layouts"] == {"prediction": "pictures", "ground_truth": "pictures"}


def test_meshes_are_compared_with_pictures_through_given_cameras(
    run: Run, tmp_path: Path, shapes: SimpleNamespace
) -> None:
    """Pictures drawn of the very meshes with the cameras of a file: nothing differs but rounding."""
    motion = Motion(tuple(shapes.cube(2.0 - 0.05 * step) for step in range(10)))
    cameras = (front_camera(), *ring_cameras((70,), 30, 40))
    transforms = tmp_path / "transforms.json"
    transforms.write_text(json.dumps(write_transforms(cameras, Box(np.zeros(3, np.float32), np.float32(1)))))
    draw_motion(motion, cameras, SIZE, tmp_path / "truth" / "a")
    write_clip(tmp_path / "method" / "a", [Mesh(5 * frame.vertices, frame.faces) for frame in motion.frames])
    record = run(f"metrics.cameras={transforms}", "metrics.measures=[lpips,clip]")
    assert record["mean"] == pytest.approx({"lpips": 0, "clip": 1}, abs=1e-3)
    assert "not aligned" in record["per_object"][0]["notes"][0]
    with pytest.raises(ValueError, match="none of the 1 objects"):
        run("metrics.azimuths=[0]")
    transforms.write_text("{}")
    with pytest.raises(ValueError, match="holds no cameras"):
        run(f"metrics.cameras={transforms}")


def test_a_crop_takes_position_and_size_out_of_the_comparison(run: Run, tmp_path: Path) -> None:
    frames = stills(0, channels=4)
    wide = np.zeros((10, 80, 80, 4), np.uint8)
    wide[:, 40 : 40 + SIZE, 8 : 8 + SIZE] = frames
    write_stills(tmp_path / "truth" / "a", frames)
    write_stills(tmp_path / "method" / "a", wide)
    measures = "metrics.measures=[lpips,dreamsim]"
    apart = run(measures)["mean"]["lpips"]
    assert run(measures, "metrics.crop=true", output="cropped")["mean"]["lpips"] < 0.01 * apart


def test_short_clips_have_no_fvd_and_the_reason_is_said(run: Run, tmp_path: Path) -> None:
    for side in ("truth", "method"):
        write_stills(tmp_path / side / "a", stills(0, count=8))
        write_stills(tmp_path / side / "b", stills(1, count=8))
    record = run()
    assert record["mean"]["fvd"] is None and record["mean"]["lpips"] == 0
    assert "9 frames" in record["absent"]["fvd"]
    with pytest.raises(InstantiationException, match="9 frames"):
        run("metrics.window=8")


def test_windows_cut_long_clips_into_several(run: Run, tmp_path: Path) -> None:
    """One object gives no covariance as a whole, but does as two clips."""
    for side, seed in (("truth", 0), ("method", 1)):
        write_stills(tmp_path / side / "a", stills(seed, count=19))
    assert run()["mean"]["fvd"] is None
    assert run("metrics.window=9", output="cut")["mean"]["fvd"] > 0


def test_pictures_moved_to_another_view_are_compared_again(run: Run, tmp_path: Path) -> None:
    for side, seed in (("truth", 0), ("method", 1)):
        write_stills(tmp_path / side / "a", stills(seed, count=4))
    first = run("metrics.measures=[lpips]")
    for side in ("truth", "method"):
        folder = tmp_path / side / "a"
        for number in range(4):
            view = folder / f"view_{number // 2}"
            view.mkdir(exist_ok=True)
            (folder / f"{number}.png").rename(view / f"{number}.png")
    second = run("metrics.measures=[lpips]")
    assert (first["frames"], second["frames"]) == (4, 2)


@pytest.mark.parametrize("damage", ["", '{"name": "a"', "[]"])
def test_a_damaged_record_of_pictures_is_made_again(
    damage: str, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for side, seed in (("truth", 0), ("method", 1)):
        write_stills(tmp_path / side / "a", stills(seed, count=4))
    first = run("metrics.measures=[lpips]")
    (kept,) = (tmp_path / "out").rglob("drawn.json")
    kept.write_text(damage)
    again = run("metrics.measures=[lpips]")
    assert again["mean"]["lpips"] == first["mean"]["lpips"] and again["failed_objects"] == {}
    assert f"{kept} is damaged" in caplog.text


def test_a_part_of_the_objects_can_be_named(run: Run, clips: Path) -> None:
    record = run("objects=[b,c]", "metrics.measures=[lpips]")
    assert [entry["name"] for entry in record["per_object"]] == ["b"]
    assert record["failed_objects"] == {} and record["without_ground_truth"] == ["c"]
    assert record["success_rate"] == 1


def test_nothing_compared_ends_with_the_reasons_on_disk(run: Run, tmp_path: Path) -> None:
    for side, count in (("truth", 10), ("method", 9)):
        write_stills(tmp_path / side / "a", stills(0, count=count))
    with pytest.raises(ValueError, match="none of the 1 objects"):
        run()
    assert "9 pictures" in json.loads((tmp_path / "out" / "metrics.json").read_text())["failed_objects"]["a"]


def test_settings_that_cannot_run_are_refused(
    run: Run, clips: Path, configure: Callable[..., DictConfig], weights: list[str]
) -> None:
    with pytest.raises(ValueError, match="predictions="):
        evaluate(configure("evaluate", "metrics=appearance", *weights))
    with pytest.raises(ValueError, match="protocol=actionbench"):
        run("protocol=actionbench")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run("predictions=nowhere")
    for override in ("metrics.size=0", "metrics.azimuths=[]", "metrics.field=200", "metrics.batch=0"):
        with pytest.raises(InstantiationException, match=override.split("=")[0].split(".")[1]):
            run(override)


def test_tables_show_the_four_measures_and_refuse_other_networks(run: Run, clips: Path) -> None:
    run(output="one"), run("metrics.networks.lpips.heads=null", "metrics.measures=[clip]", output="two")
    rows = [read_row(clips / name) for name in ("one", "two")]
    assert "| LPIPS ↓ | CLIP ↑ | FVD ↓ | DreamSim ↓ |" in table(rows[:1])
    with pytest.raises(ValueError, match="different protocols"):
        report([clips / "one", clips / "two"])


def test_drawn_pictures_show_the_clay_on_nothing(tmp_path: Path, shapes: SimpleNamespace) -> None:
    draw_motion(Motion((shapes.cube(1.0), shapes.EMPTY)), ring_cameras((0,), 0, 35), SIZE, tmp_path / "a")
    full, empty = read_view(tmp_path / "a" / "00")
    assert full[SIZE // 2, SIZE // 2, 3] == 255 and full[0, 0, 3] == 0 and not empty.any()
    white = on_white([full, empty], SIZE, "here")
    assert (white[0, 0, 0] == 255).all() and (white[1] == 255).all() and (white[0, SIZE // 2, SIZE // 2] < 255).any()


def test_ring_cameras_see_the_whole_box_from_the_named_sides() -> None:
    front, left = ring_cameras((0, 90), 0, 35)
    assert front.to_mesh()[:3, 3] == pytest.approx([0, 0, front.distance])
    assert left.to_mesh()[:3, 3] == pytest.approx([left.distance, 0, 0])
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    for camera in ring_cameras((-75, 15, 105, 195), 20, 50):
        pose = camera.to_mesh()
        seen = (corners - pose[:3, 3]) @ pose[:3, :3]
        assert (np.abs(seen[:, :2]) / -seen[:, 2:]).max() < np.tan(np.radians(25))


def test_the_prediction_is_placed_by_the_box_of_the_truth(shapes: SimpleNamespace) -> None:
    truth, predicted = Motion((shapes.cube(4.0),)), Motion((shapes.cube(2.0),))
    placed, inside = place(predicted, truth, Protocol())
    assert np.abs(inside.frames[0].vertices).max() == pytest.approx(1)
    assert np.abs(placed.frames[0].vertices).max() == pytest.approx(0.5)


def test_every_layout_of_pictures_is_found(tmp_path: Path) -> None:
    frames = stills(0, count=11, size=64)
    write_stills(tmp_path / "many" / "a" / "eval_0", frames)
    write_video(tmp_path / "many" / "a" / "eval_1.mp4", list(frames), 8.0, seconds=0.1)
    write_stills(tmp_path / "many" / "b", frames)
    write_video(tmp_path / "many" / "c.mp4", list(frames), 8.0, seconds=0.1)
    (tmp_path / "many" / "empty").mkdir()
    found = find_pictures(tmp_path / "many")
    assert {name: list(entry.views) for name, entry in found.items()} == {
        "a": ["eval_0", "eval_1"],
        "b": ["0"],
        "c": ["0"],
    }
    assert [file.name for file in found["b"].files] == [f"{number}.png" for number in range(11)]  # 2 before 10
    assert len(read_view(found["c"].views["0"])) == 11
    assert list(find_pictures(tmp_path / "many" / "b")) == ["b"]
    assert list(find_pictures(tmp_path / "many" / "c.mp4")) == ["c"]
    assert find_pictures(tmp_path / "many" / "empty") == {}


def test_a_clip_of_generate_is_meshes_although_pictures_lie_beside_them(
    tmp_path: Path, shapes: SimpleNamespace
) -> None:
    write_clip(tmp_path / "clip", [shapes.cube()] * 2)
    Image.new("RGB", (8, 8)).save(tmp_path / "clip" / "contact_sheet.png")
    (tmp_path / "clip" / "generation.json").write_text(json.dumps({"outputs": {"fps": 8}}))
    (found,) = appearance_objects.find_sides(tmp_path / "clip").values()
    assert found == find_motions(tmp_path / "clip")["clip"] and len(read_motion(found, 2).frames) == 2


def test_transparent_pixels_become_white_and_odd_pictures_are_refused() -> None:
    frame = np.zeros((4, 4, 4), np.uint8)
    frame[0, 0] = (10, 20, 30, 128)
    (white,) = on_white([frame], 4, "here")
    assert white[0, 0].tolist() == [132, 137, 142] and (white[1:] == 255).all()
    with pytest.raises(ValueError, match="here has pictures of 3x4"):
        on_white([frame[:, :3]], 4, "here")
    with pytest.raises(ValueError, match="no picture"):
        on_white([], 4, "here")
    assert (cropped([np.zeros((8, 8, 4), np.uint8)], 4, "here") == 255).all()


def test_damaged_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"0\.png"):
        read_view(tmp_path)


def test_the_settings_of_the_configuration_are_the_defaults(configure: Callable[..., DictConfig]) -> None:
    given = configure("evaluate", "metrics=appearance").metrics
    assert {name: given[name] for name in ("size", "azimuths", "elevation", "field", "window", "batch", "crop")} == {
        name: list(value) if isinstance(value := getattr(Appearance(), name), tuple) else value
        for name in ("size", "azimuths", "elevation", "field", "window", "batch", "crop")
    }
