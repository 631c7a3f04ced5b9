"""Shape autoencoder: a point cloud to latents, and latents to a truncated signed distance field (base spec 2)."""

from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from sculpt4d.model.field import DecodedShape, GeometryDecoder
from sculpt4d.model.vae_layers import CrossBlock, Stack, fourier


class Posterior(NamedTuple):
    """Diagonal Gaussian of the latents.

    mean, logvar (..., p, c). logvar is already clamped to [-30, 20] (base spec 2.4).
    """

    mean: Float[Tensor, "*b p c"]
    logvar: Float[Tensor, "*b p c"]

    def sample(self, noise: Float[Tensor, "*#b p c"]) -> Float[Tensor, "*b p c"]:
        """Return mean + deviation * noise. Noise with a single frame is shared by the clip (Sculpt4D, shared noise)."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def divergence(self) -> Float[Tensor, "*b p c"]:
        """Kullback-Leibler divergence from the standard normal, per latent value."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar)


ANCHOR_SCALE = 2.0  # anchor channels are 2 xyz: about unit variance, like the other channels
ANCHOR_LOGVAR = -7.0


class Encoder(nn.Module):
    """Cross-attention from query points to surface points, then self-attention (base spec 2.3)."""

    def __init__(
        self, width: int, heads: int, layers: int, features: int, bands: int, pi: bool, qkv_bias: bool, qk_norm: bool
    ) -> None:
        super().__init__()
        self.bands, self.pi = bands, pi
        self.input_proj = nn.Linear(3 * (2 * bands + 1) + features, width)
        self.cross_attn = CrossBlock(width, heads, qkv_bias, qk_norm)
        self.self_attn = Stack(layers, width, heads, qkv_bias, qk_norm)
        self.ln_post = nn.LayerNorm(width)

    def forward(self, surface: Float[Tensor, "b n x"], queries: Int[Tensor, "b p"]) -> Float[Tensor, "b p d"]:
        surface = surface.float()
        row = torch.cat([fourier(surface[..., :3], self.bands, self.pi), surface[..., 3:]], dim=-1)
        data = self.input_proj(row.to(self.input_proj.weight.dtype))
        chosen = data.gather(1, repeat(queries, "b p -> b p d", d=data.shape[-1]))
        return self.ln_post(self.self_attn(self.cross_attn(chosen, data)))


class ShapeVAE(nn.Module):
    """Shape autoencoder; frames are the batch.

    (b, n, 7) surface points and (b, p) query indices are encoded to (b, p, c) latents and decoded to a field.
    `anchors` is not part of the released model: three channels of the mean are 2 xyz of the query point, nearly
    noiseless, and the decoder reads them through Fourier features. A small autoencoder then learns 3 to 4 times faster.
    The denoiser works on `normalise(latents)`: times `scale_factor`, and with `channel_scale` also per channel.
    Weights may be bfloat16 or float16. The field and the posterior are float32.
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
        geo_decoder_downsample_ratio: int = 1,
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
        self.transformer = Stack(num_decoder_layers, width, heads, qkv_bias, qk_norm)
        self.geo_decoder = GeometryDecoder(
            width,
            heads,
            num_freqs,
            include_pi,
            qkv_bias,
            qk_norm,
            geo_decoder_mlp_expand_ratio,
            geo_decoder_ln_post,
            geo_decoder_downsample_ratio,
        )
        self.channel_scale = channel_scale
        if channel_scale:  # absent from the released file
            self.register_buffer("channel_mean", torch.zeros(embed_dim))
            self.register_buffer("channel_std", torch.ones(embed_dim))

    def encode(self, surface: Float[Tensor, "b n x"], queries: Int[Tensor, "b p"]) -> Posterior:
        """Posterior of the latents. Token k stands for the surface point `queries[k]`."""
        mean, logvar = self.pre_kl(self.encoder(surface, queries)).float().chunk(2, dim=-1)
        if self.anchors:
            places = surface[..., :3].float().gather(1, repeat(queries, "b p -> b p xyz", xyz=3))
            anchor = ANCHOR_SCALE * places
            mean = torch.cat([anchor, mean[..., 3:]], dim=-1)
            logvar = torch.cat([torch.full_like(anchor, ANCHOR_LOGVAR), logvar[..., 3:]], dim=-1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))

    def decode(self, latents: Float[Tensor, "b p c"]) -> Float[Tensor, "b p d"]:
        """Map latents to the tokens that the geometry decoder reads."""
        tokens = self.post_kl(latents.to(self.post_kl.weight.dtype))
        if self.anchors:
            anchor = fourier(latents[..., :3].float() / ANCHOR_SCALE, self.bands, self.pi)
            tokens = tokens + self.anchor_proj(anchor.to(self.post_kl.weight.dtype))
        return self.transformer(tokens)

    def prepare(self, latents: Float[Tensor, "b p c"]) -> DecodedShape:
        """Decode latents once for any number of `field` calls: everything that does not depend on the points."""
        return self.geo_decoder.project(self.decode(latents))

    def field(
        self, points: Float[Tensor, "#b n 3"], shape: DecodedShape | Float[Tensor, "b p d"]
    ) -> Float[Tensor, "b n"]:
        """Truncated signed distance at `points`: positive inside, saturating near +-1.

        `shape`: result of `prepare`, or the tokens of `decode`. A single set of points is embedded once and evaluated
        for every shape.
        """
        return self.geo_decoder(points, shape)

    def fit_scale(self, latents: Float[Tensor, "n c"]) -> None:
        """Set the per-channel mean and deviation that normalise the denoiser's data.

        Raises ValueError on an autoencoder without `channel_scale`, which cannot store them.
        """
        if not self.channel_scale:
            raise ValueError("this autoencoder has no scale per channel: build it with channel_scale=true")
        self.channel_mean.copy_(latents.mean(dim=0))
        self.channel_std.copy_(latents.std(dim=0).clamp_min(1e-4))

    def normalise(self, latents: Float[Tensor, "*b p c"]) -> Float[Tensor, "*b p c"]:
        """Scale latents for the denoiser."""
        if self.channel_scale:
            latents = (latents - self.channel_mean) / self.channel_std
        return self.scale_factor * latents

    def denormalise(self, latents: Float[Tensor, "*b p c"]) -> Float[Tensor, "*b p c"]:
        """Inverse of `normalise`."""
        latents = latents / self.scale_factor
        return latents * self.channel_std + self.channel_mean if self.channel_scale else latents
