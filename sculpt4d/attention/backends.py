"""Temporal attention under a pattern: one signature, four backends, and the rule that selects one.

Queries, keys and values are (b, h, t*p, d), frame by frame, normalised and rotated. `reference` is exact everywhere and
is used to verify the others. `merged` is the default. `flex` supports any mask on CUDA. `block_sparse` is the kernel
used in the paper.
"""

import logging
from collections.abc import Callable
from functools import cache, lru_cache, partial
from itertools import groupby
from operator import index
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sculpt4d.attention.block_sparse import block_sparse
from sculpt4d.attention.flex import flex
from sculpt4d.attention.merged import merged
from sculpt4d.attention.operators import HALF
from sculpt4d.attention.patterns import Pattern
from sculpt4d.attention.reference import reference
from sculpt4d.attention.timing import medians, rounds

log = logging.getLogger(__name__)

Heads = Float[Tensor, "b h n d"]
Keys = Float[Tensor, "b h m d"]
Backend = Callable[[Tensor, Tensor, Tensor, Pattern, int], Tensor]

BACKENDS: dict[str, Backend] = {run.__name__: run for run in (reference, merged, flex, block_sparse)}

CLOSE = (
    512,
    1536,
)  # tokens of a clip between which masked attention and merged pieces cost the same (measured on the CPU)


class AttentionCase(NamedTuple):
    """Properties that determine the choice of a backend."""

    pattern: Pattern
    frames: int
    tokens: int  # per frame
    heads: int
    width: int  # per head
    dtype: torch.dtype
    device: torch.device
    gradients: bool


def attend(
    q: Heads, k: Keys, v: Keys, pattern: Pattern | tuple[Pattern, ...], frames: int, backend: str = "auto"
) -> Heads:
    """Attention of every token to the tokens visible under its pattern, among `frames` frames of equal token count.

    There are as many keys as queries, unless the pattern joins image tokens to them.
    pattern: one for all clips of the batch, or one per clip.
    """
    if isinstance(pattern, tuple):
        return _clip_by_clip(q, k, v, pattern, frames, backend)
    _check(q, k, v, pattern, frames)
    if pattern.joins_images and backend not in ("auto", "reference"):
        raise ValueError(f"backend={backend} knows no image tokens among the keys: set backend to auto or reference")
    _, heads, length, width = q.shape
    gradients = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    # index(): under torch.compile the choice is made for the sizes at hand
    sizes = (index(frames), index(length // frames), index(heads), index(width))
    known = pattern.typical(sizes[0])
    return BACKENDS[_chosen(backend, known, *sizes, q.dtype, q.device, gradients)](q, k, v, pattern, frames)


def _clip_by_clip(q: Tensor, k: Tensor, v: Tensor, patterns: tuple[Pattern, ...], frames: int, backend: str) -> Heads:
    """Clips with one pattern each. Consecutive clips with the same pattern are processed together."""
    if len(patterns) != len(q):
        raise ValueError(f"{len(patterns)} patterns for {len(q)} clips: give each clip of the batch its own")
    runs = [list(run) for _, run in groupby(range(len(q)), key=patterns.__getitem__)]
    if len(runs) == 1:
        return attend(q, k, v, patterns[0], frames, backend)
    parts = [slice(run[0], run[-1] + 1) for run in runs]
    return torch.cat([attend(q[part], k[part], v[part], patterns[part.start], frames, backend) for part in parts])


def _check(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, frames: int) -> None:
    """Raise ValueError for inputs that no backend accepts."""
    length = q.shape[2]
    if frames < 1 or length % frames:
        raise ValueError(f"{length} tokens are not {frames} frames of equal size: pass the clip's number of frames")
    pattern.check(frames)
    more = pattern.joins_images and k.shape[2] >= length  # image tokens
    alike = k.shape == v.shape and q.shape == (*k.shape[:2], length if more else k.shape[2], k.shape[3])
    if not q.dtype.is_floating_point or not q.dtype == k.dtype == v.dtype or not alike:
        kinds = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in (q, k, v))
        raise ValueError(
            f"queries, keys and values share one shape and floating dtype, got {kinds}: convert them first"
        )
    pattern.blocks(length // frames)  # raises unless divisible


@torch.compiler.assume_constant_result
def _chosen(
    name: str,
    pattern: Pattern,
    frames: int,
    tokens: int,
    heads: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device,
    gradients: bool,
) -> str:
    """Name of the selected backend. Logs the choice and the reason once."""
    chosen, reason = choose(name, AttentionCase(pattern, frames, tokens, heads, width, dtype, device, gradients))
    _announce(chosen, reason)
    return chosen


@lru_cache(maxsize=256)
def choose(name: str, case: AttentionCase) -> tuple[str, str]:
    """Select a backend; returns its name and the reason.

    `auto` selects the fastest backend that can run this case. Raises ValueError for an unknown name. Close candidates
    are measured once per process and case, so two runs may choose differently.
    """
    if name in BACKENDS:
        return name, "as asked"
    if name != "auto":
        raise ValueError(f"there is no attention backend {name!r}: set backend to auto, {', '.join(BACKENDS)}")
    pattern, kind, length = case.pattern, case.device.type, case.frames * case.tokens
    structure = pattern.structure(case.frames)
    if structure is not None and structure.kind == "timelines":
        return "merged", "a token's own timeline is a transpose"
    if pattern.hides_nothing(case.frames, case.tokens):
        return "reference", "the pattern hides nothing"
    if length <= CLOSE[0]:
        return "reference", f"clips of up to {CLOSE[0]} tokens"
    if structure is None:
        return (
            ("flex", "an arbitrary mask on CUDA") if kind == "cuda" else ("reference", "an arbitrary mask without CUDA")
        )
    if length < CLOSE[1]:
        return _faster(("reference", "merged"), case)
    if kind == "cuda" and structure.kind == "strided" and case.dtype in HALF and _before_hopper(case.device):
        return _faster(("merged", "flex"), case)
    return "merged", "the mask splits into dense pieces"


def _before_hopper(device: torch.device) -> bool:
    """Whether the GPU is older than Hopper.

    There, flex_attention's kernel is about as fast as the dense one. From Hopper on it is much slower.
    """
    return torch.cuda.get_device_capability(device)[0] < 9


def _faster(names: tuple[str, str], case: AttentionCase) -> tuple[str, str]:
    """Measure two backends on one clip of random tokens; return the faster one and the ratio."""
    shape = (1, case.heads, case.frames * case.tokens, case.width)
    generator = torch.Generator(case.device).manual_seed(0)  # does not affect the run's random state
    inputs = [torch.randn(shape, generator=generator, dtype=case.dtype, device=case.device) for _ in range(3)]

    def once(backend: Backend) -> None:
        with torch.inference_mode(False), torch.set_grad_enabled(case.gradients):
            q, k, v = (x.clone().requires_grad_(case.gradients) for x in inputs)
            out = backend(q, k, v, case.pattern, case.frames)
            if case.gradients:
                out.sum().backward()

    taken = medians(rounds({name: partial(once, BACKENDS[name]) for name in names}, 3, case.device))
    best, other = sorted(names, key=lambda name: taken[name])
    return best, f"measured {taken[best] * 1e3:.1f} ms, {other} {taken[other] * 1e3:.1f} ms"


@cache
def _announce(name: str, reason: str) -> None:
    log.info("attention: %s (%s)", name, reason)
