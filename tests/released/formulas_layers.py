"""Layers written out over a state dict: linear, the two norms, packed heads, attention, Fourier and time features.

These files compute what `sculpt4d.model` computes, from the formulas of the released model's description alone and
without importing it: only two implementations that do not know each other can judge one another.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]


def under(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The entries whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """x W^T, plus the bias where the state dict has one."""
    product = x @ weights[f"{name}.weight"].T
    return product + weights[f"{name}.bias"] if f"{name}.bias" in weights else product


def layer_norm(weights: Weights, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
    """Zero mean and unit variance over channels, then scale and shift."""
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def rms_norm(weights: Weights, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
    """w * x / sqrt(mean(x^2) + eps)."""
    return weights[f"{name}.weight"] * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def feed_forward(weights: Weights, first: str, second: str, x: Tensor) -> Tensor:
    """Linear, GELU in the erf form, linear."""
    return linear(weights, second, functional.gelu(linear(weights, first, x)))


def unpack(packed: Tensor, heads: int, pieces: int) -> list[Tensor]:
    """Channels grouped per head, each group cut into `pieces`: (b, s, pieces * d) to pieces of (b, h, s, d / h)."""
    grouped = packed.unflatten(-1, (heads, pieces, -1))
    return [grouped[..., piece, :].transpose(1, 2) for piece in range(pieces)]


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(width of a head)) v, heads side by side again: (b, h, s, c) to (b, s, h * c)."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def fourier(points: Tensor, bands: int, pi: bool, raw: bool = True) -> Tensor:
    """Raw coordinates, all sines, all cosines; the axis is the slow index and the band the fast one."""
    frequencies = 2.0 ** torch.arange(bands, dtype=points.dtype) * (math.pi if pi else 1.0)
    angles = (points[..., None] * frequencies).flatten(-2)
    return torch.cat(([points] if raw else []) + [angles.sin(), angles.cos()], dim=-1)


def sinusoid(t: Tensor, width: int) -> Tensor:
    """Time features (b, width), sines first, frequencies 10000^(-j / half)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=t.dtype) / half)
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def time_token(weights: Weights, t: Tensor) -> Tensor:
    """The time as one token (b, 1, width), from `mlp.0` and `mlp.2` on top of the sinusoid."""
    features = sinusoid(t, weights["mlp.0.weight"].shape[1])
    return feed_forward(weights, "mlp.0", "mlp.2", features)[:, None]
