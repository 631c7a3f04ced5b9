from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sculpt4d.training.callbacks import LastCheckpoint, LastLosses, StopOnNan, TrainedAverage
from sculpt4d.training.resume import TrainedOnly, last_checkpoint


class Line(lightning.LightningModule):
    """One weight that trains, one that does not; from step `broken` on the loss (or the gradient) is NaN."""

    def __init__(self, broken: int = 10**6, gradient_only: bool = False) -> None:
        super().__init__()
        self.moving, self.frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
        self.broken, self.gradient_only = broken, gradient_only

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        loss = (self.moving * batch).square().mean()
        if index < self.broken:
            return loss
        if self.gradient_only:  # finite, with an infinite slope
            return loss + (self.moving - self.moving.detach()).abs().sqrt().sum()
        return loss * torch.nan

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.log("val/loss", self.moving.square().sum())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.moving], lr=0.1)


def train(module: Line, folder: Path, steps: int, *callbacks: Any, **options: Any) -> lightning.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, callbacks=list(callbacks), default_root_dir=folder, **quiet, **options
    )
    loader = DataLoader(torch.ones(steps, 2), batch_size=1)
    trainer.fit(module, loader, DataLoader(torch.ones(1, 2)))
    return trainer


@pytest.mark.parametrize("gradient_only", [False, True])
def test_nan_stops_training_and_keeps_the_last_good_checkpoint(tmp_path: Path, gradient_only: bool):
    module = Line(broken=5, gradient_only=gradient_only)
    with pytest.raises(ValueError, match="last good checkpoint is kept"):
        train(module, tmp_path, 12, StopOnNan(), LastCheckpoint(str(tmp_path), every=2))
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 4
    assert kept["state_dict"]["moving"].isfinite().all()


def test_the_average_follows_its_formula_and_leaves_frozen_weights_out(tmp_path: Path):
    average, seen = TrainedAverage(0.9), [torch.ones(2)]

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            seen.append(pl_module.moving.detach().clone())

    train(Line(), tmp_path, 6, average, Watch())
    wanted = seen[0]
    for number, value in enumerate(seen[1:], start=1):
        decay = min(0.9, (1 + number) / (10 + number))
        wanted = decay * wanted + (1 - decay) * value
    assert set(average.average) == {"moving"}
    assert torch.allclose(average.average["moving"], wanted)


def test_swapping_twice_changes_nothing():
    average, module = TrainedAverage(0.5), Line()
    average.average = {"moving": torch.full((2,), 7.0)}
    average.swap(module)
    assert torch.equal(module.moving, torch.full((2,), 7.0))
    average.swap(module)
    assert torch.equal(module.moving, torch.ones(2))
    assert torch.equal(average.average["moving"], torch.full((2,), 7.0))


def test_validation_sees_the_average_and_training_goes_on_without_it(tmp_path: Path):
    average, measured = TrainedAverage(0.99), LastLosses()
    module = Line()
    train(module, tmp_path, 4, average, measured, val_check_interval=4, check_val_every_n_epoch=None)
    assert measured.losses["val/loss"] == pytest.approx(average.average["moving"].square().sum().item())
    assert module.moving.square().sum().item() < measured.losses["val/loss"]


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay: float):
    with pytest.raises(ValueError, match="average decay"):
        TrainedAverage(decay)


def test_a_checkpoint_is_written_every_so_often_and_at_the_end(tmp_path: Path):
    written = []

    class Recording(LastCheckpoint):
        def _write(self, trainer: lightning.Trainer) -> None:
            super()._write(trainer)
            written.append(trainer.global_step)

    train(Line(), tmp_path, 7, Recording(str(tmp_path), every=3))
    assert written == [3, 6, 7]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")

    def full_disk(self: lightning.Trainer, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", full_disk)
    with pytest.raises(OSError, match="No space"):
        train(Line(), tmp_path, 2, LastCheckpoint(str(tmp_path), 1))
    assert path.read_bytes() == b"old"


DESCRIPTION = {"model": "nano", "stage": "temporal", "attention": "A"}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run with a checkpoint of DESCRIPTION."""
    callbacks = TrainedOnly(DESCRIPTION), LastCheckpoint(str(tmp_path / "checkpoints"), 2)
    train(Line(), tmp_path, 2, *callbacks)
    return tmp_path


def test_the_checkpoint_of_the_same_run_is_found(run_folder: Path):
    assert last_checkpoint(run_folder, DESCRIPTION) == run_folder / "checkpoints" / "last.ckpt"
    assert last_checkpoint(run_folder / "elsewhere", DESCRIPTION) is None


@pytest.mark.parametrize("key, value", [("model", "tiny"), ("attention", "B"), ("stage", "base")])
def test_the_checkpoint_of_another_model_or_attention_is_refused_by_name(run_folder: Path, key: str, value: str):
    with pytest.raises(ValueError, match="was written by") as problem:
        last_checkpoint(run_folder, DESCRIPTION | {key: value})
    assert str(run_folder / "checkpoints" / "last.ckpt") in str(problem.value)
    assert value in str(problem.value) and DESCRIPTION[key] in str(problem.value)


def test_a_cut_off_checkpoint_is_refused_by_name(run_folder: Path):
    path = run_folder / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="not a readable checkpoint") as problem:
        last_checkpoint(run_folder, DESCRIPTION)
    assert str(path) in str(problem.value)
