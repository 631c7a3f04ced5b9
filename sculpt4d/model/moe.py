"""Mixture of experts of the last blocks (base spec 1.6).

Each token is routed to its two most probable experts; one more expert is shared by all tokens. The gate's softmax
values weight the experts without renormalisation.
"""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

BALANCE = 0.01  # weight of the load-balance term


class Gate(nn.Module):
    """Expert probabilities of every token. No bias, no noise, no capacity limit."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))
        nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5)

    def forward(self, tokens: Float[Tensor, "m d"]) -> Float[Tensor, "m e"]:
        return functional.linear(tokens, self.weight).softmax(dim=-1)


class _Projection(nn.Module):
    """Linear and GELU, under the tensor name `proj` of the released checkpoint."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner)

    def forward(self, tokens: Float[Tensor, "... d"]) -> Float[Tensor, "... i"]:
        return functional.gelu(self.proj(tokens))


class Expert(nn.Module):
    """Linear to 4 d, GELU, linear back; `net.1` is the released model's dropout of probability zero."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.Sequential(_Projection(width, inner), nn.Identity(), nn.Linear(inner, width))

    def forward(self, tokens: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return self.net(tokens)


class _AddToBackward(torch.autograd.Function):
    """Identity whose backward also differentiates `loss` with factor one, independent of the scale of the main loss."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, loss: Tensor) -> Tensor:
        ctx.loss_like = loss.detach()
        return tokens.view_as(tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], torch.ones_like(ctx.loss_like)


def balance_term(probabilities: Float[Tensor, "m e"], chosen: Int[Tensor, "m k"]) -> Float[Tensor, ""]:
    """Load-balance loss: 0.01 * sum over experts of mean probability times normalised load.

    Only the mean probability has a gradient.
    """
    experts = probabilities.shape[1]
    load = torch.bincount(chosen.flatten(), minlength=experts).float()  # counts are too large for 16 bits
    return BALANCE * (probabilities.float().mean(dim=0) * (experts * load / chosen.numel())).sum()


class MixtureOfExperts(nn.Module):
    """`experts` routed MLPs, `top` per token, plus one shared by all tokens."""

    def __init__(self, width: int, experts: int = 8, top: int = 2, inner: int | None = None) -> None:
        super().__init__()
        inner = 4 * width if inner is None else inner
        self.top = top
        self.gate = Gate(width, experts)
        self.experts = nn.ModuleList(Expert(width, inner) for _ in range(experts))
        self.shared_experts = Expert(width, inner)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        flat = rearrange(tokens, "b n d -> (b n) d")
        probabilities = self.gate(flat)
        weights, chosen = probabilities.topk(self.top, dim=-1)
        routed = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            rows, slots = torch.where(chosen == index)
            scaled = expert(flat[rows]) * weights[rows, slots, None].to(flat.dtype)
            routed.index_add_(
                0, rows, scaled.to(flat.dtype)
            )  # a token uses an expert at most once, so order does not matter
        out = rearrange(routed, "(b n) d -> b n d", b=tokens.shape[0])
        if self.training and torch.is_grad_enabled():
            out = _AddToBackward.apply(out, balance_term(probabilities, chosen))
        return out + self.shared_experts(tokens)
