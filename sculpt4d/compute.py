"""Multiply-accumulates of the networks, counted from their layers: an evaluation, a guided clip, a decoded frame.

A linear layer costs rows x weights, an attention 2 x pairs x width: scores, then values. Norms, softmax, activations,
rotations and averages of keys are left out. Twice these numbers are FLOP (base spec 8.2).
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
    """Multiply-accumulates of one evaluation of a denoiser on one clip, by component."""

    latent_embedding: int
    time_embedding: int
    spatial_projections: int
    spatial_scores: int
    cross_queries: int  # and their output projection
    cross_context: int  # keys and values
    cross_scores: int
    mlp: int
    expert_gate: int
    routed_experts: int  # `top` for every token
    shared_expert: int
    skip_projections: int
    head: int
    temporal_projections: int
    temporal_scores: int

    @property
    def total(self) -> int:
        """Of all components."""
        return sum(self)

    @property
    def cross(self) -> int:
        """Of cross-attention."""
        return self.cross_queries + self.cross_context + self.cross_scores


class Sampling(NamedTuple):
    """Multiply-accumulates of a guided clip as the release makes it, and those of them that change no result.

    Every saving counts what the ones before it have left.
    """

    release: int
    empty_step: int  # the last evaluation moves the latents by a step of zero length (base spec 4.3)
    null_cross: int  # without context and qkv_bias, cross-attention is its output projection's bias (base spec 1.4)
    repeated_context: int  # keys and values of the context are the same at every step

    def less(self, *savings: str) -> int:
        """What is left of `release` without the savings of these names."""
        return self.release - sum(self._asdict()[name] for name in savings)


class Decoding(NamedTuple):
    """Multiply-accumulates of turning the latents of one frame into values of its field."""

    transformer: int
    memory: int  # keys and values that places attend to; once a frame, or for every chunk of places
    place: int  # one place of the grid


@cache  # the layers of a model share their pattern
def pairs(pattern: Pattern, frames: int, latents: int, context: int = 0) -> int:
    """(query, key) pairs that a pattern keeps, of (frames x latents)^2 and, where it joins them, of image tokens."""
    kept = round(pattern.density(frames, pattern.blocks(latents)) * (frames * latents) ** 2)
    return kept + frames**2 * latents * context * pattern.joins_images


def count_evaluation(model: Denoiser, frames: int, latents: int, context: int) -> Evaluation:
    """One evaluation on a clip of `frames`, each of `latents` tokens and `context` image tokens.

    Experts cost the same however the gate spreads the tokens: every one of them goes to `top` experts.
    """
    blocks: list[Any] = list(model.blocks)
    cross, experts, temporal = (_parts(blocks, name) for name in ("attn2", "moe", "temporal"))
    joined = _parts([layer for layer in temporal if hasattr(layer, "image_proj")], "image_proj", "to_k", "to_v")
    width, clip = model.x_embedder.out_features, frames * latents
    rows = frames * (latents + 1)  # the time token takes part in everything but temporal attention
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
    """A clip of `steps` useful steps, each evaluated with and without context; the release evaluates one more."""
    return Sampling(
        release=2 * (steps + 1) * one.total,
        empty_step=2 * one.total,
        null_cross=steps * one.cross,
        repeated_context=(steps - 1) * one.cross_context,
    )


def count_decoding(vae: ShapeVAE, latents: int) -> Decoding:
    """One frame of `latents` tokens."""
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
    """The submodules of these names, of those modules that have one."""
    return [getattr(module, name) for name in names for module in modules if hasattr(module, name)]


def _weights(modules: Iterable[nn.Module]) -> int:
    """Entries of the matrices of these modules: multiply-accumulates of one row."""
    return sum(weight.numel() for module in modules for weight in module.parameters() if weight.ndim == 2)
