"""The denoiser over a state dict: interleaved heads, skips, experts, the training step's gradients."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .formulas_experts import mixture
from .formulas_layers import Weights, attend, feed_forward, layer_norm, linear, rms_norm, time_token, under, unpack

Config = Mapping[str, Any]


class Pass(NamedTuple):
    """One forward pass: velocity (b, p, c), the token stream at each stage, balance terms by block."""

    out: Tensor
    latents: Tensor
    time: Tensor
    blocks: list[Tensor]
    balance: dict[int, Tensor]


def normed(weights: Weights, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """q and k after their RMS norms, or as they came from a model without."""
    if "q_norm.weight" not in weights:
        return q, k
    return rms_norm(weights, "q_norm", q), rms_norm(weights, "k_norm", k)


def self_attention(weights: Weights, config: Config, x: Tensor) -> Tensor:
    """The outputs of `to_q`, `to_k`, `to_v` side by side are read as one packed tensor, q k v inside each head."""
    packed = torch.cat([linear(weights, name, x) for name in ("to_q", "to_k", "to_v")], dim=-1)
    q, k, v = unpack(packed, config["num_heads"], 3)
    return linear(weights, "out_proj", attend(*normed(weights, q, k), v))


def cross_attention(weights: Weights, config: Config, x: Tensor, context: Tensor) -> Tensor:
    """Plain heads for q; `to_k` and `to_v` side by side are packed k v inside each head."""
    (q,) = unpack(linear(weights, "to_q", x), config["num_heads"], 1)
    packed = torch.cat([linear(weights, name, context) for name in ("to_k", "to_v")], dim=-1)
    k, v = unpack(packed, config["num_heads"], 2)
    return linear(weights, "out_proj", attend(*normed(weights, q, k), v))


def last(weights: Weights, config: Config, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The feed-forward part of a block, and the balance term if it is a mixture."""
    if "moe.gate.weight" not in weights:
        return feed_forward(weights, "mlp.fc1", "mlp.fc2", x), None
    mixed = mixture(under(weights, "moe."), x, config["moe_top_k"])
    return mixed.out, mixed.balance


def block(
    weights: Weights, config: Config, x: Tensor, context: Tensor, skip: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """One block; a skip input comes first in the concatenation and its norm after the linear layer."""
    if skip is not None:
        x = layer_norm(weights, "skip_norm", linear(weights, "skip_linear", torch.cat([skip, x], dim=-1)))
    x = x + self_attention(under(weights, "attn1."), config, layer_norm(weights, "norm1", x))
    x = x + cross_attention(under(weights, "attn2."), config, layer_norm(weights, "norm2", x), context)
    change, balance = last(weights, config, layer_norm(weights, "norm3", x))
    return x + change, balance


def denoise(weights: Weights, config: Config, x: Tensor, t: Tensor, context: Tensor) -> Pass:
    """Velocity of latents (b, p, c) at times (b,) with image tokens (b, s, w)."""
    time = time_token(under(weights, "t_embedder."), t)
    latents = linear(weights, "x_embedder", x)
    tokens = torch.cat([time, latents], dim=1)
    middle = config["depth"] // 2
    stack: list[Tensor] = []
    blocks: list[Tensor] = []
    terms: dict[int, Tensor] = {}
    for index in range(config["depth"]):
        skip = stack.pop() if index > middle else None
        tokens, balance = block(under(weights, f"blocks.{index}."), config, tokens, context, skip)
        blocks.append(tokens)
        if index < middle:
            stack.append(tokens)
        if balance is not None:
            terms[index] = balance
    closed = layer_norm(weights, "final_layer.norm_final", tokens)[:, 1:]
    return Pass(linear(weights, "final_layer.linear", closed), latents, time, blocks, terms)


def taps(weights: Weights, config: Config, io: Weights) -> dict[str, Tensor]:
    """The parts of every block on the free state `tap.h`; a block with a skip needs its `tap.i.skip`."""
    found: dict[str, Tensor] = {}
    for index in range(config["depth"]):
        part = under(weights, f"blocks.{index}.")
        skip = io.get(f"tap.{index}.skip")
        if "skip_linear.weight" in part and skip is None:
            continue
        state, context = io["tap.h"], io["context"]
        found[f"tap.{index}.attn1"] = self_attention(under(part, "attn1."), config, state)
        found[f"tap.{index}.attn2"] = cross_attention(under(part, "attn2."), config, state, context)
        found[f"tap.{index}.ffn"] = last(part, config, state)[0]
        found[f"tap.{index}.block_out"] = block(part, config, state, context, skip)[0]
    return found


def training(weights: Weights, config: Config, io: Weights) -> dict[str, Tensor]:
    """Loss, balance terms and gradients; the balance terms join the gradient with factor one, not the loss."""
    leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
    step = denoise(leaves, config, io["x"], io["t"], io["context"])
    loss = (step.out - io["train.target"]).square().mean()
    terms = list(step.balance.values())
    gradients = torch.autograd.grad(loss + sum(terms), list(leaves.values()), allow_unused=True, materialize_grads=True)
    found = {f"train.grad.{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
    found |= {f"train.aux_loss.{index}": term.detach() for index, term in step.balance.items()}
    total = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    return found | {"train.out": step.out.detach(), "train.loss": loss.detach(), "train.grad_norm_total": total}


def denoiser_outputs(weights: Weights, config: Config, io: Weights) -> dict[str, Tensor]:
    """Everything a `dit_*_io` file can hold, from the inputs in it."""
    step = denoise(weights, config, io["x"], io["t"], io["context"])
    edge = denoise(weights, config, io["x"], io["t_edge"], torch.zeros_like(io["context"]))
    found = {"out": step.out, "out_uncond_edge": edge.out, "mid.x_embed": step.latents, "mid.t_token": step.time}
    found |= {f"mid.block_{index}": tokens for index, tokens in enumerate(step.blocks)}
    return found | taps(weights, config, io) | training(weights, config, io)
