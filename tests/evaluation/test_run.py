"""The whole evaluation with a fake pipeline and fake data: what metrics.json holds."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from experiments.results import read_runs
from sculpt4d.checkpoints.stored import save_weights
from sculpt4d.data import store
from sculpt4d.evaluation import run
from sculpt4d.types import Clip, MeshSequence

ROOT = Path(__file__).resolve().parents[2]


def configure(output: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        options = ["model=nano", f"paths.root={output}", f"output={output}", "seeds=[0,1]", *overrides]
        return compose("evaluate", overrides=[*options, "protocol.points=200", "protocol.resolution=16"])


@pytest.fixture
def calls(shapes: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the pipeline was asked for; two objects, of which the second is of a family never trained on."""
    asked: list[str] = []
    clip = Clip(torch.zeros(4, 3, 2, 2), torch.zeros(4, 5, 7), torch.arange(2), torch.zeros(4, 0, 3), torch.zeros(4, 0))
    truth = shapes.sequence(*[shapes.cube(2.0)] * 4)
    families = {"t": "gear", "a": "gear", "b": "snake"}

    class FakePipeline:
        def generate(self, images: torch.Tensor, seed: int) -> MeshSequence:
            asked.append("generate")
            return shapes.sequence(*[shapes.cube(1.0 + seed)] * len(images))

        def reconstruct(self, clip: Clip, seed: int) -> MeshSequence:
            asked.append("reconstruct")
            return truth

    monkeypatch.setattr(run, "load_pipeline", lambda cfg: FakePipeline())
    monkeypatch.setattr(run, "build_data", lambda cfg: (("t",), ("a", "b")))
    monkeypatch.setattr(run, "read_held_out", lambda folder, settings: (clip, truth))
    monkeypatch.setattr(run, "read_record", lambda folder: {"family": families[folder.name]})
    return asked


def test_metrics_json_says_what_was_measured_and_how(calls: list[str], tmp_path: Path) -> None:
    chamfer = run.evaluate(configure(tmp_path))
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["mean"]["chamfer"] == chamfer
    assert record["mean"]["iou"] == pytest.approx((1 / 8 + 1) / 2)
    assert (record["objects"], record["frames"], record["failures"]) == (2, 16, 0)
    assert [entry["name"] for entry in record["per_object"]] == ["a", "b"]
    assert {name: split["objects"] for name, split in record["splits"].items()} == {"seen": 1, "unseen": 1}
    assert record["protocol"]["points"] == 200
    assert {"failed_chamfer", "definitions", "radius", "radii", "box"} <= record["protocol"].keys()
    assert record["settings"]["weights"] == dict.fromkeys(("vae", "conditioner", "denoiser", "temporal"))
    assert {"seconds", "versions", "hardware", "seeds", "spread", "floor"} <= record.keys()
    assert read_runs([tmp_path])[0].variant == "4d"


def test_the_same_command_again_generates_nothing(calls: list[str], tmp_path: Path) -> None:
    first = run.evaluate(configure(tmp_path))
    assert calls == ["generate"] * 4
    assert run.evaluate(configure(tmp_path)) == first
    assert len(calls) == 4
    run.evaluate(configure(tmp_path, "sampler.guidance=3"))
    assert len(calls) == 8


def test_method_names_a_run_on_the_holdout_and_changes_nothing_else(calls: list[str], tmp_path: Path) -> None:
    run.evaluate(configure(tmp_path))
    before = json.loads((tmp_path / "metrics.json").read_text())
    run.evaluate(configure(tmp_path, "method=mine"))
    after = json.loads((tmp_path / "metrics.json").read_text())
    assert (before.pop("method"), after.pop("method")) == ("4d", "mine")
    assert {**before, "seconds": 0} == {**after, "seconds": 0}
    assert len(calls) == 4  # results are kept by settings, which a name is none of


def test_limit_takes_fewer_objects(calls: list[str], tmp_path: Path) -> None:
    run.evaluate(configure(tmp_path, "limit=1"))
    assert json.loads((tmp_path / "metrics.json").read_text())["objects"] == 1
    with pytest.raises(ValueError, match="limit=0"):
        run.evaluate(configure(tmp_path, "limit=0"))


@pytest.mark.parametrize("option", ["objects=[a]", "pattern=*.obj"])
def test_options_of_folders_are_refused(option: str, calls: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{option.split('=')[0]}: of predictions=DIR"):
        run.evaluate(configure(tmp_path, option))


def test_reconstruction_asks_the_autoencoder(calls: list[str], tmp_path: Path) -> None:
    run.evaluate(configure(tmp_path, "baseline=reconstruction"))
    assert calls == ["reconstruct"] * 4
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert (record["method"], record["mean"]["iou"]) == ("reconstruction", 1)
    assert "temporal" not in record["settings"]["weights"]


def test_other_weights_are_other_settings(tmp_path: Path) -> None:
    weights = tmp_path / "temporal.safetensors"
    hashes = []
    for value in (1.0, 2.0):
        tensors = {"denoiser.blocks.0.temporal.to_q.weight": torch.full((2,), value)}
        save_weights(weights, tensors, {"stage": "temporal"})
        hashes.append(run.weight_hashes(configure(tmp_path, f"checkpoint={weights}"))["temporal"])
    assert hashes[0].keys() == hashes[1].keys() == {weights.name} and hashes[0] != hashes[1]


def test_metrics_reach_the_logger(calls: list[str], tmp_path: Path) -> None:
    run.evaluate(configure(tmp_path, "logger=csv"))
    (path,) = tmp_path.rglob("metrics.csv")
    assert "test/chamfer" in path.read_text().splitlines()[0]


def test_another_checkpoint_in_the_same_folder_is_told(
    calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, replaced in (("first", False), ("second", True), ("second", False)):
        monkeypatch.setattr(run, "weight_hashes", lambda cfg, name=name: {"vae": None, "temporal": {"a": name}})
        caplog.clear()
        run.evaluate(configure(tmp_path, f"checkpoint={name}"))
        told = [record.getMessage() for record in caplog.records if "is replaced" in record.getMessage()]
        assert bool(told) == replaced
        assert all("checkpoint=first" in line and "other weights in temporal:" in line for line in told)


def test_what_a_run_asked_for_is_what_it_measures_though_others_ask_for_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that makes a smaller set of the same folder as soon as it may."""

    def write(root: Path, train: list[str], holdout: list[str]) -> None:
        (root / "split.json").write_text(json.dumps({"train": train, "holdout": holdout}))

    @contextmanager
    def file_lock(root: Path) -> Iterator[None]:
        yield
        write(root, ["a"], ["b"])

    monkeypatch.setattr(run, "file_lock", file_lock)
    monkeypatch.setattr(store, "complete", lambda folder: True)
    monkeypatch.setattr(run, "instantiate", lambda build: lambda root: write(root, ["a", "c"], ["b", "d"]))
    assert run.build_data(configure(tmp_path, f"data.root={tmp_path}")) == (("a", "c"), ("b", "d"))


def test_no_seeds_and_no_objects_are_refused(calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="seeds"):
        run.evaluate(configure(tmp_path, "seeds=[]"))
    monkeypatch.setattr(run, "build_data", lambda cfg: (("t",), ()))
    with pytest.raises(ValueError, match="the holdout is empty"):
        run.evaluate(configure(tmp_path))
