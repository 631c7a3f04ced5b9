"""Multiply-accumulate counts of the networks: one evaluation, a guided clip, a decoded frame.

Counts come from the layers. A linear layer costs rows x weights, an attention 2 x pairs x width (scores, then values).
Norms, softmax, activations, rotations and averages of keys are not counted. Twice these numbers are FLOP (base spec
8.2).
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from torch import nn

from sculpt4d.attention.patterns import Pattern
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.model.vae import ShapeVAE

ATTENTION = ("to_q", "to_k", "to_v", "out_proj")


class Evaluation(NamedTuple):
    """Multiply-accumulates of one denoiser evaluation on one clip, by component."""

    latent_embedding: int
    time_embedding: int
    spatial_projections: int
    spatial_scores: int
    cross_queries: int  # including the output projection
    cross_context: int  # keys and values
    cross_scores: int
    mlp: int
    expert_gate: int
    routed_experts: int  # `top` per token
    shared_expert: int
    skip_projections: int
    head: int
    temporal_projections: int
    temporal_scores: int

    @property
    def total(self) -> int:
        """Sum of all components."""
        return sum(self)

    @property
    def cross(self) -> int:
        """Sum for cross-attention."""
        return self.cross_queries + self.cross_context + self.cross_scores


class Sampling(NamedTuple):
    """Multiply-accumulates of a guided clip in the release, and the savings that do not change the result.

    Each saving counts only what the previous ones leave.
    """

    release: int
    empty_step: int  # the last evaluation moves the latents by a step of zero length (base spec 4.3)
    null_cross: int  # without context and qkv_bias, cross-attention is its output projection's bias (base spec 1.4)
    repeated_context: int  # keys and values of the context are the same at every step

    def less(self, *savings: str) -> int:
        """Cost of `release` after the named savings."""
        return self.release - sum(self._asdict()[name] for name in savings)


class Decoding(NamedTuple):
    """Multiply-accumulates to decode the latents of one frame to field values."""

    transformer: int
    memory: int  # keys and values for the query points; once per frame, or for every chunk of query points
    place: int  # one query point


@cache  # all layers of a model share one pattern
def pairs(pattern: Pattern, frames: int, latents: int, context: int = 0) -> int:
    """(query, key) pairs of a pattern, out of (frames x latents)^2 plus pairs with image tokens if it joins them."""
    kept = round(pattern.density(frames, pattern.blocks(latents)) * (frames * latents) ** 2)
    return kept + frames**2 * latents * context * pattern.joins_images


def count_evaluation(model: Denoiser, frames: int, latents: int, context: int) -> Evaluation:
    """One evaluation on a clip of `frames`, each with `latents` tokens and `context` image tokens.

    The cost of experts does not depend on the routing: every token uses `top` experts.
    """
    blocks: list[Any] = list(model.blocks)
    cross, experts, temporal = (_parts(blocks, name) for name in ("attn2", "moe", "temporal"))
    joined = _parts([layer for layer in temporal if hasattr(layer, "image_proj")], "image_proj", "to_k", "to_v")
    width, clip = model.x_embedder.out_features, frames * latents
    rows = frames * (latents + 1)  # the time token is used everywhere except in temporal attention
    return Evaluation(
        latent_embedding=clip * _weights([model.x_embedder]),
        time_embedding=_weights([model.t_embedder]),
        spatial_projections=rows * _weights(_parts(blocks, "attn1")),
        spatial_scores=2 * rows * (latents + 1) * width * len(blocks),
        cross_queries=rows * _weights(_parts(cross, "to_q") + _parts(cross, "out_proj")),
        cross_context=frames * context * _weights(_parts(cross, "to_k") + _parts(cross, "to_v")),
        cross_scores=2 * rows * context * width * len(blocks),
        mlp=rows * _weights(_parts(blocks, "mlp")),
        expert_gate=rows * _weights(_parts(experts, "gate")),
        routed_experts=rows * sum(moe.top * _weights([moe.experts[0]]) for moe in experts),
        shared_expert=rows * _weights(_parts(experts, "shared_experts")),
        skip_projections=rows * _weights(_parts(blocks, "skip_linear")),
        head=rows * _weights([model.final_layer]),
        temporal_projections=clip * _weights(_parts(temporal, *ATTENTION)) + frames * context * _weights(joined),
        temporal_scores=2 * width * sum(pairs(layer.pattern, frames, latents, context) for layer in temporal),
    )


def count_sampling(one: Evaluation, steps: int) -> Sampling:
    """A clip of `steps` useful steps, each with a conditional and an unconditional evaluation.

    The release adds one step.
    """
    return Sampling(
        release=2 * (steps + 1) * one.total,
        empty_step=2 * one.total,
        null_cross=steps * one.cross,
        repeated_context=(steps - 1) * one.cross_context,
    )


def count_decoding(vae: ShapeVAE, latents: int) -> Decoding:
    """Decoding of one frame of `latents` tokens."""
    blocks, decoder = vae.transformer.resblocks, vae.geo_decoder
    width = vae.post_kl.out_features
    inputs = [vae.post_kl, *([vae.anchor_proj] if vae.anchors else [])]
    memory = _weights([decoder.cross_attn_decoder.attn.c_kv])
    return Decoding(
        transformer=latents * _weights([*inputs, *blocks]) + 2 * latents**2 * width * len(blocks),
        memory=latents * memory,
        place=_weights([decoder]) - memory + 2 * latents * width,
    )


def _parts(modules: Sequence[nn.Module], *names: str) -> list[Any]:
    """Submodules with these names, for the modules that have them."""
    return [getattr(module, name) for name in names for module in modules if hasattr(module, name)]


def _weights(modules: Iterable[nn.Module]) -> int:
    """Total size of the modules' matrices: multiply-accumulates per row."""
    return sum(weight.numel() for module in modules for weight in module.parameters() if weight.ndim == 2)
