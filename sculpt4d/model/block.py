"""One block of the denoiser: skip, spatial self-attention, cross-attention, temporal attention, feed-forward.

Without `pattern` it is the block of the 3D base (base spec 1.3); with it, the 4D block of Sculpt4D.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sculpt4d.attention.patterns import Pattern
from sculpt4d.model.layers import EPS, MLP, CrossAttention, SelfAttention, TemporalAttention
from sculpt4d.model.moe import MixtureOfExperts


class Block(nn.Module):
    """Pre-norm residual block over (b t) frames of one time token and p latent tokens.

    `skip`: takes the output of its mirror block. `experts`: routed experts of the feed-forward, 0 for a dense MLP.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        context_width: int,
        skip: bool,
        experts: int = 0,
        top: int = 2,
        qkv_bias: bool = False,
        pattern: Pattern | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if skip:
            self.skip_linear = nn.Linear(2 * width, width)
            self.skip_norm = nn.LayerNorm(width, eps=EPS)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn1 = SelfAttention(width, heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.attn2 = CrossAttention(width, heads, context_width, qkv_bias=qkv_bias)
        if pattern is not None:
            self.norm_temporal = nn.LayerNorm(width, eps=EPS)
            self.temporal = TemporalAttention(width, heads, pattern, backend)
        self.norm3 = nn.LayerNorm(width, eps=EPS)
        if experts:
            self.moe = MixtureOfExperts(width, experts, top)
        else:
            self.mlp = MLP(width)

    def forward(
        self,
        tokens: Float[Tensor, "bt n d"],
        context: Float[Tensor, "bt s x"],
        frames: int,
        skip: Float[Tensor, "bt n d"] | None = None,
    ) -> Float[Tensor, "bt n d"]:
        if skip is not None:  # the skip comes first, the norm last, and nothing is added back
            tokens = self.skip_norm(self.skip_linear(torch.cat([skip, tokens], dim=-1)))
        tokens = tokens + self.attn1(self.norm1(tokens))
        tokens = tokens + self.attn2(self.norm2(tokens), context)
        if hasattr(self, "temporal"):
            tokens = self._across_frames(tokens, frames)
        feed_forward = self.moe if hasattr(self, "moe") else self.mlp
        return tokens + feed_forward(self.norm3(tokens))

    def _across_frames(self, tokens: Float[Tensor, "bt n d"], frames: int) -> Float[Tensor, "bt n d"]:
        """Temporal attention over the latent tokens; the time token, first in every frame, stays out."""
        first, latent = tokens[:, :1], tokens[:, 1:]
        clip = rearrange(latent, "(b t) p d -> b t p d", t=frames)
        clip = clip + self.temporal(self.norm_temporal(clip))
        return torch.cat([first, rearrange(clip, "b t p d -> (b t) p d")], dim=1)
