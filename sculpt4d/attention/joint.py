"""Full attention over the latents and the image tokens of all frames together, the temporal layer of ShapeGen4D.

In its base every block has a stream of image tokens beside that of the shape; ours has cross-attention instead. So here
the encoder's tokens are the image tokens of every layer: they are seen, and do not change from layer to layer.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class JointPattern:
    """Every latent token sees every latent token and every image token of its clip. There are no blocks.

    Keys are more than queries: all latents, frame by frame, then all image tokens, frame by frame. `images` False is
    a clip without pictures, the null half of guidance: it sees the latents alone.
    """

    images: bool = True

    @property
    def blind(self) -> "JointPattern":
        """That of a clip without pictures."""
        return replace(self, images=False)

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible pairs of latent tokens: all of them."""
        return torch.ones(frames * blocks, frames * blocks, dtype=torch.bool)

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention among the latents; those with image tokens come on top."""
        return 1.0

    def blocks(self, tokens: int) -> int:
        """Every token is a block."""
        return tokens

    def seen(self, keys: Float[Tensor, "b h n d"], latents: int) -> Float[Tensor, "b h m d"]:
        """The keys, or values, that the first `latents` of them look at."""
        return keys if self.images else keys[:, :, :latents]
