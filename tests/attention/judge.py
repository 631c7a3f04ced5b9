"""Attention under a pattern written out in float64, and what every backend is held to."""

import torch

from sculpt4d.attention.backends import attend
from sculpt4d.attention.patterns import PackedPattern

SEED = 7


def heads(frames, tokens, dtype=torch.float32, width=8, batch=2, grad=True):
    """Random queries, keys, values of 3 heads."""
    generator = torch.Generator().manual_seed(frames * tokens)
    shape = (batch, 3, frames * tokens, width)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_(grad) for _ in range(3)]


def written_out(q, k, v, pattern, frames):
    """Softmax over the visible keys in float64, the mask expanded row by row, averages taken one by one."""
    q, k, v = q.double(), k.double(), v.double()
    tokens = q.shape[2] // frames
    if isinstance(pattern, PackedPattern):
        starts = [(a, a + p) for p in pattern.levels for a in range(0, frames * tokens, p)]
        k, v = (torch.stack([x[:, :, a:b].mean(2) for a, b in starts], 2) for x in (k, v))
        mask = pattern.mask(frames, tokens)
    else:
        size = tokens // pattern.blocks(tokens)
        block = torch.arange(frames * tokens) // size
        mask = pattern.mask(frames, tokens // size)[block][:, block]
    weights = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf).softmax(-1)
    return weights @ v


def deviations(pattern, frames, inputs, backend):
    """Output and the gradients of queries, keys and values: what a backend finds and what is right."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = attend(*leaves, pattern, frames, backend)
    assert out.dtype == inputs[0].dtype and out.shape == inputs[0].shape
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(SEED)).to(out.dtype)
    found = (out, *torch.autograd.grad(out, leaves, weight))
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    expected = written_out(*doubles, pattern, frames)
    right = (expected, *torch.autograd.grad(expected, doubles, weight.double()))
    return [(a.detach().double(), b.detach()) for a, b in zip(found, right, strict=True)]


def assert_exact(pattern, frames, tokens, backend, dtype=torch.float32, inputs=None):
    """Absolute 2e-6 in float32 on numbers of order one; 5e-3 of the norm in half precision, 2e-3 more for gradients."""
    for index, (found, right) in enumerate(
        deviations(pattern, frames, heads(frames, tokens, dtype) if inputs is None else inputs, backend)
    ):
        if dtype in (torch.bfloat16, torch.float16):
            assert (found - right).norm() < (5e-3 if index == 0 else 7e-3) * right.norm().clamp(min=1e-3)
        else:
            bound = {torch.float32: 2e-6, torch.float64: 1e-12}[dtype]
            assert (found - right).abs().max() < bound * right.abs().max().clamp(min=1)
