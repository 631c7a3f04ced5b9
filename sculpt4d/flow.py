"""Rectified flow: time 0 is noise, time 1 is data, paths are straight, velocity = data - noise.

Holds the flow time distributions, the noise of a clip, the coupling of noise and data, and the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Float[Tensor, "b t p c"], Float[Tensor, " b"]], Float[Tensor, "b t p c"]]
COUPLINGS = ("none", "frame", "clip")


@dataclass(frozen=True)
class UniformTime:
    """Flow time uniform in [0, 1), as in the training of the base (base spec 4.2)."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Float[Tensor, " b"]:
        return torch.rand(count, generator=generator)


@dataclass(frozen=True)
class LogitNormalTime:
    """Sigmoid of N(mean, deviation), then shifted by sqrt(shift) (the unused option of base spec 4.2)."""

    mean: float = 0.0
    deviation: float = 1.0
    shift: float = 1.0

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Float[Tensor, " b"]:
        return self.times(torch.randn(count, generator=generator))

    def times(self, normal: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Map standard normal samples to flow times."""
        time = torch.sigmoid(self.mean + self.deviation * normal)
        root = self.shift**0.5
        return root * time / (1 + (root - 1) * time)


def clip_noise(
    shape: tuple[int, int, int, int], shared: float, generator: torch.Generator | None = None
) -> Float[Tensor, "b t p c"]:
    """Unit normal noise of a clip (b, t, p, c). `shared` 1 gives all frames the same noise, 0 independent noise.

    Between them: sqrt(shared) of the common noise plus sqrt(1 - shared) of the frame's own, so that the variance stays
    one (Sculpt4D, noise_share_alpha). Both are always drawn, so a seed gives the same common noise for any `shared`.
    """
    if not 0.0 <= shared <= 1.0:
        raise ValueError(f"noise sharing {shared} is outside 0 (independent frames) to 1 (one noise for the clip)")
    b, _, p, c = shape
    common = torch.randn(b, 1, p, c, generator=generator).expand(shape)
    own = torch.randn(shape, generator=generator)
    return shared**0.5 * common + (1 - shared) ** 0.5 * own


def couple(data: Float[Tensor, "b t p c"], noise: Float[Tensor, "b t p c"], mode: str) -> Float[Tensor, "b t p c"]:
    """Reorder the data's tokens to lie near their noise in the first three channels (the anchors of a small VAE).

    Latents are a set, so any order is the same shape; a near order makes the paths straighter. `frame` assigns every
    frame separately. `clip` assigns once on the mean over frames, so that a token still follows its material point.
    """
    if mode == "none":
        return data
    if mode not in COUPLINGS:
        raise ValueError(f"coupling {mode!r} is not one of {', '.join(COUPLINGS)}")
    from scipy.optimize import linear_sum_assignment  # slow to import, and needed only to train small models

    b, t, p, _ = data.shape
    places, seeds = data[..., :3], noise[..., :3]
    if mode == "clip":
        places, seeds = places.mean(dim=1, keepdim=True), seeds.mean(dim=1, keepdim=True)
    costs = torch.cdist(seeds.float(), places.float()).square().flatten(0, 1).cpu().numpy()
    order = np.stack([linear_sum_assignment(cost)[1] for cost in costs])
    rows = torch.from_numpy(order).to(data.device).view(b, -1, p, 1).expand(b, t, p, data.shape[-1])
    return data.gather(2, rows)


def flow_loss(
    predict: Velocity,
    data: Float[Tensor, "b t p c"],
    noise: Float[Tensor, "b #t p c"],
    time: Float[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Mean squared error of the predicted velocity, one value per clip. `noise` may have one frame for all."""
    weight = time.view(-1, 1, 1, 1)
    noised = (1 - weight) * noise + weight * data
    return (predict(noised, time) - (data - noise)).square().mean(dim=(1, 2, 3))
