"""python train.py sweep=NAME: which runs there are, what they share, and that none is made twice."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from sculpt4d.sweeps import job as sweep_job
from sculpt4d.sweeps.plan import SweepJob, SweepRun, merge, plan_sweep

CONF = Path(__file__).resolve().parents[2] / "conf"
SWEEPS = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))
Configure = Callable[..., DictConfig]
Script = Callable[..., subprocess.CompletedProcess[str]]
# two steps of the nano model: what it answers means nothing, that it is answered does
QUICK = ["stage.steps=2", "stage.val_every=2", "stage.save_every=2", "logger=none", "~callbacks.checkpoint"]


@pytest.fixture
def planned(configure: Configure, tmp_path: Path) -> Callable[..., list[SweepJob]]:
    """The jobs of a sweep: planned("masks", "seeds=[0]", given=["stage.steps=2"])."""

    def plan(sweep: str, *options: str, given: tuple[str, ...] = ()) -> list[SweepJob]:
        folders = [f"sweep.folder={tmp_path}/{sweep}", f"sweep.trained={tmp_path}/trained", "output=."]
        own = [option if option.startswith("+") else f"sweep.{option}" for option in options]
        return plan_sweep(configure("train", f"sweep={sweep}", *folders, *own), given)

    return plan


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_run_of_every_sweep_composes_for_training_and_evaluation(
    sweep: str, planned: Callable[..., list[SweepJob]]
):
    assert {run.seed for job in planned(sweep) for run in job.runs} == {0, 1, 2}
    jobs = planned(sweep, "seeds=[0]")
    runs = [run for job in jobs for run in job.runs]
    names = [run.result.name for run in runs]
    assert len(names) == len(set(names)) and all(run.result.suffix == ".json" for run in runs)
    assert len({run.key for run in runs}) == len(runs), "two variants are the same"
    for job in jobs:
        for run in job.runs:
            cfg = run.config.build()
            assert list(cfg.seeds) == [run.seed] and cfg.limit == 24
            if job.training is not None:
                trained = job.training.config.build()
                assert trained.seed == run.seed and trained.stage.steps == 1500
                assert trained.attention == cfg.attention and trained.model == cfg.model


def test_the_mask_sweep_differs_in_the_mask_alone(planned: Callable[..., list[SweepJob]]):
    jobs = planned("masks", "seeds=[1]")
    assert len(jobs) == 6
    configs = [job.training.config.build() for job in jobs if job.training]
    assert len({str(cfg.attention) for cfg in configs}) == 6
    for cfg in configs:
        for part in ("model", "flow", "data", "trainer", "stage", "seed"):
            assert cfg[part] == configs[0][part]


def test_tests_at_four_lengths_share_one_training(planned: Callable[..., list[SweepJob]]):
    jobs = planned("length")
    assert len(jobs) == 3
    for job in jobs:
        assert job.training is not None and job.training.config.build().frames == 8
        configs = [run.config.build() for run in job.runs]
        assert [cfg.frames for cfg in configs] == [4, 8, 16, 32]
        assert [cfg.data.prepare.frames for cfg in configs] == [4, 8, 16, 32]
        assert len({cfg.data.root for cfg in configs}) == 4


def test_a_job_that_was_cut_off_keeps_the_results_it_left(
    planned: Callable[..., list[SweepJob]], monkeypatch: pytest.MonkeyPatch
):
    (job,) = planned("length", "seeds=[0]")
    finished, *others = job.runs
    finished.result.parent.mkdir(parents=True)
    finished.result.write_text(json.dumps({"key": finished.key}))
    measured: list[SweepRun] = []
    monkeypatch.setattr(sweep_job, "train_once", lambda training: None)
    monkeypatch.setattr(sweep_job, "measure", lambda job, run, weights: measured.append(run))
    sweep_job.perform(job)
    assert measured == others


def test_what_one_sweep_trained_serves_the_others(planned: Callable[..., list[SweepJob]]):
    def trained(sweep: str, variant: str) -> str:
        (job,) = planned(sweep, f"only=[{variant}]", "seeds=[2]")
        assert job.training is not None
        return job.training.config.output

    ours = trained("masks", "blockmask_decay")
    assert trained("length", "blockmask_decay_frames16") == ours
    assert trained("shapegen4d", "no_image_tokens") == trained("masks", "full") != ours
    assert trained("shapegen4d", "no_time_shift") == trained("shapegen4d", "shapegen4d") != ours


def test_the_baselines_train_nothing(planned: Callable[..., list[SweepJob]]):
    assert all(job.training is None for job in planned("baselines"))


@pytest.mark.parametrize(
    "given",
    [
        "stage.steps=7",
        "stage.optimisation.rate=0.5",
        "data.clips=9",
        "flow.share=0.5",
        "model.weights.base=x",
        "trainer.gradient_clip_val=9",
    ],
)
def test_another_setting_is_another_training_and_another_result(given: str, planned: Callable[..., list[SweepJob]]):
    (before,), (after,) = (planned("masks", "only=[full]", "seeds=[0]", given=more) for more in ((), (given,)))
    assert before.training and after.training
    assert before.training.key != after.training.key
    assert before.runs[0].key != after.runs[0].key


def test_the_command_of_a_run_names_it_and_no_folder(planned: Callable[..., list[SweepJob]]):
    (job,) = planned(
        "masks", "only=[full]", "seeds=[1]", given=("paths.runs=somewhere", "data.root=/somewhere", "stage.steps=3")
    )
    assert job.runs[0].command == "python train.py sweep=masks sweep.only=[full] sweep.seeds=[1] stage.steps=3"


@pytest.mark.parametrize(
    "given, remedy",
    [("attention=full", r"sweep\.only"), ("seed=3", r"sweep\.seeds"), ("output=x", r"sweep\.folder")],
)
def test_what_the_sweep_decides_is_refused_on_the_command_line(
    given: str, remedy: str, planned: Callable[..., list[SweepJob]]
):
    with pytest.raises(ValueError, match=rf"{given}: sweep=masks decides this itself; use {remedy}"):
        planned("masks", given=(given,))


@pytest.mark.parametrize(
    "option, told",
    [
        ("only=[ful]", "no variant ful: choose among blockmask_decay, .*full"),
        ("seeds=[]", "leave no run"),
        ("+sweep.variants.full.eval=[x]", r"sweep\.variants\.full has eval: it may hold both, evaluate"),
    ],
)
def test_a_mistyped_sweep_is_refused(option: str, told: str, planned: Callable[..., list[SweepJob]]):
    with pytest.raises(ValueError, match=told):
        planned("masks", option)


def test_of_overrides_for_one_key_the_last_holds():
    assert merge(["a=1", "b=2", "~c.d"], ["a=3"], ["+c.d=4"]) == ("a=3", "b=2", "+c.d=4")


@pytest.mark.slow
def test_a_sweep_leaves_a_result_for_every_run_and_repeats_none(script: Script, nano: list[str], tmp_path: Path):
    places = [f"paths.runs={tmp_path}", "sweep.seeds=[0,1]"]
    command = ["train.py", "sweep=masks", "sweep.only=[blockmask_decay,full]", *places, *nano, *QUICK]
    done = script(*command)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "sweep" / "masks" / "results"
    assert sorted(path.stem for path in results.iterdir()) == [
        f"{variant}_seed{seed}" for variant in ("blockmask_decay", "full") for seed in (0, 1)
    ]
    assert len(list((tmp_path / "sweep" / "trained").glob("seed*/temporal.safetensors"))) == 4
    record = json.loads((results / "full_seed1.json").read_text())
    assert record["sweep"] == "masks" and record["variant"] == "full" and record["seed"] == 1
    assert record["steps"] == 2 and record["frames"] == record["trained_frames"] == 4
    assert record["protocol"]["name"] == "holdout" and record["attention"]["density"] == 1
    assert {"chamfer", "iou", "fscore", "volume_jitter_error"} <= record["mean"].keys() & record["floor"].keys()
    assert {"val/loss", "val/loss_time_0.25"} <= record["loss"].keys()
    assert set(record["families"]) <= {"seen", "unseen"} and record["objects"] == len(set(record["names"])) == 3
    assert len(record["weights"]) == 64 and str(tmp_path) not in json.dumps(record)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results.iterdir()}

    (results / "full_seed0.json").unlink()
    again = script(*command)
    assert again.returncode == 0, again.stderr
    assert "4 runs, 1 of 4 trainings with their evaluations to do" in again.stdout + again.stderr
    for path, (changed, content) in before.items():
        if path.stem == "full_seed0":
            was, now = json.loads(content), json.loads(path.read_text())
            assert all(now[name] == was[name] for name in ("mean", "weights", "loss", "key"))
        else:
            assert path.stat().st_mtime_ns == changed


@pytest.mark.slow
def test_a_run_that_fails_is_named_with_its_log_and_the_others_go_on(script: Script, nano: list[str], tmp_path: Path):
    broken = "+sweep.variants.full.evaluate=['protocol=actionbench']"
    places = [f"paths.runs={tmp_path}", "sweep.seeds=[0]", "sweep.workers=1", broken]
    done = script("train.py", "sweep=masks", "sweep.only=[full,no_anchor]", *places, *nano, *QUICK)
    assert done.returncode == 1
    assert "full_seed0: ValueError: protocol=actionbench measures folders" in done.stderr and "log.txt" in done.stderr
    results = tmp_path / "sweep" / "masks" / "results"
    assert [path.stem for path in results.iterdir()] == ["no_anchor_seed0"]
