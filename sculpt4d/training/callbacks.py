"""Training callbacks: EMA of the weights, checkpoints, throughput, mesh previews, stop on NaN.

`StopOnNan` ends the run before the step, so the last good checkpoint is kept.
"""

import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from sculpt4d.files import move_into_place
from sculpt4d.generation.pipeline import Pipeline
from sculpt4d.generation.preview import contact_sheet, render_sequence
from sculpt4d.generation.surface import Surface
from sculpt4d.sampler import Euler
from sculpt4d.training.module import FlowModule
from sculpt4d.training.optim import move_average
from sculpt4d.training.strategies import reshard

STOPPED = (
    "training stopped, the last good checkpoint is kept; lower stage.optimisation.rate, or use "
    "trainer.precision=32-true"
)


class TrainedAverage(Callback):
    """EMA of the trained parameters, used in validation and in the exported weights.

    Lightning's own callback copies the whole model. This one copies only the trained part, sharded as the model is.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"average decay {decay}: must be in [0, 1)")
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.steps = 0

    def _trained(self, module: lightning.LightningModule) -> dict[str, torch.nn.Parameter]:
        return {name: value for name, value in module.named_parameters() if value.requires_grad}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._place(pl_module)

    def _place(self, module: lightning.LightningModule) -> None:
        """Create or restore the EMA on the device and with the sharding of the parameters."""
        for name, value in self._trained(module).items():
            known = self.average.get(name, value.detach().clone())
            if isinstance(value, DTensor) and not isinstance(known, DTensor):
                known = distribute_tensor(known.to(value.device), value.device_mesh, value.placements)
            self.average[name] = known.to(value.device)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step <= self.steps:  # within gradient accumulation
            return
        self.steps = trainer.global_step
        trained = self._trained(pl_module)
        move_average([self.average[name] for name in trained], list(trained.values()), self.decay, self.steps)

    @torch.no_grad()
    def swap(self, module: lightning.LightningModule) -> None:
        """Swap the module's weights and the EMA. A second call restores them."""
        reshard(module)
        self._place(module)
        for name, value in self._trained(module).items():
            kept = value.detach().clone()
            value.copy_(self.average[name])
            self.average[name].copy_(kept)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.average:
            self.swap(pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.average:
            self.swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": {name: whole(value) for name, value in self.average.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.average = state_dict["steps"], state_dict["average"]


def whole(value: Tensor) -> Tensor:
    """Gather a sharded tensor; return any other value unchanged."""
    return value.full_tensor() if isinstance(value, DTensor) else value


class LastLosses(Callback):
    """Keep the last validation losses. They survive an interrupted and resumed run."""

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.losses = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/")}

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses = state_dict["losses"]


class LastCheckpoint(Callback):
    """Write `last.ckpt` atomically every `every` steps and at the end, never with non-finite weights."""

    def __init__(self, dirpath: str, every: int) -> None:
        self.path, self.every, self.written = Path(dirpath) / "last.ckpt", every, -1

    def _write(self, trainer: lightning.Trainer) -> None:
        if trainer.global_step == self.written:
            return
        for value in trainer.lightning_module.parameters():
            local = value.to_local() if isinstance(value, DTensor) else value
            if value.requires_grad and not torch.isfinite(local).all():
                raise ValueError(f"the weights are not finite after step {trainer.global_step}: {STOPPED}")
        self.written = trainer.global_step
        # Lightning's temporary file is in /tmp: moving it here may copy, and a kill would leave a truncated file
        partial = self.path.with_name(".last.partial")
        try:
            trainer.save_checkpoint(partial)
            if trainer.is_global_zero:
                move_into_place(partial, self.path)  # a file, or a folder under DeepSpeed
        except OSError:
            if trainer.is_global_zero and partial.is_file():
                partial.unlink()
            raise

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step and trainer.global_step % self.every == 0:
            self._write(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._write(trainer)


class Throughput(Callback):
    """Log batches per second, data loading included, between two log lines."""

    def __init__(self) -> None:
        self.since, self.batches = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += 1
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            now = time.perf_counter()
            pl_module.log("train/steps_per_second", self.batches / max(now - self.since, 1e-9))
            self.since, self.batches = now, 0


class MeshPreview(Callback):
    """At validation, generate one held-out clip and log an image (input above, mesh below) to `folder` and W&B."""

    def __init__(self, folder: str, sampler: Euler, resolution: int = 48) -> None:
        self.folder, self.sampler, self.resolution = Path(folder), sampler, resolution

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not isinstance(pl_module, FlowModule) or not (trainer.is_global_zero or pl_module.sharded):
            return
        clip = trainer.datamodule.holdout[0]  # type: ignore[attr-defined]
        parts = (pl_module.vae, pl_module.conditioner, pl_module.denoiser)
        # a sharded network gathers its weights only in its own forward, hence no projection outside it
        surface, whole_model = Surface(self.resolution), not pl_module.sharded
        pipeline = Pipeline(*parts, self.sampler, surface, pl_module.device, project=whole_model)
        sequence = pipeline.generate(clip.images.to(pl_module.device), seed=0)
        if not trainer.is_global_zero:
            return
        inputs = [(255 * image).byte().permute(1, 2, 0).cpu().numpy() for image in clip.images]
        sheet = contact_sheet(inputs, render_sequence(sequence, 128), cell=128)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{trainer.global_step:06d}.png"
        Image.fromarray(sheet).save(path)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):  # W&B
                logger.log_image("val/preview", [str(path)], step=trainer.global_step)


class StopOnNan(Callback):
    """Raise on a non-finite loss before the step is taken. The last checkpoint is not overwritten."""

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {trainer.global_step}: {STOPPED}")
