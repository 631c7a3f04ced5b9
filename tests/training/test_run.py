"""train.py as a person runs it: the chain of stages, interruption, several processes, several runs, loggers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file

from sculpt4d.checkpoints.stored import description
from sculpt4d.training.run import fit

pytestmark = pytest.mark.slow
Script = Callable[..., subprocess.CompletedProcess[str]]
BARE = ["logger=none", "~callbacks.preview"]


@pytest.fixture(scope="module")
def chain(script: Script, nano: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all three stages in one command, previews and W&B included."""
    folder = tmp_path_factory.mktemp("chain")
    done = script("train.py", *nano, "stages=[vae,base,temporal]", "logger=wandb", f"output={folder}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def weights(chain: Path) -> list[str]:
    """Overrides that name the chain's autoencoder and base."""
    return [f"model.weights.{stage}={chain}/{stage}/{stage}.safetensors" for stage in ("vae", "base")]


@pytest.mark.parametrize("stage", ["vae", "base", "temporal"])
def test_the_chain_leaves_the_documented_files(chain: Path, stage: str):
    folder = chain / stage
    tensors = load_file(folder / f"{stage}.safetensors")
    about = json.loads(description(folder / f"{stage}.safetensors")["sculpt4d"])
    assert about["model"] == "nano" and about["stage"] == stage
    assert about["config"]["stage"]["name"] == stage
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert {"best.ckpt", "last.ckpt"} == {path.name for path in (folder / "checkpoints").iterdir()}
    record = json.loads((folder / "metrics.json").read_text())
    assert record["steps"] == 20
    assert 0 < record["metrics"]["val/loss"] < 100
    assert (folder / "csv" / "metrics.csv").read_text().count("\n") > 2


def test_stages_build_on_each_other_and_name_their_own_part_alone(chain: Path):
    base, temporal = (set(load_file(chain / stage / f"{stage}.safetensors")) for stage in ("base", "temporal"))
    assert base and temporal and not base & temporal
    assert all("temporal" in name for name in temporal)
    record = json.loads((chain / "temporal" / "metrics.json").read_text())
    assert record["config"]["model"]["weights"]["base"] == str(chain / "base" / "base.safetensors")


def test_every_stage_is_a_wandb_run_of_its_own_under_its_folder(chain: Path):
    for stage in ("vae", "base", "temporal"):
        assert len(list((chain / stage / "wandb").glob("offline-run-*"))) == 1


def test_a_finished_stage_is_not_repeated_and_keeps_its_numbers(
    chain: Path, nano: list[str], configure: Callable[..., DictConfig]
):
    files = sorted(path for path in (chain / "temporal").glob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    wanted = json.loads((chain / "temporal" / "metrics.json").read_text())["metrics"]["val/loss"]
    loss = fit(configure("train", *nano, *BARE, "stages=[vae,base,temporal]", f"output={chain}"))
    assert loss == wanted
    assert before == {path: path.read_bytes() for path in files}


def test_an_unknown_stage_is_refused_before_any_is_trained(configure: Callable[..., DictConfig], tmp_path: Path):
    with pytest.raises(ValueError, match=r"there is no foo; choose among base, temporal, vae"):
        fit(configure("train", *BARE, "stages=[vae,foo]", f"output={tmp_path}/run"))
    assert not (tmp_path / "run").exists()


def test_a_run_killed_mid_epoch_and_resumed_equals_an_unbroken_one_bit_for_bit(
    script: Script, environment: Mapping[str, str], root: Path, nano: list[str], weights: list[str], tmp_path: Path
):
    steps = ["stage.steps=240", "stage.save_every=23", "stage.val_every=60"]
    command = ["train.py", *nano, *weights, *steps, *BARE]
    cut, unbroken = tmp_path / "cut", tmp_path / "unbroken"
    checkpoint = cut / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        [sys.executable, *command, f"output={cut}"],
        cwd=root,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not checkpoint.is_file() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.05)  # so that steps after the checkpoint are lost
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    reached = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < reached < 240 and not (cut / "temporal.safetensors").exists()

    for folder in (cut, unbroken):
        done = script(*command, f"output={folder}")
        assert done.returncode == 0, done.stderr
    first, second = (load_file(folder / "temporal.safetensors") for folder in (cut, unbroken))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (cut, unbroken)
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    losses = [json.loads((folder / "metrics.json").read_text())["metrics"] for folder in (cut, unbroken)]
    assert losses[0] == losses[1]


def test_a_folder_goes_on_with_the_run_that_began_there_and_no_other(
    nano: list[str], configure: Callable[..., DictConfig], tmp_path: Path
):
    output, first = tmp_path / "run", tmp_path / "first.safetensors"
    few = [*nano, *BARE, "stage=vae", "stage.steps=2", "stage.val_every=2", f"output={output}"]
    fit(configure("train", *few))
    before = (output / "vae.safetensors").read_bytes()
    for other, told in (
        ("seed=1", "seed 0 -> 1"),
        ("stage.optimisation.rate=0.5", "stage.optimisation.rate"),
        ("data.clips=2", "data.clips 3 -> 2"),
        ("start=weights.safetensors", "start None -> weights.safetensors"),
    ):
        with pytest.raises(ValueError, match=f"{output} holds a run with other settings .*{told}.*output="):
            fit(configure("train", *few, other))
    assert (output / "vae.safetensors").read_bytes() == before
    fit(configure("train", *few, "stage.steps=4", "stage.save_every=1"))
    assert json.loads((output / "metrics.json").read_text())["steps"] == 4
    (output / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match=r"recipe\.json is not readable"):
        fit(configure("train", *few))

    shutil.rmtree(output / "checkpoints")
    above = [*few, "stage=base", f"model.weights.vae={first}"]
    first.write_bytes((output / "vae.safetensors").read_bytes())
    fit(configure("train", *above))
    tensors = load_file(first)
    save_file({name: value + 1 for name, value in tensors.items()}, first, description(first))
    with pytest.raises(ValueError, match=r"weights\.vae"):
        fit(configure("train", *above))


def test_two_processes_train_alike_whole_or_sharded(
    script: Script, nano: list[str], weights: list[str], tmp_path: Path
):
    steps = ["stage.steps=4", "stage.val_every=2", "stage.save_every=2"]
    written = []
    for trainer in ("ddp", "fsdp"):
        options = [f"trainer={trainer}", "trainer.accelerator=cpu", "trainer.devices=2", f"output={tmp_path}/{trainer}"]
        done = script("train.py", *nano, *weights, *BARE, *steps, *options)
        assert done.returncode == 0, done.stderr
        written.append(load_file(tmp_path / trainer / "temporal.safetensors"))
        assert json.loads((tmp_path / trainer / "metrics.json").read_text())["steps"] == 4
        kept = torch.load(tmp_path / trainer / "checkpoints" / "last.ckpt", weights_only=True)
        assert kept["global_step"] == 4 and kept["state_dict"]
    assert all(torch.allclose(value, written[1][name], atol=1e-5) for name, value in written[0].items())
    assert any(value.any() for name, value in written[0].items() if name.endswith("out_proj.weight"))


def test_a_sharded_run_trains_every_stage_and_resumes(script: Script, nano: list[str], tmp_path: Path):
    options = [
        "trainer=fsdp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "stages=[vae,base]",
        f"output={tmp_path}",
    ]
    for steps in (2, 4):
        values = f"{{steps: {steps}, val_every: 2, save_every: 2}}"
        done = script("train.py", *nano, *BARE, *options, f"stage_options={{vae: {values}, base: {values}}}")
        assert done.returncode == 0, done.stderr
        for stage in ("vae", "base"):
            assert json.loads((tmp_path / stage / "metrics.json").read_text())["steps"] == steps
            assert torch.load(tmp_path / stage / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps


def test_every_process_waits_until_a_stage_has_written_its_weights(
    nano: list[str], configure: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written = []

    def barrier(strategy: SingleDeviceStrategy, name: str | None = None) -> None:
        written.append((tmp_path / "vae.safetensors").is_file() and (tmp_path / "metrics.json").is_file())

    monkeypatch.setattr(SingleDeviceStrategy, "barrier", barrier)
    fit(configure("train", *nano, *BARE, "stage=vae", "stage.steps=2", "stage.val_every=2", f"output={tmp_path}"))
    assert not written[0] and written[-1]


def test_a_multirun_is_a_run_and_a_folder_for_every_choice(script: Script, nano: list[str], tmp_path: Path):
    options = ["stage.steps=2", "stage.val_every=2", "logger=csv", "~callbacks.preview"]
    places = [f"paths.runs={tmp_path}", "hydra.sweep.subdir=${hydra:runtime.choices.attention}"]
    done = script("train.py", "-m", "attention=blockmask_decay,full", *nano, *options, *places)
    assert done.returncode == 0, done.stderr
    tmp_path = tmp_path / "multirun" / "train"
    for attention in ("blockmask_decay", "full"):
        assert (tmp_path / attention / "temporal.safetensors").is_file()
        assert (tmp_path / attention / "checkpoints" / "last.ckpt").is_file()
    files = [description(tmp_path / a / "temporal.safetensors")["sculpt4d"] for a in ("blockmask_decay", "full")]
    assert json.loads(files[0])["attention"] != json.loads(files[1])["attention"]
