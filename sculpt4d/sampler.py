"""From noise to latents: Euler steps along the predicted velocity, with guidance (base spec 4.3 and 4.4)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

Denoise = Callable[[Float[Tensor, "b t p c"], Float[Tensor, " b"], Float[Tensor, "b t s x"]], Float[Tensor, "b t p c"]]


@dataclass(frozen=True)
class Euler:
    """steps: network evaluations. guidance: 1 follows the condition alone, above 1 exaggerates it.
    shift: below 1 spends more steps near the noise. share: noise shared by the frames, 0 to 1.

    Times are `steps + 1` equally spaced values from 0 to 1, each moved to s t / (1 + (s - 1) t). The release counts
    the N points of the path, the last of which makes an empty step: its 50 is steps = 49.
    """

    steps: int = 49
    guidance: float = 5.0
    shift: float = 1.0
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"sampler.steps={self.steps}: at least one step is needed")
        if self.guidance < 0:
            raise ValueError(f"sampler.guidance={self.guidance}: must be 0 (no condition) or more; 1 is no guidance")
        if self.shift <= 0:
            raise ValueError(f"sampler.shift={self.shift}: must be positive; 1 is equal steps")
        if not 0 <= self.share <= 1:
            raise ValueError(f"sampler.share={self.share}: must be from 0 (own noise) to 1 (one noise for the clip)")

    def times(self) -> Float[Tensor, " n"]:
        """Flow times of the path, 0 to 1, `steps + 1` of them."""
        linear = torch.linspace(0, 1, self.steps + 1)
        return self.shift * linear / (1 + (self.shift - 1) * linear)

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoise,
        noise: Float[Tensor, "b t p c"],
        context: Float[Tensor, "b t s x"],
        progress: Callable[[int, int], None] | None = None,
    ) -> Float[Tensor, "b t p c"]:
        """Latents at time 1. `progress(done, steps)` is called after every step."""
        latents, times = noise, self.times().to(noise.device)
        for index, (now, then) in enumerate(pairwise(times)):
            latents = latents + (then - now) * self._velocity(denoise, latents, now, context)
            if progress is not None:
                progress(index + 1, self.steps)
        return latents

    def _velocity(self, denoise: Denoise, latents: Tensor, time: Tensor, context: Tensor) -> Float[Tensor, "b t p c"]:
        """Conditional half first, zeros as the null condition: v = v_null + guidance (v_condition - v_null)."""
        if self.guidance == 1:
            return denoise(latents, time.expand(latents.shape[0]), context)
        both = denoise(
            torch.cat([latents, latents]),
            time.expand(2 * latents.shape[0]),
            torch.cat([context, torch.zeros_like(context)]),
        )
        condition, null = both.chunk(2)
        return null + self.guidance * (condition - null)
