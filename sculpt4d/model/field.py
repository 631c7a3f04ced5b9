"""Geometry decoder: query points attend to the keys and values of a shape and give one value each (base spec 2.6)."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from sculpt4d.model.vae_layers import CrossBlock, attend, fourier


class DecodedShape(NamedTuple):
    """Decoder input for b shapes: keys and values of the cross-attention, projected once."""

    keys: Float[Tensor, "b h p k"]
    values: Float[Tensor, "b h p k"]


class Places(NamedTuple):
    """Embedded query points, independent of any shape."""

    tokens: Float[Tensor, "b n w"]
    queries: Float[Tensor, "b h n k"]


class GeometryDecoder(nn.Module):
    """Map query points and decoded latents to field values, positive inside.

    `downsample`: factor by which width and number of heads are smaller than those of the tokens it reads.
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

    def project(self, decoded: Float[Tensor, "b p d"]) -> DecodedShape:
        """Compute the part of the attention that depends only on the shape."""
        data = self.latents_proj(decoded) if hasattr(self, "latents_proj") else decoded
        return DecodedShape(*self.cross_attn_decoder.keys_values(data))

    def embed(self, points: Float[Tensor, "b n 3"]) -> Places:
        """Compute the part of the attention that depends only on the query points. Fourier features are in float32."""
        features = fourier(points.float(), self.bands, self.pi).to(self.query_proj.weight.dtype)
        tokens = self.query_proj(features)
        return Places(tokens, self.cross_attn_decoder.queries(tokens))

    def read(self, tokens: Float[Tensor, "#b n w"], answer: Float[Tensor, "b n w"]) -> Float[Tensor, "b n"]:
        """Field values in float32 at the query points whose attention output is `answer`."""
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
