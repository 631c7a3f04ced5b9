"""The autoencoder over a state dict: point selection, encoder, posterior, decoder, occupancy of query points."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .formulas_layers import Weights, attend, feed_forward, fourier, layer_norm, linear, under, unpack

Config = Mapping[str, Any]
CLOSING = 1e-5  # epsilon of the two closing norms; every other norm has 1e-6


def farthest(points: Tensor, count: int) -> Tensor:
    """Indices (count,) in selection order: start at 0, squared distances in float32, the first maximum wins."""
    cloud = points.numpy().astype(np.float32)
    chosen = [0]
    nearest = np.full(len(cloud), np.inf, dtype=np.float32)
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.square(cloud - cloud[chosen[-1]]).sum(-1, dtype=np.float32))
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def sections(config: Config) -> dict[str, tuple[int, int, int]]:
    """Per non-empty section, uniform first: its first row, its row count, its queries."""
    uniform, sharp = config["pc_size"], config["pc_sharpedge_size"]
    queries = round(uniform / (uniform + sharp) * config["num_latents"])
    found = {"random": (0, uniform, queries), "sharp": (uniform, sharp, config["num_latents"] - queries)}
    return {name: section for name, section in found.items() if section[1]}


def select(config: Config, io: Weights) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Farthest point indices by name, then the query rows (b, p, f) and the input rows (b, n, f)."""
    found, queries, inputs = {}, [], []
    for name, (start, rows, count) in sections(config).items():
        points = io["surface"][:, start : start + rows][:, io[f"perm_{name}"]]
        chosen = torch.stack([farthest(sample[:, :3], count) for sample in points])
        found[f"fps_{name}"] = chosen
        inputs.append(points)
        queries.append(points.gather(1, chosen[..., None].expand(-1, -1, points.shape[2])))
    return found, torch.cat(queries, dim=1), torch.cat(inputs, dim=1)


def normed(weights: Weights, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """q and k after their LayerNorms with bias, or as they came from a model without."""
    if "attention.q_norm.weight" not in weights:
        return q, k
    return layer_norm(weights, "attention.q_norm", q), layer_norm(weights, "attention.k_norm", k)


def self_block(weights: Weights, heads: int, x: Tensor) -> Tensor:
    """Self-attention and MLP, each on its norm and added."""
    part = under(weights, "attn.")
    q, k, v = unpack(linear(part, "c_qkv", layer_norm(weights, "ln_1", x)), heads, 3)
    x = x + linear(part, "c_proj", attend(*normed(part, q, k), v))
    return x + feed_forward(weights, "mlp.c_fc", "mlp.c_proj", layer_norm(weights, "ln_2", x))


def cross_heads(weights: Weights, heads: int, x: Tensor, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of a cross block, q and k normalised."""
    part = under(weights, "attn.")
    (q,) = unpack(linear(part, "c_q", layer_norm(weights, "ln_1", x)), heads, 1)
    k, v = unpack(linear(part, "c_kv", layer_norm(weights, "ln_2", data)), heads, 2)
    return *normed(part, q, k), v


def after_attention(weights: Weights, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of a cross block: output projection, residual, MLP."""
    x = x + linear(weights, "attn.c_proj", attended)
    return x + feed_forward(weights, "mlp.c_fc", "mlp.c_proj", layer_norm(weights, "ln_3", x))


def encode(weights: Weights, config: Config, queries: Tensor, inputs: Tensor) -> Tensor:
    """Encoder output (b, p, w) of the selected rows."""

    def rows(points: Tensor) -> Tensor:
        features = fourier(points[..., :3], config["num_freqs"], config["include_pi"])
        return linear(weights, "encoder.input_proj", torch.cat([features, points[..., 3:]], dim=-1))

    part, heads, x = under(weights, "encoder.cross_attn."), config["heads"], rows(queries)
    x = after_attention(part, x, attend(*cross_heads(part, heads, x, rows(inputs))))
    for index in range(config["num_encoder_layers"]):
        x = self_block(under(weights, f"encoder.self_attn.resblocks.{index}."), heads, x)
    return layer_norm(weights, "encoder.ln_post", x, CLOSING)


def posterior(weights: Weights, encoded: Tensor) -> dict[str, Tensor]:
    """Moments, mean, clamped log-variance and the divergence from a standard normal, a mean and not a sum."""
    moments = linear(weights, "pre_kl", encoded)
    mean, logvar = moments.chunk(2, dim=-1)
    logvar = logvar.clamp(-30, 20)
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean((1, 2))
    return {"moments": moments, "mean": mean, "logvar": logvar, "kl_per_sample": kl}


def decode(weights: Weights, config: Config, latents: Tensor) -> Tensor:
    """Latents (b, p, e) to the tokens (b, p, w) that queries look at."""
    x = linear(weights, "post_kl", latents)
    for index in range(config["num_decoder_layers"]):
        x = self_block(under(weights, f"transformer.resblocks.{index}."), config["heads"], x)
    return x


def geometry_heads(config: Config) -> int:
    """Heads of the geometry decoder, fewer where it is narrower."""
    return config["heads"] // config["geo_decoder_downsample_ratio"]


def geometry_data(weights: Weights, decoded: Tensor) -> Tensor:
    """What the geometry decoder attends to: the decoded tokens, projected first where it is narrower."""
    if "geo_decoder.latents_proj.weight" not in weights:
        return decoded
    return linear(weights, "geo_decoder.latents_proj", decoded)


def query_rows(weights: Weights, config: Config, points: Tensor) -> Tensor:
    """Embedded query points (b, q, w)."""
    return linear(weights, "geo_decoder.query_proj", fourier(points, config["num_freqs"], config["include_pi"]))


def value(weights: Weights, x: Tensor) -> Tensor:
    """The field (b, q, 1) from the state after the cross block; the closing norm may be absent."""
    if "geo_decoder.ln_post.weight" in weights:
        x = layer_norm(weights, "geo_decoder.ln_post", x, CLOSING)
    return linear(weights, "geo_decoder.output_proj", x)


def occupancy(weights: Weights, config: Config, points: Tensor, decoded: Tensor) -> Tensor:
    """Field values (b, q, 1) at points (b, q, 3), positive inside."""
    part, x = under(weights, "geo_decoder.cross_attn_decoder."), query_rows(weights, config, points)
    heads = cross_heads(part, geometry_heads(config), x, geometry_data(weights, decoded))
    return value(weights, after_attention(part, x, attend(*heads)))


def encoder_outputs(weights: Weights, config: Config, io: Weights) -> dict[str, Tensor]:
    """The encoder's part of a `vae_*_io` file, from `surface` and the permutations in it."""
    found, queries, inputs = select(config, io)
    found |= {"input_points": inputs[..., :3], "query_points": queries[..., :3]}
    found["encoder_out"] = encode(weights, config, queries, inputs)
    found |= posterior(weights, found["encoder_out"])
    if "posterior_eps" in io:
        found["posterior_sample"] = found["mean"] + (found["logvar"] / 2).exp() * io["posterior_eps"]
    return found
