"""AdamW with warm-up and decay of the learning rate; EMA update."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sculpt4d.config.settings import OptimisationSettings


def step_generator(*key: int) -> torch.Generator:
    """A CPU generator seeded by (seed, batch, rank, ...)."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def rate_factor(step: int, warmup: int, total: int, final: float, start: float = 1e-6) -> float:
    """Learning rate over its peak: linear warm-up from `start`, then half a cosine to `final` (base spec 5.1)."""
    if step < warmup:
        return start + (1 - start) * step / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) / 2 * (1 + float(np.cos(np.pi * progress)))


@torch.no_grad()
def move_average(average: Sequence[Tensor], values: Sequence[Tensor], decay: float, step: int) -> None:
    """Update the EMA `average` in place with `values`, the weights after training step n = 1, 2, ...

    The decay is min(decay, (1 + n) / (10 + n)) (base spec 5.1), so early weights are quickly forgotten.
    """
    torch._foreach_lerp_(list(average), list(values), 1 - min(decay, (1 + step) / (10 + step)))


@dataclass(frozen=True)
class Optimisation(OptimisationSettings):
    """Optimiser settings. Defaults are the base's published values (spec 5.1).

    The peak learning rate is Sculpt4D's (release, training.base_lr).
    """

    def build(self, parameters: Iterable[nn.Parameter], steps: int) -> dict[str, Any]:
        """Return the optimiser and schedule in the format of Lightning's configure_optimizers."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        optimiser = torch.optim.AdamW(
            trained, lr=self.rate, betas=self.betas, eps=self.eps, weight_decay=self.decay, fused=self.fused
        )
        factor = partial(rate_factor, warmup=self.warmup, total=steps, final=self.final)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
