"""The shape autoencoder: a point cloud to a set of latents, latents and a place to a distance (base spec 2)."""

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from sculpt4d.model.field import DecodedShape, GeometryDecoder
from sculpt4d.model.posterior import Posterior
from sculpt4d.model.vae_layers import CrossBlock, Nearness, Stack, attend, fourier

ANCHOR_SCALE = 2.0  # anchor channels hold 2 xyz: about unit variance, as the other channels
ANCHOR_LOGVAR = -7.0


class Encoder(nn.Module):
    """Surface points attend into their query points (base spec 2.3)."""

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        features: int,
        bands: int,
        pi: bool,
        qkv_bias: bool,
        qk_norm: bool,
        local: bool = False,
    ) -> None:
        super().__init__()
        self.bands, self.pi = bands, pi
        self.input_proj = nn.Linear(3 * (2 * bands + 1) + features, width)
        self.cross_attn = CrossBlock(width, heads, qkv_bias, qk_norm)
        self.self_attn = Stack(layers, width, heads, qkv_bias, qk_norm, local)
        self.near = Nearness(heads, least=10.0, most=300.0) if local else None
        self.ln_post = nn.LayerNorm(width)

    def forward(self, surface: Float[Tensor, "b n x"], queries: Int[Tensor, "b p"]) -> Float[Tensor, "b p d"]:
        surface = surface.float()
        row = torch.cat([fourier(surface[..., :3], self.bands, self.pi), surface[..., 3:]], dim=-1)
        data = self.input_proj(row.to(self.input_proj.weight.dtype))
        chosen = data.gather(1, repeat(queries, "b p -> b p d", d=data.shape[-1]))
        if self.near is None:
            return self.ln_post(self.self_attn(self.cross_attn(chosen, data)))
        places, cross = surface[..., :3], self.cross_attn
        anchors = places.gather(1, repeat(queries, "b p -> b p xyz", xyz=3))
        keys, values = cross.keys_values(data)
        answer = attend(self.near.queries(cross.queries(chosen), anchors), self.near.keys(keys, places), values)
        return self.ln_post(self.self_attn(cross.finish(chosen, answer), anchors))


class ShapeVAE(nn.Module):
    """Frames are its batch: (b, n, 7) surface points and (b, p) query rows to (b, p, c) latents and back to a field.

    `anchors` is not part of the released model: three channels of the mean are then 2 xyz of the query point, nearly
    noiseless, and the decoder reads them through Fourier features. A small autoencoder learns 3 to 4 times faster.
    `local`, which needs anchors: every attention prefers what is near (`Nearness`), for thin limbs and flat parts.
    The denoiser works on `normalise(latents)`: times `scale_factor`, and with `channel_scale` also per channel.
    Weights may be bfloat16 or float16; the field and the posterior are float32.
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
        local: bool = False,
    ) -> None:
        super().__init__()
        if local and not anchors:
            raise ValueError("local=true needs anchors=true: nearness is that of the anchors")
        self.local = local
        self.num_latents, self.embed_dim, self.scale_factor, self.anchors = (
            num_latents,
            embed_dim,
            scale_factor,
            anchors,
        )
        self.bands, self.pi = num_freqs, include_pi
        self.encoder = Encoder(
            width, heads, num_encoder_layers, point_feats, num_freqs, include_pi, qkv_bias, qk_norm, local
        )
        self.pre_kl = nn.Linear(width, 2 * embed_dim)
        self.post_kl = nn.Linear(embed_dim, width)
        if anchors:
            self.anchor_proj = nn.Linear(3 * (2 * num_freqs + 1), width, bias=False)
        self.transformer = Stack(num_decoder_layers, width, heads, qkv_bias, qk_norm, local)
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
            local,
        )
        self.channel_scale = channel_scale
        if channel_scale:  # the released file has no such tensors
            self.register_buffer("channel_mean", torch.zeros(embed_dim))
            self.register_buffer("channel_std", torch.ones(embed_dim))

    def encode(self, surface: Float[Tensor, "b n x"], queries: Int[Tensor, "b p"]) -> Posterior:
        """Distribution of the latents; token k stands for the surface point `queries[k]`."""
        mean, logvar = self.pre_kl(self.encoder(surface, queries)).float().chunk(2, dim=-1)
        if self.anchors:
            places = surface[..., :3].float().gather(1, repeat(queries, "b p -> b p xyz", xyz=3))
            anchor = ANCHOR_SCALE * places
            mean = torch.cat([anchor, mean[..., 3:]], dim=-1)
            logvar = torch.cat([torch.full_like(anchor, ANCHOR_LOGVAR), logvar[..., 3:]], dim=-1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))

    def decode(self, latents: Float[Tensor, "b p c"]) -> Float[Tensor, "b p d"]:
        """Latents to the tokens that the geometry decoder reads."""
        tokens = self.post_kl(latents.to(self.post_kl.weight.dtype))
        if self.anchors:
            anchor = fourier(latents[..., :3].float() / ANCHOR_SCALE, self.bands, self.pi)
            tokens = tokens + self.anchor_proj(anchor.to(self.post_kl.weight.dtype))
        return self.transformer(tokens, self._anchors(latents) if self.local else None)

    def _anchors(self, latents: Float[Tensor, "b p c"]) -> Float[Tensor, "b p 3"]:
        """The places that the latents stand for."""
        return latents[..., :3].float() / ANCHOR_SCALE

    def prepare(self, latents: Float[Tensor, "b p c"]) -> DecodedShape:
        """Latents to what `field` reads at any number of points: all that does not depend on them, done once."""
        return self.geo_decoder.project(self.decode(latents), self._anchors(latents) if self.local else None)

    def field(
        self, points: Float[Tensor, "#b n 3"], shape: DecodedShape | Float[Tensor, "b p d"]
    ) -> Float[Tensor, "b n"]:
        """Truncated signed distance at `points`: positive inside, saturating near +-1.

        shape: of `prepare`, or the tokens of `decode`. Points given once are asked of every shape, and embedded once.
        """
        return self.geo_decoder(points, shape)

    def fit_scale(self, latents: Float[Tensor, "n c"]) -> None:
        """Sets the mean and deviation per channel that the denoiser's data is normalised with.

        Raises ValueError on an autoencoder without `channel_scale`, which has no place for them.
        """
        if not self.channel_scale:
            raise ValueError("this autoencoder has no scale per channel: build it with channel_scale=true")
        self.channel_mean.copy_(latents.mean(dim=0))
        self.channel_std.copy_(latents.std(dim=0).clamp_min(1e-4))

    def normalise(self, latents: Float[Tensor, "*b p c"]) -> Float[Tensor, "*b p c"]:
        """Latents as the denoiser sees them."""
        if self.channel_scale:
            latents = (latents - self.channel_mean) / self.channel_std
        return self.scale_factor * latents

    def denormalise(self, latents: Float[Tensor, "*b p c"]) -> Float[Tensor, "*b p c"]:
        """Inverse of `normalise`."""
        latents = latents / self.scale_factor
        return latents * self.channel_std + self.channel_mean if self.channel_scale else latents
