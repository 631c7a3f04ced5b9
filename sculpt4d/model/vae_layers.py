"""Blocks of the shape autoencoder, under the names that the released tensors have (base spec 2.2, 2.3)."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

BLOCK_EPS = 1e-6  # block norms and query/key norms; the closing norms keep the framework's 1e-5


def fourier(points: Float[Tensor, "... 3"], bands: int, include_pi: bool = False) -> Float[Tensor, "... f"]:
    """xyz, sines of xyz at `bands` octaves (axis slow, band fast), cosines alike: 3 (2 bands + 1) values."""
    rates = 2.0 ** torch.arange(bands, dtype=points.dtype, device=points.device)
    if include_pi:
        rates = rates * torch.pi
    angles = rearrange(points[..., None] * rates, "... xyz band -> ... (xyz band)")
    return torch.cat([points, angles.sin(), angles.cos()], dim=-1)


def attend(
    queries: Float[Tensor, "#b h n k"], keys: Float[Tensor, "b h m k"], values: Float[Tensor, "b h m v"]
) -> Float[Tensor, "b n d"]:
    """Softmax attention, heads side by side; one set of queries may serve every batch entry.

    Logits are scaled by the width of the values: queries and keys may carry further columns (`Nearness`).
    """
    shared = queries.expand(len(keys), -1, -1, -1)
    scale = values.shape[-1] ** -0.5
    answer = functional.scaled_dot_product_attention(shared, keys, values, scale=scale)
    return rearrange(answer, "b h n k -> b n (h k)")


class Nearness(nn.Module):
    """Attention that prefers what is near: logits minus sharpness * squared distance, one sharpness per head, learned.

    2 s x.a - s |a|^2 is the same up to a constant of the query, so four further columns of queries and keys say it and
    no mask is needed. Not part of the released model.
    """

    def __init__(self, heads: int, least: float = 1.0, most: float = 100.0) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.linspace(math.log(least), math.log(most), heads))

    def queries(self, queries: Float[Tensor, "b h n k"], places: Float[Tensor, "b n 3"]) -> Float[Tensor, "b h n kk"]:
        """The queries of points at `places`, with the further columns."""
        sharpness = self.log_sharpness.exp()[:, None, None] * queries.shape[-1] ** 0.5
        columns = torch.cat([2 * places, -torch.ones_like(places[..., :1])], dim=-1)[:, None] * sharpness
        return torch.cat([queries, columns.to(queries.dtype)], dim=-1)

    def keys(self, keys: Float[Tensor, "b h m k"], places: Float[Tensor, "b m 3"]) -> Float[Tensor, "b h m kk"]:
        """The keys of what lies at `places`."""
        columns = torch.cat([places, places.square().sum(dim=-1, keepdim=True)], dim=-1)[:, None]
        return torch.cat([keys, columns.expand(-1, keys.shape[1], -1, -1).to(keys.dtype)], dim=-1)


class HeadNorms(nn.Module):
    """LayerNorm of queries and keys per head, with bias; identity when off."""

    def __init__(self, width: int, active: bool) -> None:
        super().__init__()
        self.q_norm = nn.LayerNorm(width, eps=BLOCK_EPS) if active else nn.Identity()
        self.k_norm = nn.LayerNorm(width, eps=BLOCK_EPS) if active else nn.Identity()


class SelfAttention(nn.Module):
    """Packed projection: inside a head q, k, v follow each other."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool, local: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.near = Nearness(heads, least=0.05, most=20.0) if local else None
        self.c_qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.c_proj = nn.Linear(width, width)
        self.attention = HeadNorms(width // heads, qk_norm)

    def forward(
        self, tokens: Float[Tensor, "b n d"], places: Float[Tensor, "b n 3"] | None = None
    ) -> Float[Tensor, "b n d"]:
        q, k, v = rearrange(self.c_qkv(tokens), "b n (h three k) -> three b h n k", h=self.heads, three=3)
        # under autocast a norm answers in float32
        q, k = self.attention.q_norm(q).to(v.dtype), self.attention.k_norm(k).to(v.dtype)
        if self.near is not None:
            assert places is not None
            q, k = self.near.queries(q, places), self.near.keys(k, places)
        return self.c_proj(attend(q, k, v))


class CrossAttention(nn.Module):
    """Queries attend to data; inside a head k, v follow each other."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_q = nn.Linear(width, width, bias=qkv_bias)
        self.c_kv = nn.Linear(width, 2 * width, bias=qkv_bias)
        self.c_proj = nn.Linear(width, width)
        self.attention = HeadNorms(width // heads, qk_norm)

    def queries(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n k"]:
        q = rearrange(self.c_q(tokens), "b n (h k) -> b h n k", h=self.heads)
        return self.attention.q_norm(q).to(q.dtype)

    def keys_values(self, data: Float[Tensor, "b m d"]) -> tuple[Float[Tensor, "b h m k"], Float[Tensor, "b h m k"]]:
        k, v = rearrange(self.c_kv(data), "b m (h two k) -> two b h m k", h=self.heads, two=2)
        return self.attention.k_norm(k).to(v.dtype), v


class MLP(nn.Module):
    """Two layers with the exact GELU between."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, ratio * width)
        self.c_proj = nn.Linear(ratio * width, width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.c_proj(functional.gelu(self.c_fc(tokens)))


class SelfBlock(nn.Module):
    """Self-attention, then MLP, both on normalised tokens."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool, local: bool = False) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads, qkv_bias, qk_norm, local)
        self.ln_1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = MLP(width, 4)

    def forward(
        self, tokens: Float[Tensor, "b n d"], places: Float[Tensor, "b n 3"] | None = None
    ) -> Float[Tensor, "b n d"]:
        tokens = tokens + self.attn(self.ln_1(tokens), places)
        return tokens + self.mlp(self.ln_2(tokens))


class CrossBlock(nn.Module):
    """Tokens attend to data; its steps are methods, so that what depends on one side alone is computed once."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool, ratio: int = 4) -> None:
        super().__init__()
        self.attn = CrossAttention(width, heads, qkv_bias, qk_norm)
        self.ln_1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_3 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = MLP(width, ratio)

    def queries(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n k"]:
        """What the tokens ask with."""
        return self.attn.queries(self.ln_1(tokens))

    def keys_values(self, data: Float[Tensor, "b m d"]) -> tuple[Float[Tensor, "b h m k"], Float[Tensor, "b h m k"]]:
        """What the data answer with."""
        return self.attn.keys_values(self.ln_2(data))

    def finish(self, tokens: Float[Tensor, "#b n d"], answer: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Tokens that have heard the answer of attention."""
        tokens = tokens + self.attn.c_proj(answer)
        return tokens + self.mlp(self.ln_3(tokens))

    def forward(self, tokens: Float[Tensor, "b n d"], data: Float[Tensor, "b m d"]) -> Float[Tensor, "b n d"]:
        return self.finish(tokens, attend(self.queries(tokens), *self.keys_values(data)))


class Stack(nn.Module):
    """Self-attention blocks under the tensor name `resblocks`; with `local` they prefer near tokens."""

    def __init__(self, layers: int, width: int, heads: int, qkv_bias: bool, qk_norm: bool, local: bool = False) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(SelfBlock(width, heads, qkv_bias, qk_norm, local) for _ in range(layers))

    def forward(
        self, tokens: Float[Tensor, "b n d"], places: Float[Tensor, "b n 3"] | None = None
    ) -> Float[Tensor, "b n d"]:
        for block in self.resblocks:
            tokens = block(tokens, places)
        return tokens
