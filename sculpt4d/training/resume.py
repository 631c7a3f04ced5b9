"""Resumable checkpoints: hold only the trained part, and are resumed only by the run that wrote them."""

import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from sculpt4d import identity
from sculpt4d.files import write_json
from sculpt4d.training.recipe import FILE, compared

log = logging.getLogger(__name__)
KEY = "sculpt4d"


class TrainedOnly(Callback):
    """Remove frozen weights from checkpoints (they come from the base's own file) and record the owner."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        pl_module.strict_loading = False  # the frozen part is not in the file

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        frozen = {name for name, value in pl_module.named_parameters() if not value.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}
        checkpoint[KEY] = self.description


class KeepRecipe(Callback):
    """Write the run's identity into its folder before the first checkpoint."""

    def __init__(self, folder: Path, cfg: DictConfig) -> None:
        self.path, self.content = folder / FILE, compared(cfg)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.content)


def last_checkpoint(folder: Path, description: dict[str, Any]) -> Path | None:
    """Path of the run's `checkpoints/last.ckpt`, or None. Raises ValueError if it belongs to another model or stage."""
    path = folder / "checkpoints" / "last.ckpt"
    if path.is_dir():  # a sharded checkpoint, which is checked by the strategy that reads it
        return path
    if not path.is_file():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get(KEY)
    except Exception as error:
        raise ValueError(f"{path} is not a readable checkpoint ({error}): delete it to start again") from error
    if found is None or found.keys() != description.keys() or identity.disagreeing(found, description):
        raise ValueError(
            f"{path} was written by {found}, this run is {description}: choose another output, or delete it"
        )
    return path
