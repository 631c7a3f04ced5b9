"""Cost and accuracy of a backend on one shape: the timed work, extra memory, and error on a sample of queries."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sculpt4d.attention.backends import AttentionCase, Backend
from sculpt4d.attention.operators import HALF

Heads = Float[Tensor, "b h n d"]

SAMPLE = 32  # queries whose output and gradient contribution are compared


class Inputs(NamedTuple):
    """Queries, keys, values, and the gradient of the output."""

    q: Heads
    k: Heads
    v: Heads
    grad: Heads


def inputs(case: AttentionCase) -> Inputs:
    """Random tokens for one clip."""
    shape = (1, case.heads, case.frames * case.tokens, case.width)
    generator = torch.Generator(case.device).manual_seed(0)
    return Inputs(*(torch.randn(shape, generator=generator, device=case.device).to(case.dtype) for _ in range(4)))


def work(run: Backend, case: AttentionCase, given: Inputs) -> Callable[[], list[Tensor]]:
    """Compute the output and, with `gradients`, the gradients of queries, keys and values."""

    def once() -> list[Tensor]:
        leaves = [x.detach().requires_grad_(case.gradients) for x in (given.q, given.k, given.v)]
        out = run(leaves[0], leaves[1], leaves[2], case.pattern, case.frames)
        return [out.detach(), *torch.autograd.grad(out, leaves, given.grad)] if case.gradients else [out]

    return once


def error(run: Backend, case: AttentionCase, given: Inputs) -> float:
    """Largest error of the output for a few queries, and of the gradients.

    For the gradients, only these queries have an output gradient. The error is absolute in float32 and float64; in half
    precision it is the norm of the error over the norm of the result.
    """
    length = case.frames * case.tokens
    rows = torch.randperm(length, generator=torch.Generator().manual_seed(0))[:SAMPLE].sort().values.to(case.device)
    chosen = torch.zeros_like(given.grad).index_copy_(2, rows, given.grad.index_select(2, rows))
    found = work(run, case, given._replace(grad=chosen))()
    seen = case.pattern.visible(rows.cpu(), case.frames, case.tokens).to(case.device)
    worst = 0.0
    for head in {0, case.heads - 1}:
        leaves = [x[:, head].double().detach().requires_grad_(case.gradients) for x in given[:3]]
        q, k, v = leaves
        k, v = (case.pattern.keys(x[None], length)[0] for x in (k, v))
        logits = (q[:, rows] @ k.mT * case.width**-0.5).masked_fill(~seen, -torch.inf)
        out = logits.softmax(-1) @ v
        right = (
            [out, *torch.autograd.grad(out, leaves, given.grad[:, head, rows].double())] if case.gradients else [out]
        )
        mine = [found[0][:, head, rows], *(x[:, head] for x in found[1:])]
        for a, b in zip(mine, right, strict=True):
            gap, b = (a.double() - b.detach()).abs(), b.detach()
            worst = max(worst, float(gap.norm() / b.norm() if case.dtype in HALF else gap.max()))
    return worst


def extra_memory(once: Callable[[], object], device: torch.device) -> int | None:
    """Peak bytes allocated beyond the initial ones, results included; None if the device does not report them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        once()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        kept = once()
    del kept
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress the profiler's output on standard error, which comes from C++."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
