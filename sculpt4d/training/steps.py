"""What makes a resumed run equal an unbroken one: random numbers, rates and decays that depend on the step alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


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
    """Moves `average` in place towards `values`, the weights after step n = 1, 2, ... of training.

    The average keeps min(decay, (1 + n) / (10 + n)) of itself (base spec 5.1), so early weights are soon forgotten.
    """
    torch._foreach_lerp_(list(average), list(values), 1 - min(decay, (1 + step) / (10 + step)))
