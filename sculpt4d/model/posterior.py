"""What the encoder says of a frame: a Gaussian per latent, sampled with one noise for all frames of a clip."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Posterior(NamedTuple):
    """mean, logvar (..., p, c): logvar is already clamped to [-30, 20] (base spec 2.4)."""

    mean: Float[Tensor, "*b p c"]
    logvar: Float[Tensor, "*b p c"]

    def sample(self, noise: Float[Tensor, "*#b p c"]) -> Float[Tensor, "*b p c"]:
        """mean + deviation * noise. A clip shares its noise by giving it a single frame (Sculpt4D, shared noise)."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def divergence(self) -> Float[Tensor, "*b p c"]:
        """Kullback-Leibler divergence from the standard normal, per latent value."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar)
