"""The geometry decoder: places attend to the keys and values of a shape, one value each (base spec 2.6)."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from sculpt4d.model.vae_layers import CrossBlock, Nearness, attend, fourier


class DecodedShape(NamedTuple):
    """All that the geometry decoder reads of b shapes: keys and values of its cross-attention, projected once."""

    keys: Float[Tensor, "b h p k"]
    values: Float[Tensor, "b h p v"]


class Places(NamedTuple):
    """Points as the geometry decoder knows them before it has seen a shape."""

    tokens: Float[Tensor, "b n w"]
    queries: Float[Tensor, "b h n k"]


class GeometryDecoder(nn.Module):
    """Places and decoded latents to values, positive inside.

    downsample: it is that many times narrower, with that many times fewer heads, than the tokens it reads. local:
    places listen to the latents whose anchors are near (`Nearness`).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        bands: int,
        pi: bool,
        qkv_bias: bool,
        qk_norm: bool,
        ratio: int,
        ln_post: bool,
        downsample: int,
        local: bool = False,
    ) -> None:
        super().__init__()
        if width % downsample or heads % downsample:
            raise ValueError(
                f"geo_decoder_downsample_ratio={downsample} does not divide both width={width} and heads={heads}"
            )
        self.bands, self.pi = bands, pi
        narrow = width // downsample
        self.query_proj = nn.Linear(3 * (2 * bands + 1), narrow)
        if downsample != 1:
            self.latents_proj = nn.Linear(width, narrow)
        self.cross_attn_decoder = CrossBlock(narrow, heads // downsample, qkv_bias, qk_norm and ln_post, ratio)
        if ln_post:
            self.ln_post = nn.LayerNorm(narrow)
        self.output_proj = nn.Linear(narrow, 1)
        self.near = Nearness(heads // downsample) if local else None

    def project(self, decoded: Float[Tensor, "b p d"], anchors: Float[Tensor, "b p 3"] | None = None) -> DecodedShape:
        """The half of attention that no place has a part in. A `local` decoder needs the latents' anchors."""
        data = self.latents_proj(decoded) if hasattr(self, "latents_proj") else decoded
        keys, values = self.cross_attn_decoder.keys_values(data)
        if self.near is None:
            return DecodedShape(keys, values)
        if anchors is None:
            raise ValueError("this decoder needs anchors: give `field` what `prepare` makes of the latents")
        return DecodedShape(self.near.keys(keys, anchors), values)

    def embed(self, points: Float[Tensor, "b n 3"]) -> Places:
        """The half of attention that no shape has a part in; Fourier features are taken in float32."""
        features = fourier(points.float(), self.bands, self.pi).to(self.query_proj.weight.dtype)
        tokens = self.query_proj(features)
        queries = self.cross_attn_decoder.queries(tokens)
        return Places(tokens, queries if self.near is None else self.near.queries(queries, points.float()))

    def read(self, tokens: Float[Tensor, "#b n w"], answer: Float[Tensor, "b n w"]) -> Float[Tensor, "b n"]:
        """Values at the places that got `answer` from attention, in float32."""
        tokens = self.cross_attn_decoder.finish(tokens, answer)
        if hasattr(self, "ln_post"):
            tokens = self.ln_post(tokens)
        return self.output_proj(tokens)[..., 0].float()

    def forward(
        self, points: Float[Tensor, "#b n 3"], shape: DecodedShape | Float[Tensor, "b p d"]
    ) -> Float[Tensor, "b n"]:
        keys, values = shape if isinstance(shape, DecodedShape) else self.project(shape)
        tokens, queries = self.embed(points)
        return self.read(tokens, attend(queries, keys, values))
