"""The mixture of experts over a state dict: gate, raw softmax weights, shared expert, balance term."""

from typing import NamedTuple

import torch
from torch import Tensor

from .formulas_layers import Weights, feed_forward

BALANCE = 0.01  # factor of the load balance term


class Mixture(NamedTuple):
    """What one mixture computes for m = b * s tokens.

    out (b, s, d); logits and probabilities (m, experts); chosen and weight (m, k), largest weight first;
    balance is the auxiliary term, factor included
    """

    out: Tensor
    logits: Tensor
    probabilities: Tensor
    chosen: Tensor
    weight: Tensor
    balance: Tensor


def mixture(weights: Weights, x: Tensor, top_k: int) -> Mixture:
    """The `top_k` most probable experts, weighted by their softmax values as they are, plus the shared expert."""
    tokens = x.flatten(0, 1)
    logits = tokens @ weights["gate.weight"].T
    probabilities = logits.softmax(-1)
    weight, chosen = probabilities.topk(top_k, dim=-1)
    out = feed_forward(weights, "shared_experts.net.0.proj", "shared_experts.net.2", tokens)
    experts = logits.shape[1]
    for expert in range(experts):
        share = (weight * (chosen == expert)).sum(-1, keepdim=True)
        out = out + share * feed_forward(weights, f"experts.{expert}.net.0.proj", f"experts.{expert}.net.2", tokens)
    load = torch.bincount(chosen.flatten(), minlength=experts) / chosen.numel()
    balance = BALANCE * (probabilities.mean(0) * experts * load.to(x.dtype)).sum()
    return Mixture(out.view_as(x), logits, probabilities, chosen, weight, balance)
