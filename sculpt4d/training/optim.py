"""AdamW with warm-up and decay over the parameters that train."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from sculpt4d.training.steps import rate_factor


@dataclass(frozen=True)
class Optimisation:
    """Defaults are the base's published values (spec 5.1); the peak rate is Sculpt4D's (release, training.base_lr)."""

    rate: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-6
    decay: float = 1e-2
    warmup: int = 50
    final: float = 1e-3
    fused: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))

    def build(self, parameters: Iterable[nn.Parameter], steps: int) -> dict[str, Any]:
        """What Lightning's configure_optimizers returns."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        optimiser = torch.optim.AdamW(
            trained, lr=self.rate, betas=self.betas, eps=self.eps, weight_decay=self.decay, fused=self.fused
        )
        factor = partial(rate_factor, warmup=self.warmup, total=steps, final=self.final)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
