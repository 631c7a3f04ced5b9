"""Euler sampler: integrates the predicted velocity from noise to latents, with guidance (base spec 4.3 and 4.4)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sculpt4d.config.settings import SamplerSettings

# (latents, time, context) to velocity. `sample` passes its context on, whatever its type. The context belongs to
# the first clips of the batch. The remaining clips (all of them if it is None) are unconditional.
Denoise = Callable[[Float[Tensor, "b t p c"], Float[Tensor, " b"], Any], Float[Tensor, "b t p c"]]


def shifted_times(start: float, end: float, count: int, shift: float) -> Float[Tensor, " {count}"]:
    """`count` equally spaced times from `start` to `end`, both included, each mapped to s t / (1 + (s - 1) t)."""
    linear = torch.linspace(start, end, count)
    return shift * linear / (1 + (shift - 1) * linear)


@dataclass(frozen=True)
class Euler(SamplerSettings):
    """Euler sampler with classifier-free guidance.

    steps: network evaluations. guidance: 1 is the conditional velocity; above 1 extrapolates away from the
    unconditional. shift: below 1 spends more steps near the noise. share: fraction of noise shared by the frames, 0 to
    1. halves_in_turn: evaluate the conditional and unconditional half one after the other; same velocity, less memory.

    The flow times are `steps + 1` shifted ones from 0 to 1. The release counts the N points of the path, the last of
    which is an empty step: its 50 is steps = 49.
    """

    def times(self) -> Float[Tensor, " n"]:
        """Flow times of the path from 0 to 1; `steps + 1` values."""
        return shifted_times(0.0, 1.0, self.steps + 1, self.shift)

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoise,
        noise: Float[Tensor, "b t p c"],
        context: Any,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float[Tensor, "b t p c"]:
        """Latents at time 1, in float32, as between all steps. `progress(done, steps)` is called after every step."""
        latents, times = noise.float(), self.times().to(noise.device)
        for index, (now, then) in enumerate(pairwise(times)):
            latents = latents + (then - now) * self._velocity(denoise, latents, now, context)
            if progress is not None:
                progress(index + 1, self.steps)
        return latents

    def _velocity(self, denoise: Denoise, latents: Tensor, time: Tensor, context: Any) -> Float[Tensor, "b t p c"]:
        """Guided velocity v = v_null + guidance (v_condition - v_null). The conditional half comes first."""
        times = time.expand(latents.shape[0])
        if self.guidance in (0, 1):
            return denoise(latents, times, context if self.guidance else None)
        if self.halves_in_turn:
            condition, null = denoise(latents, times, context), denoise(latents, times, None)
        else:
            condition, null = denoise(torch.cat([latents, latents]), torch.cat([times, times]), context).chunk(2)
        return null + self.guidance * (condition - null)
