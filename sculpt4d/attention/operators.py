"""Dense attention with softmax mass, forward and backward, by the fastest operator of each device.

Queries (g, c, n, d), keys and values (g, c, m, d). The mass (g, c, n) is the log of the sum of the exponentials,
natural and at least float32. `backward` takes the output and mass of a whole row and returns the share of these keys in
the gradients: flash attention's backward does not depend on whether the row had more keys.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends import cuda

aten = torch.ops.aten

HALF = (torch.float16, torch.bfloat16)
SHORT_ROWS = 512  # for half precision, where the CPU's backward has a third of its float32 speed
LOGITS = 2**26  # maximum number held at once by the plain form

Partial = tuple[Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor]


class Operator(NamedTuple):
    """One implementation of dense attention. `takes`: whether it supports a device, dtype and head width."""

    name: str
    takes: Callable[[torch.device, torch.dtype, int], bool]
    forward: Callable[[Tensor, Tensor, Tensor], Partial]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Gradients]


@lru_cache(maxsize=64)
def operator(device: torch.device, dtype: torch.dtype, width: int) -> Operator:
    """First operator in the table that supports these. The last one, the plain form, supports everything."""
    return next(each for each in OPERATORS if each.takes(device, dtype, width))


def _cpu_forward(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    return aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)


def _cpu_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, mass: Tensor) -> Gradients:
    if q.dtype in HALF and q.shape[2] < SHORT_ROWS:
        grad, q, k, v, out = (x.to(mass.dtype) for x in (grad, q, k, v, out))
    return aten._scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, mass, 0.0, False)


def _cudnn_forward(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    out, mass, *_ = aten._scaled_dot_product_cudnn_attention(q, k, v, None, True)
    return out, mass[..., 0]


def _cudnn_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, mass: Tensor) -> Gradients:
    lengths, mass = (q.shape[2], k.shape[2]), mass[..., None]
    return aten._scaled_dot_product_cudnn_attention_backward(
        grad, q, k, v, out, mass, *_no_dropout(q), None, None, None, *lengths, 0.0, False
    )


def _flash_forward(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    return aten._scaled_dot_product_flash_attention(q, k, v)[:2]


def _flash_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, mass: Tensor) -> Gradients:
    lengths = q.shape[2], k.shape[2]
    return aten._scaled_dot_product_flash_attention_backward(
        grad, q, k, v, out, mass, None, None, *lengths, 0.0, False, *_no_dropout(q)
    )


def _efficient_forward(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    out, mass, *_ = aten._scaled_dot_product_efficient_attention(q, k, v, None, True)
    return out, mass[..., : q.shape[2]]


def _efficient_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, mass: Tensor) -> Gradients:
    mass = F.pad(mass, (0, -mass.shape[2] % 32), value=torch.inf)  # the kernel reads rows in groups of 32
    wanted = [True, True, True, False]
    return aten._scaled_dot_product_efficient_attention_backward(
        grad, q, k, v, None, out, mass, *_no_dropout(q), 0.0, wanted
    )[:3]


def _no_dropout(q: Tensor) -> tuple[Tensor, Tensor]:
    """Random state argument that an operator without dropout requires but does not read."""
    state = torch.zeros((), dtype=torch.int64, device=q.device)
    return state, state


def _plain_forward(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    parts = []
    for rows in q.split(_rows(q, k), dim=2):
        logits = (rows @ k.transpose(-1, -2)).to(_wide(q)) * q.shape[3] ** -0.5
        parts.append((logits.softmax(-1).to(v.dtype) @ v, logits.logsumexp(-1)))
    return torch.cat([out for out, _ in parts], 2), torch.cat([mass for _, mass in parts], 2)


def _plain_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, mass: Tensor) -> Gradients:
    kind, scale = _wide(q), q.shape[3] ** -0.5
    grad, q, k, v, out = (x.to(kind) for x in (grad, q, k, v, out))
    to_q, to_k, to_v = [], torch.zeros_like(k), torch.zeros_like(v)
    split = (x.split(_rows(q, k), dim=2) for x in (grad, q, out, mass[..., None]))
    for gradient, rows, result, masses in zip(*split, strict=True):
        weights = (rows @ k.transpose(-1, -2) * scale - masses).exp()
        inner = weights * (gradient @ v.transpose(-1, -2) - (gradient * result).sum(-1, keepdim=True)) * scale
        to_q.append(inner @ k)
        to_k += inner.transpose(-1, -2) @ rows
        to_v += weights.transpose(-1, -2) @ gradient
    return torch.cat(to_q, 2), to_k, to_v


def _wide(q: Tensor) -> torch.dtype:
    return torch.promote_types(q.dtype, torch.float32)


def _rows(q: Tensor, k: Tensor) -> int:
    """Number of queries whose logits fit into the limit."""
    return max(1, LOGITS // (q.shape[0] * q.shape[1] * k.shape[2]))


def _on_cpu(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    return device.type == "cpu" and dtype in (torch.float32, torch.float64, *HALF)


def _with_cudnn(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether to use cuDNN: only on Hopper and data-centre Blackwell.

    Elsewhere flash is as fast, and cuDNN plans every shape for 30 ms.
    """
    if device.type != "cuda" or dtype not in HALF or torch.cuda.get_device_capability(device)[0] not in (9, 10):
        return False
    return cuda.can_use_cudnn_attention(_example(device, dtype, width))


def _with_flash(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    if device.type != "cuda" or dtype not in HALF or width % 8:
        return False
    return cuda.can_use_flash_attention(_example(device, dtype, width))


def _with_efficient(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    if device.type != "cuda" or dtype not in (torch.float32, *HALF):
        return False
    return cuda.can_use_efficient_attention(_example(device, dtype, width))


def _example(device: torch.device, dtype: torch.dtype, width: int) -> cuda.SDPAParams:
    """Example input that PyTorch needs to report whether an operator would run, gradients included."""
    q, k, v = (torch.empty(1, 1, 128, width, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    return cuda.SDPAParams(q, k, v, None, 0.0, False, False)


OPERATORS = (
    Operator("cpu flash", _on_cpu, _cpu_forward, _cpu_backward),
    Operator("cudnn", _with_cudnn, _cudnn_forward, _cudnn_backward),
    Operator("flash", _with_flash, _flash_forward, _flash_backward),
    Operator("efficient", _with_efficient, _efficient_forward, _efficient_backward),
    Operator("plain", lambda device, dtype, width: True, _plain_forward, _plain_backward),
)
