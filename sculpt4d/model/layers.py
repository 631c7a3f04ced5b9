"""The parts every block is made of: attention projections, normalisation of queries and keys, MLP, time embedding."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.attention.backends import attend
from sculpt4d.attention.patterns import Pattern
from sculpt4d.attention.rope import rotate

EPS = 1e-6  # of every block norm and every query/key norm of the base model


class SelfAttention(nn.Module):
    """Attention among the tokens of one frame, RMS-normed queries and keys. Natural head order (base spec 1.4)."""

    def __init__(self, width: int, heads: int, context_width: int | None = None, qkv_bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        source = width if context_width is None else context_width
        self.to_q = nn.Linear(width, width, bias=qkv_bias)
        self.to_k = nn.Linear(source, width, bias=qkv_bias)
        self.to_v = nn.Linear(source, width, bias=qkv_bias)
        self.q_norm = nn.RMSNorm(width // heads, eps=EPS)
        self.k_norm = nn.RMSNorm(width // heads, eps=EPS)
        self.out_proj = nn.Linear(width, width)

    def split(
        self, tokens: Float[Tensor, "b n d"], source: Float[Tensor, "b m x"]
    ) -> tuple[Float[Tensor, "b h n k"], Float[Tensor, "b h m k"], Float[Tensor, "b h m k"]]:
        """Normed queries of `tokens`, normed keys and plain values of `source`, by head."""
        q, k, v = self.to_q(tokens), self.to_k(source), self.to_v(source)
        q, k, v = (rearrange(x, "b n (h k) -> b h n k", h=self.heads) for x in (q, k, v))
        return self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype), v

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        out = functional.scaled_dot_product_attention(*self.split(tokens, tokens))
        return self.out_proj(rearrange(out, "b h n k -> b n (h k)"))


class CrossAttention(SelfAttention):
    """Attention of latent tokens to the image tokens of their own frame."""

    def forward(self, tokens: Float[Tensor, "b n d"], context: Float[Tensor, "b s x"]) -> Float[Tensor, "b n d"]:  # type: ignore[override]
        out = functional.scaled_dot_product_attention(*self.split(tokens, context))
        return self.out_proj(rearrange(out, "b h n k -> b n (h k)"))


class TemporalAttention(SelfAttention):
    """Attention among the latent tokens of all frames through a block pattern (Sculpt4D, Block Sparse Attention).

    Queries and keys are rotated by the frame index. The output projection starts at zero, so that a new layer
    leaves the 3D model unchanged.
    """

    def __init__(self, width: int, heads: int, pattern: Pattern, backend: str = "auto", qkv_bias: bool = False) -> None:
        super().__init__(width, heads, qkv_bias=qkv_bias)
        self.pattern, self.backend = pattern, backend
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, tokens: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t p d"]:  # type: ignore[override]
        frames = tokens.shape[1]
        flat = rearrange(tokens, "b t p d -> b (t p) d")
        q, k, v = self.split(flat, flat)
        q, k = (self._turn(x, frames) for x in (q, k))
        out = attend(q, k, v, self.pattern, frames, self.backend)
        out = self.out_proj(rearrange(out, "b h n k -> b n (h k)"))
        return rearrange(out, "b (t p) d -> b t p d", t=frames)

    @staticmethod
    def _turn(heads: Float[Tensor, "b h n k"], frames: int) -> Float[Tensor, "b h n k"]:
        return rotate(heads.unflatten(2, (frames, -1))).flatten(2, 3)


class MLP(nn.Module):
    """Linear to 4 d, GELU (erf), linear back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return self.fc2(functional.gelu(self.fc1(tokens)))


def time_features(time: Float[Tensor, " b"], width: int) -> Float[Tensor, "b d"]:
    """Sines, then cosines, of the unscaled flow time at `width / 2` frequencies from 1 to 1e-4 (base spec 1.5)."""
    half = width // 2
    rates = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=time.device) / half)
    angles = time.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeEmbedding(nn.Module):
    """Flow time in [0, 1] to one token (b, 1, d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, time: Float[Tensor, " b"]) -> Float[Tensor, "b 1 d"]:
        features = time_features(time, self.width).to(next(self.parameters()).dtype)
        return self.mlp(features)[:, None]
