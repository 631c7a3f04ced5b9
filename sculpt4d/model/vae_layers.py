"""Blocks of the shape autoencoder, with the tensor names of the release (base spec 2.2, 2.3)."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

BLOCK_EPS = 1e-6  # block norms and query/key norms; the final norms use torch's default of 1e-5


def fourier(points: Float[Tensor, "... 3"], bands: int, include_pi: bool = False) -> Float[Tensor, "... f"]:
    """Fourier features: xyz, sines of xyz at `bands` octaves, cosines in the same order.

    The axis is the slow index, the band the fast one. Width 3 (2 bands + 1).
    """
    rates = 2.0 ** torch.arange(bands, dtype=points.dtype, device=points.device)
    if include_pi:
        rates = rates * torch.pi
    angles = rearrange(points[..., None] * rates, "... xyz band -> ... (xyz band)")
    return torch.cat([points, angles.sin(), angles.cos()], dim=-1)


def attend(
    queries: Float[Tensor, "#b h n k"], keys: Float[Tensor, "b h m k"], values: Float[Tensor, "b h m k"]
) -> Float[Tensor, "b n d"]:
    """Softmax attention with concatenated heads. A single set of queries may serve all batch entries."""
    shared = queries.expand(len(keys), -1, -1, -1)
    return rearrange(functional.scaled_dot_product_attention(shared, keys, values), "b h n k -> b n (h k)")


class HeadNorms(nn.Module):
    """LayerNorm of queries and keys per head, with bias; identity when off."""

    def __init__(self, width: int, active: bool) -> None:
        super().__init__()
        self.q_norm = nn.LayerNorm(width, eps=BLOCK_EPS) if active else nn.Identity()
        self.k_norm = nn.LayerNorm(width, eps=BLOCK_EPS) if active else nn.Identity()


class VaeSelfAttention(nn.Module):
    """Self-attention with a packed projection: each head holds q, k, v in sequence."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.c_proj = nn.Linear(width, width)
        self.attention = HeadNorms(width // heads, qk_norm)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        q, k, v = rearrange(self.c_qkv(tokens), "b n (h three k) -> three b h n k", h=self.heads, three=3)
        # under autocast a norm returns float32
        return self.c_proj(attend(self.attention.q_norm(q).to(v.dtype), self.attention.k_norm(k).to(v.dtype), v))


class VaeCrossAttention(nn.Module):
    """Cross-attention from queries to data; each head holds k, v in sequence."""

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


class VaeMLP(nn.Module):
    """Two linear layers with exact GELU between them."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, ratio * width)
        self.c_proj = nn.Linear(ratio * width, width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.c_proj(functional.gelu(self.c_fc(tokens)))


class SelfBlock(nn.Module):
    """Pre-norm self-attention, then pre-norm MLP."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.attn = VaeSelfAttention(width, heads, qkv_bias, qk_norm)
        self.ln_1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = VaeMLP(width, 4)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        tokens = tokens + self.attn(self.ln_1(tokens))
        return tokens + self.mlp(self.ln_2(tokens))


class CrossBlock(nn.Module):
    """Pre-norm cross-attention block.

    Its steps are separate methods, so that results that depend on one side only are computed once.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool, ratio: int = 4) -> None:
        super().__init__()
        self.attn = VaeCrossAttention(width, heads, qkv_bias, qk_norm)
        self.ln_1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_3 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = VaeMLP(width, ratio)

    def queries(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n k"]:
        """Queries of the tokens."""
        return self.attn.queries(self.ln_1(tokens))

    def keys_values(self, data: Float[Tensor, "b m d"]) -> tuple[Float[Tensor, "b h m k"], Float[Tensor, "b h m k"]]:
        """Keys and values of the data."""
        return self.attn.keys_values(self.ln_2(data))

    def finish(self, tokens: Float[Tensor, "#b n d"], answer: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Add the attention output `answer` to the tokens, then apply the MLP."""
        tokens = tokens + self.attn.c_proj(answer)
        return tokens + self.mlp(self.ln_3(tokens))

    def forward(self, tokens: Float[Tensor, "b n d"], data: Float[Tensor, "b m d"]) -> Float[Tensor, "b n d"]:
        return self.finish(tokens, attend(self.queries(tokens), *self.keys_values(data)))


class Stack(nn.Module):
    """Self-attention blocks under the tensor name `resblocks`."""

    def __init__(self, layers: int, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(SelfBlock(width, heads, qkv_bias, qk_norm) for _ in range(layers))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        for block in self.resblocks:
            tokens = block(tokens)
        return tokens
