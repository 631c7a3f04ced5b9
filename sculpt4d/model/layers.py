"""Layers shared by all blocks: attention projections, query/key normalisation, MLP, time embedding.

`TemporalAttention` applies an attention pattern across frames and the rotary frame embedding.
"""

import math
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.attention.backends import attend
from sculpt4d.attention.patterns import ClipPatterns, Pattern
from sculpt4d.attention.rope import rotate

EPS = 1e-6  # epsilon of all block norms and query/key norms of the base model


class KeysValues(NamedTuple):
    """Keys (normalised if the model normalises them) and values, by head."""

    keys: Float[Tensor, "b h m k"]
    values: Float[Tensor, "b h m k"]


class SelfAttention(nn.Module):
    """Self-attention among the tokens of one frame, natural head order (base spec 1.4).

    `qk_norm`: queries and keys are RMS-normed per head.
    """

    def __init__(
        self, width: int, heads: int, context_width: int | None = None, qkv_bias: bool = False, qk_norm: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        source = width if context_width is None else context_width
        self.to_q = nn.Linear(width, width, bias=qkv_bias)
        self.to_k = nn.Linear(source, width, bias=qkv_bias)
        self.to_v = nn.Linear(source, width, bias=qkv_bias)
        self.q_norm = nn.RMSNorm(width // heads, eps=EPS) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(width // heads, eps=EPS) if qk_norm else nn.Identity()
        self.out_proj = nn.Linear(width, width)

    def queries(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n k"]:
        """Queries of `tokens`."""
        q = self._by_head(self.to_q(tokens))
        return self.q_norm(q).to(q.dtype)

    def project(self, source: Float[Tensor, "b m x"]) -> KeysValues:
        """Keys and values of `source`."""
        k, v = self._by_head(self.to_k(source)), self._by_head(self.to_v(source))
        return KeysValues(self.k_norm(k).to(v.dtype), v)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self._attend(self.queries(tokens), self.project(tokens))

    def _attend(self, queries: Float[Tensor, "b h n k"], seen: KeysValues) -> Float[Tensor, "b n d"]:
        out = functional.scaled_dot_product_attention(queries, *seen)
        return self.out_proj(rearrange(out, "b h n k -> b n (h k)"))

    def _by_head(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n k"]:
        return rearrange(tokens, "b n (h k) -> b h n k", h=self.heads)


class CrossAttention(SelfAttention):
    """Cross-attention of latent tokens to the image tokens of their frame. `project` computes keys and values."""

    def forward(self, tokens: Float[Tensor, "b n d"], seen: KeysValues) -> Float[Tensor, "b n d"]:  # type: ignore[override]
        return self._attend(self.queries(tokens), seen)

    def blind(self) -> Float[Tensor, "1 1 d"]:
        """Output for every token of an unconditional frame, whose image tokens are zeros.

        All keys are then equal, so attention returns the common value: the bias of to_v, or zero (base spec 1.4).
        """
        if self.to_v.bias is None:
            return self.out_proj.bias[None, None]
        return self.out_proj(self.to_v.bias[None, None])


class TemporalAttention(SelfAttention):
    """Attention among the latent tokens of all frames under a block pattern (Sculpt4D, Block Sparse Attention).

    Queries and keys are rotated by the frame index. The output projection starts at zero, so a new layer leaves the
    3D model unchanged. `heads_at_once`: heads processed together when no gradient is needed, None for all; fewer need
    less memory. `context_width`: width of the image tokens, if the pattern joins them to the keys.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        pattern: Pattern,
        backend: str = "auto",
        qkv_bias: bool = False,
        context_width: int | None = None,
    ) -> None:
        super().__init__(width, heads, qkv_bias=qkv_bias)
        if pattern.joins_images:
            if context_width is None:
                raise ValueError(f"{pattern} joins image tokens to the keys: give context_width, their channels")
            self.image_proj = nn.Linear(context_width, width)
            self.image_norm = nn.LayerNorm(width, eps=EPS)
        self.pattern, self.backend = pattern, backend
        self.heads_at_once: int | None = None
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(  # type: ignore[override]
        self,
        tokens: Float[Tensor, "b t p d"],
        patterns: ClipPatterns | None = None,
    ) -> Float[Tensor, "b t p d"]:
        """Attend across frames.

        `patterns`: patterns of these clips, with the image tokens that join the keys; None uses the layer's own
        pattern.
        """
        frames = tokens.shape[1]
        flat = rearrange(tokens, "b t p d -> b (t p) d")
        q, (k, v) = self.queries(flat), self.project(flat)
        q, k = (self._turn(x, frames) for x in (q, k))
        if patterns is not None and patterns.images is not None:
            images = rearrange(patterns.images, "b t s x -> b (t s) x").to(self.image_proj.weight.dtype)
            known = self.image_norm(self.image_proj(images))
            more = self.project(known)
            k, v = torch.cat([k, self._turn(more.keys, frames)], dim=2), torch.cat([v, more.values], dim=2)
        out = self._among_frames(q, k, v, self.pattern if patterns is None else patterns.pattern, frames)
        out = self.out_proj(rearrange(out, "b h n k -> b n (h k)"))
        return rearrange(out, "b (t p) d -> b t p d", t=frames)

    def _among_frames(
        self, q: Tensor, k: Tensor, v: Tensor, pattern: Pattern | tuple[Pattern, ...], frames: int
    ) -> Float[Tensor, "b h n k"]:
        if self.heads_at_once is None or torch.is_grad_enabled():
            return attend(q, k, v, pattern, frames, self.backend)
        out = torch.empty_like(q)
        for first in range(0, self.heads, self.heads_at_once):
            group = slice(first, first + self.heads_at_once)
            out[:, group] = attend(q[:, group], k[:, group], v[:, group], pattern, frames, self.backend)
        return out

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
