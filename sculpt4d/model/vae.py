"""The shape autoencoder: a point cloud to a set of latents, latents and a place to a distance (base spec 2)."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.model.posterior import Posterior

BLOCK_EPS = 1e-6  # block norms and query/key norms; the closing norms keep the framework's 1e-5
ANCHOR_SCALE = 2.0  # anchor channels hold 2 xyz: about unit variance, as the other channels
ANCHOR_LOGVAR = -7.0


def fourier(points: Float[Tensor, "... 3"], bands: int, include_pi: bool = False) -> Float[Tensor, "... f"]:
    """xyz, sines of xyz at `bands` octaves (axis slow, band fast), cosines alike: 3 (2 bands + 1) values."""
    rates = 2.0 ** torch.arange(bands, dtype=points.dtype, device=points.device)
    if include_pi:
        rates = rates * torch.pi
    angles = rearrange(points[..., None] * rates, "... xyz band -> ... (xyz band)")
    return torch.cat([points, angles.sin(), angles.cos()], dim=-1)


class _HeadNorms(nn.Module):
    """LayerNorm of queries and keys per head, with bias; identity when off."""

    def __init__(self, width: int, active: bool) -> None:
        super().__init__()
        self.q_norm = nn.LayerNorm(width, eps=BLOCK_EPS) if active else nn.Identity()
        self.k_norm = nn.LayerNorm(width, eps=BLOCK_EPS) if active else nn.Identity()

    def forward(
        self, q: Float[Tensor, "b h n k"], k: Float[Tensor, "b h m k"], v: Float[Tensor, "b h m k"]
    ) -> Float[Tensor, "b n d"]:
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        return rearrange(functional.scaled_dot_product_attention(q, k, v), "b h n k -> b n (h k)")


class _SelfAttention(nn.Module):
    """Packed projection: inside a head q, k, v follow each other."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.c_proj = nn.Linear(width, width)
        self.attention = _HeadNorms(width // heads, qk_norm)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        q, k, v = rearrange(self.c_qkv(tokens), "b n (h three k) -> three b h n k", h=self.heads, three=3)
        return self.c_proj(self.attention(q, k, v))


class _CrossAttention(nn.Module):
    """Queries attend to data; inside a head k, v follow each other."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_q = nn.Linear(width, width, bias=qkv_bias)
        self.c_kv = nn.Linear(width, 2 * width, bias=qkv_bias)
        self.c_proj = nn.Linear(width, width)
        self.attention = _HeadNorms(width // heads, qk_norm)

    def forward(self, queries: Float[Tensor, "b n d"], data: Float[Tensor, "b m d"]) -> Float[Tensor, "b n d"]:
        q = rearrange(self.c_q(queries), "b n (h k) -> b h n k", h=self.heads)
        k, v = rearrange(self.c_kv(data), "b m (h two k) -> two b h m k", h=self.heads, two=2)
        return self.c_proj(self.attention(q, k, v))


class _MLP(nn.Module):
    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, ratio * width)
        self.c_proj = nn.Linear(ratio * width, width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.c_proj(functional.gelu(self.c_fc(tokens)))


class _SelfBlock(nn.Module):
    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.attn = _SelfAttention(width, heads, qkv_bias, qk_norm)
        self.ln_1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = _MLP(width, 4)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        tokens = tokens + self.attn(self.ln_1(tokens))
        return tokens + self.mlp(self.ln_2(tokens))


class _CrossBlock(nn.Module):
    def __init__(self, width: int, heads: int, qkv_bias: bool, qk_norm: bool, ratio: int = 4) -> None:
        super().__init__()
        self.attn = _CrossAttention(width, heads, qkv_bias, qk_norm)
        self.ln_1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.ln_3 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = _MLP(width, ratio)

    def forward(self, queries: Float[Tensor, "b n d"], data: Float[Tensor, "b m d"]) -> Float[Tensor, "b n d"]:
        queries = queries + self.attn(self.ln_1(queries), self.ln_2(data))
        return queries + self.mlp(self.ln_3(queries))


class _Stack(nn.Module):
    """Self-attention blocks under the tensor name `resblocks`."""

    def __init__(self, layers: int, width: int, heads: int, qkv_bias: bool, qk_norm: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_SelfBlock(width, heads, qkv_bias, qk_norm) for _ in range(layers))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        for block in self.resblocks:
            tokens = block(tokens)
        return tokens


class Encoder(nn.Module):
    """Surface points attend into their query points (base spec 2.3)."""

    def __init__(
        self, width: int, heads: int, layers: int, features: int, bands: int, pi: bool, qkv_bias: bool, qk_norm: bool
    ) -> None:
        super().__init__()
        self.bands, self.pi = bands, pi
        self.input_proj = nn.Linear(3 * (2 * bands + 1) + features, width)
        self.cross_attn = _CrossBlock(width, heads, qkv_bias, qk_norm)
        self.self_attn = _Stack(layers, width, heads, qkv_bias, qk_norm)
        self.ln_post = nn.LayerNorm(width)

    def forward(self, surface: Float[Tensor, "b n x"], queries: Int[Tensor, "b p"]) -> Float[Tensor, "b p d"]:
        row = torch.cat([fourier(surface[..., :3], self.bands, self.pi), surface[..., 3:]], dim=-1)
        data = self.input_proj(row)
        chosen = data.gather(1, repeat(queries, "b p -> b p d", d=data.shape[-1]))
        return self.ln_post(self.self_attn(self.cross_attn(chosen, data)))


class GeometryDecoder(nn.Module):
    """Places attend to the decoded latents; one value each, positive inside (base spec 2.6)."""

    def __init__(
        self, width: int, heads: int, bands: int, pi: bool, qkv_bias: bool, qk_norm: bool, ratio: int, ln_post: bool
    ) -> None:
        super().__init__()
        self.bands, self.pi = bands, pi
        self.query_proj = nn.Linear(3 * (2 * bands + 1), width)
        self.cross_attn_decoder = _CrossBlock(width, heads, qkv_bias, qk_norm and ln_post, ratio)
        if ln_post:
            self.ln_post = nn.LayerNorm(width)
        self.output_proj = nn.Linear(width, 1)

    def forward(self, points: Float[Tensor, "b m 3"], decoded: Float[Tensor, "b p d"]) -> Float[Tensor, "b m"]:
        features = fourier(points, self.bands, self.pi).to(self.query_proj.weight.dtype)
        tokens = self.cross_attn_decoder(self.query_proj(features), decoded)
        if hasattr(self, "ln_post"):
            tokens = self.ln_post(tokens)
        return self.output_proj(tokens)[..., 0]


class ShapeVAE(nn.Module):
    """Frames are its batch: (b, n, 7) surface points and (b, p) query rows to (b, p, c) latents and back to a field.

    `anchors` is not part of the released model: three channels of the mean are then 2 xyz of the query point, nearly
    noiseless, and the decoder reads them through Fourier features. A small autoencoder learns 3 to 4 times faster.
    The denoiser works on `normalise(latents)`: times `scale_factor`, and per channel once `fit_scale` was called.
    """

    channel_mean: Tensor
    channel_std: Tensor

    def __init__(
        self,
        num_latents: int,
        embed_dim: int,
        width: int,
        heads: int,
        num_encoder_layers: int = 8,
        num_decoder_layers: int = 16,
        num_freqs: int = 8,
        include_pi: bool = False,
        point_feats: int = 4,
        qkv_bias: bool = False,
        qk_norm: bool = True,
        geo_decoder_mlp_expand_ratio: int = 4,
        geo_decoder_ln_post: bool = True,
        scale_factor: float = 1.0,
        anchors: bool = False,
        channel_scale: bool = False,
    ) -> None:
        super().__init__()
        self.num_latents, self.embed_dim, self.scale_factor, self.anchors = (
            num_latents,
            embed_dim,
            scale_factor,
            anchors,
        )
        self.bands, self.pi = num_freqs, include_pi
        self.encoder = Encoder(width, heads, num_encoder_layers, point_feats, num_freqs, include_pi, qkv_bias, qk_norm)
        self.pre_kl = nn.Linear(width, 2 * embed_dim)
        self.post_kl = nn.Linear(embed_dim, width)
        if anchors:
            self.anchor_proj = nn.Linear(3 * (2 * num_freqs + 1), width, bias=False)
        self.transformer = _Stack(num_decoder_layers, width, heads, qkv_bias, qk_norm)
        self.geo_decoder = GeometryDecoder(
            width,
            heads,
            num_freqs,
            include_pi,
            qkv_bias,
            qk_norm,
            geo_decoder_mlp_expand_ratio,
            geo_decoder_ln_post,
        )
        # part of the state only where the model is normalised per channel: the released file has no such tensors
        self.register_buffer("channel_mean", torch.zeros(embed_dim), persistent=channel_scale)
        self.register_buffer("channel_std", torch.ones(embed_dim), persistent=channel_scale)

    def encode(self, surface: Float[Tensor, "b n 7"], queries: Int[Tensor, "b p"]) -> Posterior:
        """Distribution of the latents; token k stands for the surface point `queries[k]`."""
        mean, logvar = self.pre_kl(self.encoder(surface, queries)).float().chunk(2, dim=-1)
        if self.anchors:
            anchor = ANCHOR_SCALE * surface.gather(1, repeat(queries, "b p -> b p x", x=surface.shape[-1]))[..., :3]
            mean = torch.cat([anchor, mean[..., 3:]], dim=-1)
            logvar = torch.cat([torch.full_like(anchor, ANCHOR_LOGVAR), logvar[..., 3:]], dim=-1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))

    def decode(self, latents: Float[Tensor, "b p c"]) -> Float[Tensor, "b p d"]:
        """Latents to the tokens that the geometry decoder reads."""
        tokens = self.post_kl(latents.to(self.post_kl.weight.dtype))
        if self.anchors:
            anchor = fourier(latents[..., :3].float() / ANCHOR_SCALE, self.bands, self.pi)
            tokens = tokens + self.anchor_proj(anchor.to(self.post_kl.weight.dtype))
        return self.transformer(tokens)

    def field(self, points: Float[Tensor, "b m 3"], decoded: Float[Tensor, "b p d"]) -> Float[Tensor, "b m"]:
        """Truncated signed distance at `points`: positive inside, saturating near +-1."""
        return self.geo_decoder(points, decoded)

    def fit_scale(self, latents: Float[Tensor, "n c"]) -> None:
        """Sets the mean and deviation per channel that the denoiser's data is normalised with."""
        self.channel_mean.copy_(latents.mean(dim=0))
        self.channel_std.copy_(latents.std(dim=0).clamp_min(1e-4))

    def normalise(self, latents: Float[Tensor, "*b p c"]) -> Float[Tensor, "*b p c"]:
        """Latents as the denoiser sees them."""
        return self.scale_factor * (latents - self.channel_mean) / self.channel_std

    def denormalise(self, latents: Float[Tensor, "*b p c"]) -> Float[Tensor, "*b p c"]:
        """Inverse of `normalise`."""
        return latents / self.scale_factor * self.channel_std + self.channel_mean
