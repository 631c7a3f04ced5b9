"""evaluate.py on folders: pairing, failures by name, resumption, workers, floors, and bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.evaluations import evaluations
from experiments.report import markdown
from experiments.table import main
from sculpt4d.evaluation import folders
from sculpt4d.evaluation.run import evaluate
from sculpt4d.generation.export import write_obj
from sculpt4d.types import Mesh

Run = Callable[..., dict]


def write_clip(folder: Path, meshes: list[Mesh]) -> None:
    folder.mkdir(parents=True)
    for number, mesh in enumerate(meshes):
        write_obj(folder / f"frame_{number:04d}.obj", mesh, "test")


@pytest.fixture
def clips(shapes: SimpleNamespace, tmp_path: Path) -> Path:
    """truth/{a,b} and method/{a,b}: boxes that grow, and the same half as large and turned, three frames each."""
    for name, width in (("a", 0.5), ("b", 0.75)):
        meshes = [shapes.cube(1.0) for _ in range(3)]
        truth = [
            Mesh((mesh.vertices * (1.0, width, 0.3 + 0.1 * step)).astype(np.float32), mesh.faces)
            for step, mesh in enumerate(meshes)
        ]
        write_clip(tmp_path / "truth" / name, truth)
        turned = [Mesh(0.5 * mesh.vertices[:, [1, 2, 0]] + np.float32(3), mesh.faces) for mesh in truth]
        write_clip(tmp_path / "method" / name, turned)
    return tmp_path


@pytest.fixture
def run(clips: Path, configure: Callable[..., DictConfig]) -> Run:
    """Evaluates `method` against `truth`; metrics.json as a dict."""

    def evaluated(*overrides: str, protocol: str = "sculpt4d", output: str = "out", executor: str = "serial") -> dict:
        sides = [f"predictions={clips}/method", f"ground_truth={clips}/truth", f"output={clips}/{output}"]
        small = ["protocol.points=500"]
        if protocol in ("sculpt4d", "none", "holdout"):
            small.append("protocol.resolution=16")
        if protocol == "sculpt4d":
            small += ["protocol.alignment.points=500", "protocol.alignment.coarse_points=200"]
        if protocol == "actionbench":
            small += ["protocol.alignment_points=60", "protocol.steps=5", "protocol.queries=200"]
        evaluate(configure("evaluate", *sides, f"protocol={protocol}", f"executor={executor}", *small, *overrides))
        return json.loads((clips / output / "metrics.json").read_text())

    return evaluated


def test_a_turned_and_scaled_copy_gets_the_floor_where_it_is_aligned(run: Run) -> None:
    record = run()
    assert record["objects"] == 2 and record["failed_objects"] == {}
    assert record["mean"]["chamfer"] == pytest.approx(record["floor"]["chamfer"], rel=0.1)
    assert record["mean"]["iou"] > 0.9 and record["floor"]["iou"] == 1
    assert run(protocol="none", output="raw")["mean"]["chamfer"] > 1


@pytest.mark.parametrize("protocol", ["sculpt4d", "actionbench", "motion324", "none", "holdout"])
def test_every_protocol_states_its_constants_and_its_floor(protocol: str, run: Run) -> None:
    record = run(protocol=protocol)
    assert record["protocol"]["name"] == protocol == record["settings"]["protocol"]["name"]
    assert record["protocol"]["points"] == 500
    assert record["protocol"]["definitions"]["alignment"]
    assert record["mean"].keys() == record["floor"].keys()
    assert all(entry["floor"] for entry in record["per_object"])


@pytest.mark.slow
def test_equal_seeds_repeat_whatever_the_number_of_processes(run: Run) -> None:
    first, second = run(), run("workers=2", output="again", executor="pool")
    assert [entry["values"] for entry in first["per_object"]] == [entry["values"] for entry in second["per_object"]]
    assert run("seed=1", output="other")["mean"]["chamfer"] != first["mean"]["chamfer"]


def test_a_second_run_measures_only_what_changed(run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, asked = run(), []
    real = folders.read_motion
    monkeypatch.setattr(
        folders, "read_motion", lambda found, *rest: asked.append(found.path.name) or real(found, *rest)
    )
    assert run()["mean"] == first["mean"] and asked == []
    path = clips / "method" / "b" / "frame_0000.obj"
    path.write_text(path.read_text().replace("3.25", "3.3"))
    run()
    assert asked == ["b", "b"]
    run("protocol.points=501")
    assert asked == ["b", "b", "a", "a", "b", "b"]


@pytest.mark.parametrize("damage", ["", '{"name": "a"', '{"name": "a"}', "[]"])
def test_a_damaged_result_is_measured_again(
    damage: str, run: Run, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run()
    (kept,) = (clips / "out" / "objects").glob("*/a.json")
    kept.write_text(damage)
    again = run()
    assert again["mean"] == first["mean"] and again["failed_objects"] == {}
    assert f"{kept} is damaged" in caplog.text


def test_frames_without_a_surface_are_told_with_their_object(
    run: Run, clips: Path, shapes: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for side, second in (("method", shapes.EMPTY), ("truth", shapes.cube())):
        write_clip(clips / side / "hollow", [shapes.cube(), second, second])
    run(protocol="none")
    assert "no surface in 2 of 3 frames, counted as failed: hollow" in capsys.readouterr().out


def test_what_cannot_be_measured_is_named_and_the_run_goes_on(run: Run, clips: Path, shapes: SimpleNamespace) -> None:
    cube = shapes.cube()
    broken = Mesh(np.full_like(cube.vertices, np.nan), cube.faces)
    method, truth = clips / "method", clips / "truth"
    write_clip(method / "short", [cube] * 2)
    write_clip(method / "first_empty", [shapes.EMPTY, cube, cube])
    write_clip(method / "not_finite", [cube, broken, cube])
    write_clip(method / "long", [cube] * 4)
    write_clip(method / "no_truth", [cube] * 3)
    (method / "nothing").mkdir()
    (method / "damaged").mkdir()
    (method / "damaged" / "out.glb").write_bytes(b"no glTF at all, but long enough for a header")
    write_clip(method / "unclear", [cube] * 3)
    for number in range(3):
        write_obj(method / "unclear" / f"other_{number}.obj", cube, "test")
    for name in ("short", "first_empty", "not_finite", "long", "nothing", "missing", "damaged", "unclear"):
        write_clip(truth / name, [cube] * 3)
    record = run()
    failed = record["failed_objects"]
    assert sorted(failed) == ["damaged", "first_empty", "missing", "nothing", "short", "unclear"]
    assert record["without_ground_truth"] == ["no_truth"]
    assert "out.glb" in failed["damaged"] and "several series" in failed["unclear"]
    assert "2 frames were predicted, the ground truth has 3" in failed["short"]
    assert "no prediction" in failed["missing"]
    assert "frame 0 of the prediction has no surface" in failed["first_empty"]
    assert (record["objects"], record["success_rate"], record["failures"]) == (4, 4 / 10, 1)
    notes = {entry["name"]: entry["notes"] for entry in record["per_object"]}
    assert notes["long"] == ["prediction: first 3 of 4 frames used"]


def test_a_prediction_without_ground_truth_is_a_note_and_no_failure(
    run: Run, clips: Path, shapes: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(clips / "method" / "extra", [shapes.cube()] * 3)
    record = run()
    assert record["failed_objects"] == {} and record["success_rate"] == 1
    assert "2 of 2 objects measured" in (told := capsys.readouterr().out)
    assert "without ground truth, not counted: extra" in told
    text = markdown(evaluations([clips / "out"]))
    assert "| 2 |" in text and "2 of 3" not in text and "Without ground truth in out, not counted: extra" in text


def test_lone_objects_of_other_names_pair_only_where_one_was_named_by_its_path(run: Run, clips: Path) -> None:
    for side, name in (("method", "cat"), ("truth", "dog")):
        shutil.rmtree(clips / side / "b")
        (clips / side / "a").rename(clips / side / name)
    with pytest.raises(ValueError, match="none of the 1 objects"):
        run()
    record = json.loads((clips / "out" / "metrics.json").read_text())
    assert list(record["failed_objects"]) == ["dog"] and record["without_ground_truth"] == ["cat"]
    chosen = {"predictions": clips / "method" / "cat", "ground_truth": clips / "truth" / "dog"}
    for sides in (["predictions"], ["ground_truth"], ["predictions", "ground_truth"]):
        record = run(*[f"{side}={chosen[side]}" for side in sides])
        assert [entry["name"] for entry in record["per_object"]] == ["dog"] and record["failed_objects"] == {}


def test_frame_rates_that_differ_are_noted_and_printed(
    run: Run, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for side, fps in (("method", 12), ("truth", 8)):
        (clips / side / "a" / "generation.json").write_text(json.dumps({"outputs": {"fps": fps}}))
    notes = {entry["name"]: entry["notes"] for entry in run()["per_object"]}
    assert "frame rates differ (12 and 8 per second)" in notes["a"][0] and notes["b"] == []
    assert "noted in 1 objects: frame rates differ" in capsys.readouterr().out.replace("\n", " ")


def test_only_the_chosen_objects_are_measured(run: Run, clips: Path) -> None:
    record = run("objects=[b,c]")
    assert [entry["name"] for entry in record["per_object"]] == ["b"]
    assert record["failed_objects"] == {} and record["without_ground_truth"] == ["c"]
    assert record["success_rate"] == 1
    with pytest.raises(ValueError, match="the ground truth has none of the objects c, d"):
        run("objects=[d,c]")
    with pytest.raises(ValueError, match="holdout or train"):
        run("objects=test")
    with pytest.raises(FileNotFoundError, match=r"split\.json"):
        run("objects=holdout")


def test_odd_meshes_are_measured(run: Run, clips: Path, shapes: SimpleNamespace) -> None:
    cube = shapes.cube()
    triangle = Mesh(cube.vertices[:3], np.array([[0, 1, 2]]))
    holed = Mesh(cube.vertices, cube.faces[2:])
    for name, mesh in (("triangle", triangle), ("holed", holed)):
        write_clip(clips / "method" / name, [mesh] * 3)
        write_clip(clips / "truth" / name, [cube] * 3)
    record = run("protocol.alignment=null")
    objects = {entry["name"]: entry for entry in record["per_object"]}
    assert record["open_frames"] == 6 and objects["holed"]["open_frames"] == 3
    assert objects["holed"]["values"]["iou"] > 0.8  # generalised winding numbers close the hole
    assert objects["triangle"]["values"]["iou"] == 0 and objects["triangle"]["failed_frames"] == 0


@pytest.mark.slow
def test_objects_that_take_too_much_memory_are_named(run: Run, clips: Path) -> None:
    with pytest.raises(ValueError, match="none of the 2 objects"):
        run("memory=0.01", executor="pool")
    failed = json.loads((clips / "out" / "metrics.json").read_text())["failed_objects"]
    assert sorted(failed) == ["a", "b"] and all("executor.memory" in reason for reason in failed.values())


def test_clouds_have_no_solid_and_no_followed_points(run: Run, clips: Path, shapes: SimpleNamespace) -> None:
    points = np.stack([shapes.sphere(1.0).vertices] * 3)
    for side in ("method", "truth"):
        (clips / side / "cloud").mkdir()
        np.save(clips / side / "cloud" / "surfaces.npy", points)
    entry = {e["name"]: e for e in run("protocol.points=5000")["per_object"]}["cloud"]
    assert "5000 are drawn twice: its floor is too low" in entry["notes"][-1]
    entry = {e["name"]: e for e in run()["per_object"]}["cloud"]
    assert not any("too low" in note for note in entry["notes"])
    assert entry["values"]["iou"] is None and "encloses nothing" in entry["absent"]["iou"]
    assert entry["values"]["chamfer"] == pytest.approx(entry["floor"]["chamfer"], rel=0.25)
    entry = {e["name"]: e for e in run(protocol="actionbench", output="bench")["per_object"]}["cloud"]
    assert entry["values"]["cd_m"] is None and "faces" in entry["absent"]["cd_m"]


def test_nothing_measured_ends_with_the_reasons_on_disk(run: Run, clips: Path) -> None:
    for name in ("a", "b"):
        (clips / "method" / name / "frame_0002.obj").unlink()
    with pytest.raises(ValueError, match="none of the 2 objects"):
        run()
    assert len(json.loads((clips / "out" / "metrics.json").read_text())["failed_objects"]) == 2


def test_a_measurement_has_limits_of_its_own_and_is_not_repeated(configure: Callable[..., DictConfig]) -> None:
    limits = [
        (pool.timeout, pool.memory, pool.retries)
        for pool in (instantiate(configure(root).executor) for root in ("evaluate", "prepare"))
    ]
    assert limits == [(7200, 8, 0), (1800, 4, 1)]


def test_one_side_alone_and_missing_folders_are_refused(clips: Path, configure: Callable[..., DictConfig]) -> None:
    with pytest.raises(ValueError, match="belong together"):
        evaluate(configure("evaluate", f"predictions={clips}/method"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate(configure("evaluate", "predictions=nowhere", f"ground_truth={clips}/truth", f"output={clips}/out"))


@pytest.mark.parametrize("option", ["limit=1", "baseline=per_frame", "checkpoint=runs/train/mine"])
def test_options_of_the_holdout_are_refused(option: str, run: Run) -> None:
    with pytest.raises(ValueError, match=f"{option.split('=')[0]}: of the holdout"):
        run(option)


def test_one_object_each_need_not_be_named_alike(run: Run, clips: Path) -> None:
    record = run(f"predictions={clips}/method/a", f"ground_truth={clips}/truth/a")
    assert [entry["name"] for entry in record["per_object"]] == ["a"]


def test_a_table_of_different_protocols_is_refused(run: Run, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(output="one"), run(protocol="actionbench", output="two"), run("protocol.radius=0.05", output="three")
    one, two, three = (clips / name for name in ("one", "two", "three"))
    assert "| one | 2 |" in markdown(evaluations([one])) and "CD-4D" in markdown(evaluations([two]))
    with pytest.raises(ValueError, match=r"one/.* and .*two/.* were measured with different protocols.*name"):
        evaluations([one, two])
    with pytest.raises(ValueError, match="radius"):
        evaluations([one, three])
    with pytest.raises(SystemExit):
        main(["evaluations", str(one), str(two)])
    assert "different protocols" in capsys.readouterr().err
