"""AdamW with warm-up and decay over the parameters that train."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from sculpt4d.config.settings import OptimisationSettings
from sculpt4d.training.steps import rate_factor


@dataclass(frozen=True)
class Optimisation(OptimisationSettings):
    """Defaults are the base's published values (spec 5.1); the peak rate is Sculpt4D's (release, training.base_lr)."""

    def build(self, parameters: Iterable[nn.Parameter], steps: int) -> dict[str, Any]:
        """What Lightning's configure_optimizers returns."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        optimiser = torch.optim.AdamW(
            trained, lr=self.rate, betas=self.betas, eps=self.eps, weight_decay=self.decay, fused=self.fused
        )
        factor = partial(rate_factor, warmup=self.warmup, total=steps, final=self.final)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
