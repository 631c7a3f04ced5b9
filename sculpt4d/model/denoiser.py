"""Denoiser: the transformer that predicts velocity, 3D or 4D (base spec 1.3).

Blocks with U-shaped skip connections process one time token and the latent tokens of each frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sculpt4d.attention.patterns import ClipPatterns, Pattern
from sculpt4d.model.block import Block
from sculpt4d.model.layers import EPS, KeysValues, TemporalAttention, TimeEmbedding

TEMPORAL = ("norm_temporal.", "temporal.")  # parameters that a 4D block adds to the base


class FinalLayer(nn.Module):
    """Norm and linear map to the latent channels."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=EPS)
        self.linear = nn.Linear(width, channels)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n c"]:
        return self.linear(self.norm_final(tokens))


@dataclass(frozen=True)
class ProjectedContext:
    """Cross-attention keys and values of every block, for (b t) frames.

    At full size they take 11 MB per frame and block in 16 bits: 3.8 GB for a clip of 16 frames. `patterns`: patterns
    of the clips for the temporal attention; None in the 3D base.
    """

    blocks: tuple[KeysValues, ...]
    frames: int  # frames per clip
    patterns: ClipPatterns | None = None


class Denoiser(nn.Module):
    """Map noisy latents of all frames, flow time and image context to velocity.

    `pattern`: temporal attention pattern; None builds the 3D base, which treats frames separately.
    `zero_head`: the initial velocity is zero. The released base does not use it; it helps a small model trained from
    scratch.
    `frames_at_once`: frames processed together in all layers but the temporal attention, None for all. Fewer frames
    need less memory. For generation only: in training, every chunk would have its own balance term (base spec 1.6).
    `recompute`: activation checkpointing. A training step keeps only the inputs of the blocks and recomputes the rest
    for the gradients.
    """

    def __init__(
        self,
        in_channels: int = 64,
        hidden_size: int = 2048,
        context_dim: int = 1024,
        depth: int = 21,
        num_heads: int = 16,
        qkv_bias: bool = False,
        qk_norm: bool = True,
        num_moe_layers: int = 6,
        num_experts: int = 8,
        moe_top_k: int = 2,
        zero_head: bool = False,
        pattern: Pattern | None = None,
        backend: str = "auto",
        frames_at_once: int | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.depth, self.context_dim, self.pattern = depth, context_dim, pattern
        self.frames_at_once, self.recompute = frames_at_once, recompute
        self.x_embedder = nn.Linear(in_channels, hidden_size)
        self.t_embedder = TimeEmbedding(hidden_size)
        self.blocks = nn.ModuleList(
            Block(
                hidden_size,
                num_heads,
                context_dim,
                skip=index > depth // 2,
                experts=num_experts if depth - index <= num_moe_layers else 0,
                top=moe_top_k,
                qkv_bias=qkv_bias,
                qk_norm=qk_norm,
                pattern=pattern,
                backend=backend,
            )
            for index in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, in_channels)
        if zero_head:
            nn.init.zeros_(self.final_layer.linear.weight)
            nn.init.zeros_(self.final_layer.linear.bias)

    def forward(
        self,
        latents: Float[Tensor, "b t p c"],
        time: Float[Tensor, " b"],
        context: Float[Tensor, "seen t s x"] | ProjectedContext | None,
    ) -> Float[Tensor, "b t p c"]:
        """Velocity in the dtype of the latents. Computation uses the dtype of the weights.

        A context with fewer clips than the latents belongs to the first clips. The remaining clips (all of them if the
        context is None) are unconditional: their image tokens are zeros. So forward(cat([latents, latents]), time,
        context) computes both halves of guidance.
        """
        frames = latents.shape[1]
        tokens = self.x_embedder(self._as_weights(rearrange(latents, "b t p c -> (b t) p c")))
        time_token = repeat(self.t_embedder(time), "b 1 d -> (b t) 1 d", t=frames)
        tokens = torch.cat([time_token.to(tokens.dtype), tokens], dim=1)
        known = self._patterns(context)
        patterns = None if known is None else known.expand(len(latents))
        stack: list[Tensor] = []
        for index, (block, seen) in enumerate(zip(self.blocks, self._seen(context, latents), strict=True)):
            skip = stack.pop() if index > self.depth // 2 else None
            inputs = (tokens, seen, frames, skip, self.frames_at_once, patterns)
            again = self.recompute and torch.is_grad_enabled()
            tokens = checkpoint(block, *inputs, use_reentrant=False) if again else block(*inputs)
            if index < self.depth // 2:
                stack.append(tokens)
        velocity = self.final_layer(tokens)[:, 1:]
        return rearrange(velocity, "(b t) p c -> b t p c", t=frames).to(latents.dtype)

    def project(self, context: Float[Tensor, "b t s x"]) -> ProjectedContext:
        """Project the context once for all calls of `forward`: it depends on the clip, not on the flow time."""
        rows = self._as_weights(rearrange(context, "b t s x -> (b t) s x"))
        blocks = (block.attn2.project(rows) for block in self.blocks)  # type: ignore[union-attr, operator]
        return ProjectedContext(tuple(blocks), context.shape[1], self._patterns(context))

    def save_memory(self) -> None:
        """Process frames, and heads of the temporal attention, one by one during generation. Results do not change."""
        self.frames_at_once = 1
        for module in self.modules():
            if isinstance(module, TemporalAttention):
                module.heads_at_once = 1

    def _seen(self, context: Tensor | ProjectedContext | None, latents: Tensor) -> Sequence[Tensor | KeysValues]:
        """Context of each block. Raises ValueError if its clips have another number of frames."""
        if context is None:
            context = latents.new_zeros(0, latents.shape[1], 1, self.context_dim)
        frames = context.frames if isinstance(context, ProjectedContext) else context.shape[1]
        if frames != latents.shape[1]:  # missing frames would be treated as unconditional
            raise ValueError(
                f"the context has {frames} frames a clip, the latents {latents.shape[1]}: give equal clips"
            )
        if isinstance(context, ProjectedContext):
            return context.blocks
        return [self._as_weights(rearrange(context, "b t s x -> (b t) s x"))] * self.depth

    def _patterns(self, context: Tensor | ProjectedContext | None) -> ClipPatterns | None:
        """Patterns of the clips with this context; None in the 3D base."""
        if isinstance(context, ProjectedContext):
            return context.patterns
        return None if self.pattern is None else self.pattern.for_clips(context)

    def _as_weights(self, values: Tensor) -> Tensor:
        """Cast to the dtype of the weights, except under autocast."""
        kind = values.device.type
        chosen = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        return values if chosen else values.to(self.x_embedder.weight.dtype)


def is_temporal(name: str) -> bool:
    """Whether a Denoiser parameter belongs to the temporal layers."""
    return any(f".{part}" in f".{name}" for part in TEMPORAL)


def reset_temporal(denoiser: Denoiser) -> None:
    """Reset the temporal layers to their initial values: zero output projections, torch defaults elsewhere."""
    layers = [module for name, module in denoiser.named_modules() if is_temporal(f"{name}.")]
    for module in layers:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for module in layers:
        if isinstance(module, TemporalAttention):
            nn.init.zeros_(module.out_proj.weight)
            nn.init.zeros_(module.out_proj.bias)
