"""Transformer block of the denoiser.

Order of layers: skip connection, spatial self-attention, cross-attention, temporal attention, feed-forward.
Without `pattern` it is the block of the 3D base (base spec 1.3). With it, it is the 4D block of Sculpt4D.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sculpt4d.attention.patterns import ClipPatterns, Pattern
from sculpt4d.model.layers import EPS, MLP, CrossAttention, KeysValues, SelfAttention, TemporalAttention
from sculpt4d.model.moe import MixtureOfExperts


class Block(nn.Module):
    """Pre-norm residual block over (b t) frames of one time token and p latent tokens.

    `skip`: the block takes the output of its mirror block. `experts`: routed experts of the feed-forward; 0 gives a
    dense MLP.
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
        qk_norm: bool = True,
        pattern: Pattern | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if skip:
            self.skip_linear = nn.Linear(2 * width, width)
            self.skip_norm = nn.LayerNorm(width, eps=EPS)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn1 = SelfAttention(width, heads, qkv_bias=qkv_bias, qk_norm=qk_norm)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.attn2 = CrossAttention(width, heads, context_width, qkv_bias=qkv_bias, qk_norm=qk_norm)
        if pattern is not None:
            self.norm_temporal = nn.LayerNorm(width, eps=EPS)
            self.temporal = TemporalAttention(width, heads, pattern, backend, context_width=context_width)
        self.norm3 = nn.LayerNorm(width, eps=EPS)
        if experts:
            self.moe = MixtureOfExperts(width, experts, top)
        else:
            self.mlp = MLP(width)

    def forward(
        self,
        tokens: Float[Tensor, "bt n d"],
        context: Float[Tensor, "seen s x"] | KeysValues,
        frames: int,
        skip: Float[Tensor, "bt n d"] | None = None,
        at_once: int | None = None,
        patterns: ClipPatterns | None = None,
    ) -> Float[Tensor, "bt n d"]:
        """Run the block.

        `context`: image tokens of the first `seen` frames, or their projection by attn2. The remaining frames are
        unconditional: their image tokens are zeros. `at_once`: frames processed together in all layers but the temporal
        attention; None for all. `patterns`: patterns of the clips for the temporal attention; None uses the block's
        own.
        """
        keys, values = context if isinstance(context, KeysValues) else self.attn2.project(context)
        tokens = in_parts(self._look, at_once, tokens, keys, values, skip)
        if hasattr(self, "temporal"):
            tokens = self._across_frames(tokens, frames, patterns)
        return in_parts(self._feed_forward, at_once, tokens)

    def _look(self, tokens: Tensor, keys: Tensor, values: Tensor, skip: Tensor | None) -> Float[Tensor, "bt n d"]:
        """Apply the layers that treat each frame separately: skip, self-attention and cross-attention."""
        if skip is not None:  # skip first in the concatenation, norm last, no residual
            tokens = self.skip_norm(self.skip_linear(torch.cat([skip, tokens], dim=-1)))
        tokens = tokens + self.attn1(self.norm1(tokens))
        if len(keys) == len(tokens):
            return tokens + self.attn2(self.norm2(tokens), KeysValues(keys, values))
        seeing, blind = tokens.split([len(keys), len(tokens) - len(keys)])
        blind = blind + self.attn2.blind()
        if not len(keys):
            return blind
        return torch.cat([seeing + self.attn2(self.norm2(seeing), KeysValues(keys, values)), blind])

    def _feed_forward(self, tokens: Float[Tensor, "bt n d"]) -> Float[Tensor, "bt n d"]:
        part = self.moe if hasattr(self, "moe") else self.mlp
        return tokens + part(self.norm3(tokens))

    def _across_frames(
        self, tokens: Float[Tensor, "bt n d"], frames: int, patterns: ClipPatterns | None = None
    ) -> Float[Tensor, "bt n d"]:
        """Temporal attention over the latent tokens. The time token, first in every frame, is left out."""
        first, latent = tokens[:, :1], tokens[:, 1:]
        clip = rearrange(latent, "(b t) p d -> b t p d", t=frames)
        clip = clip + self.temporal(self.norm_temporal(clip), patterns)
        return torch.cat([first, rearrange(clip, "b t p d -> (b t) p d")], dim=1)


def in_parts(run: Callable[..., Tensor], size: int | None, tokens: Tensor, *others: Tensor | None) -> Tensor:
    """Call run(tokens, *others) on chunks of `size` rows and concatenate.

    Equal to one call if rows do not depend on each other. `others` are sliced like `tokens`; shorter `others` are
    sliced to the rows they have.
    """
    if size is None or size >= len(tokens):
        return run(tokens, *others)
    if size < 1:
        raise ValueError(f"frames_at_once={size}: give 1 or more frames, or None for all of them")
    out: Tensor | None = None
    for start in range(0, len(tokens), size):
        rows = slice(start, start + size)
        part = run(tokens[rows], *(None if other is None else other[rows] for other in others))
        out = part.new_empty(len(tokens), *part.shape[1:]) if out is None else out
        out[rows] = part
    assert out is not None
    return out
